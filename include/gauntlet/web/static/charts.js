// Charts, by Apache ECharts (see vendor/README.md), in the page's own colours.

const drawn = new Set();

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

export const palette = () =>
  Object.fromEntries(
    ["ink", "dim", "line", "card", "raised", "accent", "good", "bad", "warn", "busy", "near", "over", "far"].map((name) => [name, colour(name)]),
  );

// ECharts paints tooltips on the canvas here (richText): nothing that came from data is ever parsed as HTML.
const common = (paint, label) => ({
  animation: false,
  aria: { enabled: true, label: { description: label } },
  backgroundColor: "transparent",
  textStyle: { color: paint.ink, fontFamily: "system-ui, sans-serif" },
  tooltip: { renderMode: "richText", confine: true, backgroundColor: paint.card, borderColor: paint.line, textStyle: { color: paint.ink, fontSize: 12 } },
});

// `option` is a function of the colours, so that a change of theme paints anew.
export const chart = (host, label, option, height = 260) => {
  host.classList.add("chart");
  host.style.height = `${height}px`;
  host.setAttribute("role", "img");
  host.setAttribute("aria-label", label);
  const instance = window.echarts.init(host, null, { renderer: "canvas" });
  const paint = () => {
    const colours = palette();
    const { tooltip, ...rest } = option(colours);
    const base = common(colours, label);
    instance.setOption({ ...base, ...rest, tooltip: { ...base.tooltip, ...tooltip } }, true);
  };
  paint();
  const watch = new ResizeObserver(() => instance.resize());
  watch.observe(host);
  drawn.add({ host, instance, paint, watch });
  return instance;
};

// Charts whose place in the page is gone are given back.
export const sweep = () => {
  for (const one of drawn) {
    if (one.host.isConnected) continue;
    one.watch.disconnect();
    // A large picture is painted over several frames, and the next of them would look for layers that are gone:
    // painting nothing, at once, calls them off.
    one.instance.clear();
    one.instance.getZr().refreshImmediately();
    one.instance.dispose();
    drawn.delete(one);
  }
};

addEventListener("theme", () => drawn.forEach((one) => one.paint()));

// The names at both ends of a horizontal axis stay inside the picture.
const ends = (more) => (more.type === "value" ? {} : { alignMinLabel: "left", alignMaxLabel: "right" });

export const axis = (paint, more) => ({
  axisLine: { lineStyle: { color: paint.line } },
  axisTick: { show: false },
  axisLabel: { color: paint.dim, hideOverlap: true, ...ends(more) },
  splitLine: { lineStyle: { color: paint.line } },
  nameTextStyle: { color: paint.dim },
  ...more,
});

export const legend = (paint, more) => ({ top: 0, left: 0, itemHeight: 9, itemWidth: 14, textStyle: { color: paint.dim }, ...more });

export const outcomeColour = (paint, outcome) =>
  ({ passed: paint.good, failed: paint.bad, error: paint.bad, inconclusive: paint.warn, waived: paint.warn })[outcome] ?? paint.dim;

// Drift: features by nights, and one feature with both its windows.
import { ask } from "./api.js";
import { axis, chart, legend } from "./charts.js";
import { badge, cells, choice, el, empty, number, table, when, words } from "./dom.js";

const OUTCOMES = { p: "passed", w: "waived", i: "inconclusive", e: "error", f: "failed", "-": "not checked" };
const VISIBLE = 25;
const SPANS = [[30, "30 nights"], [60, "60 nights"], [180, "180 nights"], [1000, "1 000 nights"]];

// The limit is a step in the colours: what is beyond it is never a shade of what is not.
const STEPS = [
  [{ lt: 0.5 }, "raised", "under half its limit"],
  [{ gte: 0.5, lte: 1 }, "near", "nearer to its limit"],
  [{ gt: 1, lte: 2 }, "over", "beyond its limit"],
  [{ gt: 2 }, "far", "more than twice its limit"],
];

const heatMap = (state, data) => {
  const host = el("div", {});
  const shown = Math.min(data.features.length, VISIBLE);
  const columns = data.checks.map((check) => when(check.as_of));
  const judged = [];
  const unjudged = [];
  data.effects.forEach((row, y) =>
    row.forEach((effect, x) => {
      const letter = data.outcomes[y][x];
      if (letter === "-") return;
      if (effect === null || letter === "i" || letter === "e") unjudged.push([x, y, -1]);
      else judged.push([x, y, effect]);
    }),
  );
  const option = (paint) => ({
    grid: { left: 8, right: data.features.length > VISIBLE ? 30 : 8, top: 6, bottom: 8, containLabel: true },
    xAxis: axis(paint, { type: "category", data: columns, splitLine: { show: false } }),
    yAxis: axis(paint, { type: "category", inverse: true, data: data.features, splitLine: { show: false }, axisLabel: { color: paint.ink, width: host.clientWidth < 600 ? 90 : 200, overflow: "truncate" } }),
    dataZoom: data.features.length > VISIBLE ? [{ type: "slider", yAxisIndex: 0, width: 14, right: 4, startValue: 0, endValue: shown - 1, brushSelect: false, showDetail: false }] : [],
    visualMap: { type: "piecewise", show: false, seriesIndex: 0, pieces: STEPS.map(([bounds, name, label]) => ({ ...bounds, label, color: paint[name] })) },
    tooltip: {
      formatter: ({ data: [x, y, effect], seriesIndex }) => {
        const measured = seriesIndex === 0 ? `${number(effect)} × its limit` : "not enough to judge";
        return `${data.features[y]}\n${columns[x]} UTC\n${OUTCOMES[data.outcomes[y][x]]}: ${measured}`;
      },
    },
    series: [
      { type: "heatmap", data: judged, itemStyle: { borderColor: paint.card, borderWidth: 1, borderRadius: 2 }, progressive: 20000 },
      { type: "scatter", data: unjudged, symbol: "rect", symbolSize: 1, itemStyle: { color: "transparent" }, label: { show: true, position: "inside", formatter: "?", color: paint.dim, fontSize: 11 } },
    ],
  });
  queueMicrotask(() => {
    const instance = chart(host, `Drift of ${data.features.length} features over ${data.checks.length} checks`, option, 50 + 22 * shown);
    instance.on("click", ({ data: [x, y] }) => state.go({ run: data.checks[x].run, feature: data.features[y] }));
  });
  return host;
};

const key = (name, label) => {
  const mark = el("i", {});
  mark.style.background = `var(--${name})`;
  return el("span", {}, mark, label);
};

const pickers = (state, data) => {
  const run = data.checks.some((check) => check.run === state.run) ? state.run : data.checks.at(-1)?.run;
  const feature = data.features.includes(state.feature) ? state.feature : data.features[0];
  return el(
    "div",
    { class: "bar" },
    choice("Show", SPANS, state.nights, (nights) => state.go({ nights: Number(nights), skip: 0 })),
    choice("Feature", data.features.map((name, place) => [name, `${name} (${number(100 * data.importances[place], 3)} %)`]), feature, (name) => state.go({ feature: name, run })),
    choice("Check", [...data.checks].reverse().map((check) => [check.run, `${when(check.as_of)}: ${check.outcome}`]), run, (name) => state.go({ run: name, feature })),
  );
};

const bars = (shares) => {
  const host = el("div", {});
  const option = (paint) => ({
    color: [paint.dim, paint.accent],
    legend: legend(paint),
    grid: { left: 8, right: 8, top: 32, bottom: 8, containLabel: true },
    tooltip: { trigger: "axis", valueFormatter: (value) => `${number(100 * value)} %` },
    xAxis: axis(paint, { type: "category", data: shares.cells, axisLabel: { color: paint.dim, rotate: shares.cells.length > 6 ? 35 : 0 } }),
    yAxis: axis(paint, { type: "value", axisLabel: { color: paint.dim, formatter: (value) => `${number(100 * value, 3)} %` } }),
    series: [
      { name: "reference", type: "bar", data: shares.reference },
      { name: "current window", type: "bar", data: shares.current },
    ],
  });
  queueMicrotask(() => chart(host, `Distribution of ${shares.feature} against the reference`, option, 280));
  return host;
};

const history = (page) => {
  const host = el("div", {});
  const option = (paint) => ({
    color: [paint.accent],
    grid: { left: 8, right: 60, top: 16, bottom: 8, containLabel: true },
    tooltip: { trigger: "axis", valueFormatter: (value) => `${number(value)} × its limit` },
    xAxis: axis(paint, { type: "category", data: page.past.map((one) => when(one.as_of)), splitLine: { show: false } }),
    yAxis: axis(paint, { type: "value", min: 0 }),
    series: [
      {
        name: page.feature,
        type: "line",
        data: page.past.map((one) => one.effect),
        showSymbol: page.past.length < 40,
        markLine: { silent: true, symbol: "none", lineStyle: { color: paint.bad }, label: { color: paint.dim, formatter: "limit" }, data: [{ yAxis: 1 }] },
      },
    ],
  });
  queueMicrotask(() => chart(host, `Effect of ${page.feature} over the checks, in units of its limit`, option, 280));
  return host;
};

const statistic = (one) =>
  cells(
    one.outcome ? badge(one.outcome) : el("span", { class: "dim small" }, "measured"),
    words(one.statistic),
    el("span", { class: "nowrap" }, number(one.value), one.low !== null && one.low !== one.high ? el("span", { class: "dim" }, ` [${number(one.low)}, ${number(one.high)}]`) : ""),
    number(one.limit),
    el("span", { class: "small" }, one.sentence),
  );

const featurePage = (page) => [
  el("h3", {}, `${page.feature}, ${when(page.as_of)} UTC `, badge(page.outcome)),
  el("p", {}, page.sentence),
  el(
    "div",
    { class: "pair" },
    el("div", {}, el("div", { class: "dim small" }, "Share of rows: reference (the champion's training data) and the window that was checked"), page.shares ? bars(page.shares) : empty(page.no_shares)),
    el("div", {}, el("div", { class: "dim small" }, "Change over the checks, in units of its limit"), history(page)),
  ),
  table(["Verdict", "Statistic", "Value", "Limit", "In words"], page.statistics.map(statistic)),
];

export const drift = {
  load: async (state) => {
    const map = await ask(["models", state.model, "drift"], { nights: state.nights });
    if (map.empty || !map.features.length) return { map };
    const withFeatures = map.checks.filter((_, x) => map.outcomes.some((row) => row[x] !== "-"));
    const run = withFeatures.some((check) => check.run === state.run) ? state.run : withFeatures.at(-1).run;
    const feature = map.features.includes(state.feature) ? state.feature : map.features[0];
    const page = await ask(["models", state.model, "runs", run, "features", feature]).catch((error) => ({ missing: error.message }));
    return { map, page };
  },
  show: (state, { map, page }) => {
    if (map.empty) return [empty(map.empty)];
    const newest = map.checks.at(-1);
    return [
      el("div", { class: "bar" }, badge(newest.outcome), el("strong", {}, newest.action === "none" ? "nothing to do" : `suggests to ${words(newest.action)}`), el("span", { class: "text" }, newest.reason)),
      pickers(state, map),
      el("h3", {}, "Features by importance, checks from left to right"),
      heatMap(state, map),
      el("div", { class: "legend" }, STEPS.map(([, name, label]) => key(name, label)), el("span", {}, "? not enough rows to judge"), el("span", {}, "Choose a cell, or a feature and a check above.")),
      ...(page.missing ? [empty(page.missing)] : featurePage(page)),
    ];
  },
};

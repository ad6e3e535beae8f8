// The canary: weight over time, both arms' health, and the verdict of each look.
import { ask } from "./api.js";
import { axis, chart, legend, outcomeColour } from "./charts.js";
import { badge, cells, choice, clock, el, empty, links, number, percent, phase, table, when, words } from "./dom.js";

// A rollout of an afternoon needs no dates, one of a week does.
const moment = (page) => (page.line.started_at.slice(0, 10) === page.line.updated_at.slice(0, 10) ? clock : when);

const weightChart = (page) => {
  const host = el("div", {});
  const weights = page.weights.map((one) => [one.at, one.weight_ppm / 10_000]);
  const last = page.ticks.at(-1);
  const promoted = page.line.phase === "promoted";
  if (weights.length && !page.line.over && last) weights.push([last.at, last.weight_ppm / 10_000]);
  if (weights.length && promoted) weights[weights.length - 1][1] = 100;
  const option = (paint) => ({
    color: [paint.accent],
    grid: { left: 8, right: 14, top: 14, bottom: 8, containLabel: true },
    tooltip: {
      formatter: ({ data, seriesIndex }) => (seriesIndex === 0 ? `${number(data[1])} % from ${when(data[0])}` : `${when(data.value[0])}: ${data.words}`),
    },
    xAxis: axis(paint, { type: "time", splitLine: { show: false } }),
    yAxis: axis(paint, { type: "value", min: 0, max: weights.some(([, weight]) => weight > 30) ? 100 : null, axisLabel: { color: paint.dim, formatter: "{value} %" } }),
    series: [
      { name: "weight", type: "line", step: "end", data: weights, areaStyle: { opacity: 0.15 }, symbolSize: 5 },
      {
        name: "look",
        type: "scatter",
        symbolSize: 10,
        data: page.ticks.filter((tick) => tick.outcome).map((tick) => ({ value: [tick.at, tick.weight_ppm / 10_000], words: `${tick.outcome}: ${tick.reason}`, itemStyle: { color: outcomeColour(paint, tick.outcome) } })),
      },
    ],
  });
  queueMicrotask(() => chart(host, `Weight of rollout ${page.line.rollout} over time, with the verdict of each look`, option, 260));
  return host;
};

const healthChart = (page, metric) => {
  const host = el("div", {});
  const looks = page.ticks.flatMap((tick) => tick.metrics.filter((one) => one.metric === metric).map((one) => ({ ...one, at: tick.at })));
  const line = (key) => looks.filter((one) => typeof one[key] === "number").map((one) => [one.at, one[key]]);
  const option = (paint) => ({
    color: [paint.dim, paint.accent, paint.bad],
    legend: legend(paint),
    grid: { left: 8, right: 14, top: 34, bottom: 8, containLabel: true },
    tooltip: { trigger: "axis", valueFormatter: (value) => number(value) },
    xAxis: axis(paint, { type: "time", splitLine: { show: false }, min: page.line.started_at, max: page.line.updated_at }),
    yAxis: axis(paint, { type: "value", scale: true }),
    series: [
      { name: "stable", type: "line", data: line("stable") },
      { name: "canary", type: "line", data: line("canary") },
      { name: "limit", type: "line", step: "end", showSymbol: false, lineStyle: { type: "dotted" }, data: line("limit") },
    ],
  });
  queueMicrotask(() => chart(host, `${words(metric)} of both arms at each look`, option, 260));
  return host;
};

const tickRows = (state, tick, said) => {
  const id = `tick ${tick.at}`;
  const open = state.open.has(id);
  const toggle = () => {
    if (open) state.open.delete(id);
    else state.open.add(id);
    state.draw();
  };
  const count = tick.metrics.length;
  const main = cells(
    el("span", { class: "nowrap" }, said(tick.at)),
    phase(tick.phase),
    percent(tick.weight_ppm),
    tick.outcome ? badge(tick.outcome) : "",
    tick.requests === null ? "" : `${number(tick.requests)} / ${number(tick.stable_requests)}${tick.explored ? ` (${number(tick.explored)} explored)` : ""}`,
    el("div", {}, tick.reason, " ", count ? el("button", { type: "button", class: "link small", "aria-expanded": String(open), onclick: toggle }, open ? "hide" : `${count} metrics`) : null),
  );
  if (!open) return [main];
  const inner = table(
    ["Verdict", "Metric", "Stable", "Canary", "Limit", "In words"],
    tick.metrics.map((one) => cells(badge(one.outcome), words(one.metric), number(one.stable), number(one.canary), number(one.limit), el("span", { class: "small" }, one.sentence))),
  );
  return [main, el("tr", { class: "inner" }, el("td", { colspan: 6 }, inner))];
};

const preflight = (report) =>
  report && [
    el("h3", {}, "Before any traffic ", badge(report.outcome)),
    table(["Verdict", "Check", "In words"], report.checks.map((one) => cells(badge(one.outcome), words(one.check), one.sentence))),
  ];

// The metric that decided last, where one did.
const telling = (page) => page.ticks.flatMap((tick) => tick.metrics.filter((one) => one.outcome === "failed")).at(-1)?.metric;

const body = (state, page) => {
  const metrics = [...new Set(page.ticks.flatMap((tick) => tick.metrics.map((one) => one.metric)))];
  const metric = metrics.includes(state.metric) ? state.metric : (telling(page) ?? metrics[0]);
  const judged = page.ticks.filter((tick) => tick.outcome).length;
  return [
    el("div", { class: "bar" }, badge({ promoted: "passed", rolled_back: "failed", expired: "failed" }[page.line.phase] ?? "running", phase(page.line.phase)), el("span", { class: "text" }, `v${page.line.candidate.version} against ${page.line.stable ? `v${page.line.stable.version}` : "nobody"}: ${page.line.reason}`)),
    page.withdraw_seconds !== null ? el("p", { class: "small dim" }, `From the decision to the last server without it: ${number(page.withdraw_seconds)} s`) : null,
    links(page.links),
    el(
      "div",
      { class: "pair" },
      el("div", {}, el("h3", {}, "Weight, and the verdict of each look"), page.weights.length ? weightChart(page) : empty("No traffic was given to it.")),
      el("div", {}, el("h3", {}, "Both arms' health"), metric ? [choice("Metric", metrics.map((name) => [name, words(name)]), metric, (name) => state.go({ metric: name })), healthChart(page, metric)] : empty("No look has been judged yet: a first version has nobody to be compared with.")),
    ),
    el("h3", {}, `Looks: ${page.ticks.length}, ${judged} of them judged`, page.left_out ? `; ${page.left_out} alike are left out` : ""),
    table(["Time (UTC)", "Phase", "Weight", "Verdict", "Requests canary / stable", "Reason"], [...page.ticks].reverse().flatMap((tick) => tickRows(state, tick, moment(page)))),
    page.commands.length ? el("h3", {}, "What people asked for") : null,
    page.commands.length ? table(["When", "What", "Who", "Why"], page.commands.map((one) => cells(when(one.at), words(one.kind), one.by, one.reason))) : null,
    ...(preflight(page.preflight) ?? []),
  ];
};

export const canary = {
  load: async (state) => {
    const list = await ask(["models", state.model, "rollouts"]);
    if (list.empty) return { list };
    const mine = list.rollouts.find((one) => one.rollout === state.rollout) ?? list.rollouts.find((one) => one.run === state.run || one.source_run === state.run) ?? list.rollouts[0];
    return { list, page: await ask(["models", state.model, "rollouts", mine.rollout]) };
  },
  show: (state, { list, page }) => {
    if (list.empty) return [empty(list.empty)];
    const names = list.rollouts.map((one) => [one.rollout, `v${one.candidate.version}, ${when(one.started_at)}: ${phase(one.phase)}`]);
    return [
      el("div", { class: "bar" }, choice("Rollout", names, page.line.rollout, (rollout) => state.go({ rollout })), el("span", { class: "dim small" }, `Ramp: ${list.steps.join(" → ")} %`)),
      ...body(state, page).filter(Boolean),
    ];
  },
};

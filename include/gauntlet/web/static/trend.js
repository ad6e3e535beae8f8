// Metrics over the nights, with promotions and rollbacks.
import { ask } from "./api.js";
import { axis, chart, legend } from "./charts.js";
import { badge, cells, el, empty, number, table, when, words } from "./dom.js";

const KINDS = { promotion: ["good", "▲"], rollback: ["bad", "▼"], "canary rolled back": ["warn", "▽"], drill: ["dim", "◇"], "drill failed": ["bad", "◆"] };

const limits = (paint, one) =>
  [[one.minimum, "at least"], [one.maximum, "at most"]]
    .filter(([value]) => value !== null)
    .map(([value, label]) => ({ yAxis: value, lineStyle: { color: paint.dim, type: "dotted" }, label: { formatter: `${label} ${number(value)}`, color: paint.dim, position: "insideEndTop" } }));

// Where they stand close, marks keep their sign and the table below names the version.
const ROOM = 70;

const events = (paint, marks, width) =>
  marks.map((mark) => {
    const [name, sign] = KINDS[mark.kind];
    return { xAxis: mark.at, lineStyle: { color: paint[name], type: "solid", width: 1 }, label: { formatter: marks.length * ROOM > width ? sign : `${sign} v${mark.version}`, color: paint[name], position: "end" } };
  });

const picture = (one, marks) => {
  const host = el("div", {});
  const values = (points, key) => points.filter((point) => typeof point[key] === "number").map((point) => [point.at, point[key]]);
  const option = (paint) => ({
    color: [paint.accent, paint.dim, paint.warn],
    legend: legend(paint, { data: ["candidate", "champion on the same rows", ...(one.live.length ? ["champion live"] : [])] }),
    grid: { left: 8, right: 30, top: 56, bottom: 8, containLabel: true },
    tooltip: { trigger: "axis", valueFormatter: (value) => number(value) },
    xAxis: axis(paint, { type: "time", splitLine: { show: false }, max: ({ max }) => Math.max(max, ...marks.map((mark) => Date.parse(mark.at))) }),
    yAxis: axis(paint, { type: "value", scale: true }),
    series: [
      { name: "candidate", type: "line", symbolSize: 7, data: values(one.points, "candidate"), markLine: { silent: true, symbol: "none", data: [...limits(paint, one), ...events(paint, marks, host.clientWidth)] } },
      { name: "champion on the same rows", type: "line", symbol: "emptyCircle", symbolSize: 7, lineStyle: { type: "dashed" }, data: values(one.points, "champion") },
      { name: "champion live", type: "line", symbol: "diamond", symbolSize: 8, lineStyle: { type: "dotted" }, data: values(one.live, "value") },
    ],
  });
  queueMicrotask(() => chart(host, `${words(one.metric)} over ${one.points.length} nights`, option, 290));
  return el("div", {}, el("h3", {}, words(one.metric)), host);
};

export const trend = {
  load: (state) => ask(["models", state.model, "trend"], { nights: state.nights }),
  show: (_state, data) => {
    if (data.empty) return [empty(data.empty)];
    return [
      el("div", { class: "legend" }, "Holdout of each night. ", Object.entries(KINDS).map(([kind, [, sign]]) => el("span", {}, `${sign} ${kind}`))),
      el("div", { class: "pair" }, data.series.map((one) => picture(one, data.marks))),
      el("h3", {}, "Promotions, rollbacks and drills"),
      data.marks.length
        ? table(["When", "What", "Version", "Why"], [...data.marks].reverse().map((mark) => cells(el("span", { class: "nowrap" }, when(mark.at)), badge(["promotion", "drill"].includes(mark.kind) ? "passed" : "failed", mark.kind), `v${mark.version}`, mark.text)))
        : empty("Nothing has been promoted or rolled back in these nights."),
    ];
  },
};

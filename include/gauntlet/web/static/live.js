// Live traffic: rate, latency, errors, predictions.
import { ask } from "./api.js";
import { axis, chart, legend } from "./charts.js";
import { choice, clock, el, empty, number } from "./dom.js";

const SPANS = [[5, "5 minutes"], [15, "15 minutes"], [60, "1 hour"], [360, "6 hours"]];

const lines = (data, label, names, unit) => {
  const host = el("div", {});
  const option = (paint) => ({
    color: [paint.good, paint.warn, paint.bad],
    legend: names.length > 1 ? legend(paint) : undefined,
    grid: { left: 8, right: 14, top: 32, bottom: 8, containLabel: true },
    tooltip: { trigger: "axis", valueFormatter: (value) => (typeof value === "number" ? `${number(value)} ${unit}` : "no request") },
    xAxis: axis(paint, { type: "time", splitLine: { show: false } }),
    yAxis: axis(paint, { type: "value", min: 0 }),
    series: names.map(([key, name]) => ({ name, type: "line", showSymbol: false, connectNulls: false, data: data.moments.map((one) => [one.at, one[key]]), areaStyle: names.length === 1 ? { opacity: 0.15 } : undefined })),
  });
  queueMicrotask(() => chart(host, label, option, 240));
  return el("div", {}, el("h3", {}, label), host);
};

const predictions = (data) => {
  const host = el("div", {});
  const middles = data.edges.slice(0, -1).map((edge, place) => number((edge + data.edges[place + 1]) / 2, 3));
  const option = (paint) => ({
    color: [paint.dim, paint.accent],
    legend: legend(paint),
    grid: { left: 8, right: 14, top: 32, bottom: 8, containLabel: true },
    tooltip: { trigger: "axis", valueFormatter: (value) => `${number(100 * value, 3)} %` },
    xAxis: axis(paint, { type: "category", data: middles }),
    yAxis: axis(paint, { type: "value", axisLabel: { color: paint.dim, formatter: (value) => `${number(100 * value, 3)} %` } }),
    series: data.arms.map((one) => ({ name: `${one.arm} (${number(one.rows)} rows, mean ${number(one.mean, 3)})`, type: "bar", data: one.shares })),
  });
  queueMicrotask(() => chart(host, "Distribution of predictions: share of rows by score", option, 240));
  return el("div", {}, el("h3", {}, "Distribution of predictions: share of rows by score"), host);
};

const figure = (name, value) => el("div", {}, el("dt", {}, name), el("dd", {}, value));

export const live = {
  load: (state) => ask(["models", state.model, "live"], { minutes: state.minutes }),
  show: (state, data) => {
    const span = el("div", { class: "bar" }, choice("Window", SPANS, state.minutes, (minutes) => state.go({ minutes: Number(minutes) })), el("span", { class: "dim small" }, `${clock(data.since)} to ${clock(data.until)} UTC, from the prediction journal`));
    if (data.empty) return [span, empty(data.empty)];
    const seconds = data.seconds * data.moments.length;
    const asked = data.moments.filter((one) => one.error_rate !== null);
    const errors = asked.reduce((sum, one) => sum + one.error_rate * one.per_second * data.seconds, 0);
    return [
      span,
      el(
        "dl",
        { class: "figures" },
        figure("Requests per second", number(data.rows / seconds, 3)),
        figure("p50", `${number(data.p50_ms, 3)} ms`),
        figure("p95", `${number(data.p95_ms, 3)} ms`),
        figure("p99", `${number(data.p99_ms, 3)} ms`),
        figure("Errors", `${number((100 * errors) / data.rows, 3)} %`),
        data.explored ? figure("Explored", `${number((100 * data.explored) / data.rows, 3)} %`) : null,
      ),
      data.incomplete ? el("p", { class: "notice" }, `The journal of this window is not whole: ${data.incomplete}`) : null,
      el(
        "div",
        { class: "pair" },
        lines(data, "Latency in the server, ms", [["p50_ms", "p50"], ["p95_ms", "p95"], ["p99_ms", "p99"]], "ms"),
        lines(data, "Requests per second", [["per_second", "requests"]], "1/s"),
        predictions(data),
      ),
    ].filter(Boolean);
  },
};

// Slices as they were audited, and what the version that did not answer would have said.
import { ask } from "./api.js";
import { badge, cells, el, empty, number, table, when } from "./dom.js";

const percent = (value) => (value === null ? "-" : `${number(100 * value, 3)} %`);
const range = (ends, show = (end) => number(end, 3)) => (ends ? ` [${show(ends[0])}, ${show(ends[1])}]` : "");
const small = (text) => el("span", { class: "small" }, text);

const slice = (one) =>
  cells(
    el("div", {}, el("div", {}, one.name), one.found ? el("div", { class: "dim small" }, "found by search") : null),
    badge(one.outcome),
    number(one.rows),
    one.due ? `${number(one.labelled)} of ${number(one.due)} due` : "none due",
    small(percent(one.decision_rate) + range(one.decision_interval, percent)),
    small(one.sentence.replace(`${one.name}: `, "")),
  );

const flips = (one) => number(one.rows) + (one.labelled ? ` (${number(one.positives)} of ${number(one.labelled)} with label 1)` : "");

const part = (one) =>
  cells(
    one.name,
    number(one.rows),
    small(one.difference === null ? "-" : number(one.difference, 3) + range(one.difference_interval)),
    small(one.decided ? percent(one.differ / one.decided) + range(one.differ_interval, percent) : "-"),
    small(flips(one.to_positive)),
    small(flips(one.to_negative)),
    small(one.loss === null ? "-" : number(one.loss, 3) + range(one.loss_interval)),
  );

const far = (one) =>
  cells(
    el("span", { class: "mono small" }, one.request_id),
    when(one.at),
    number(one.champion_score, 3),
    number(one.challenger_score, 3),
    one.champion_decision === null ? "-" : `${one.champion_decision}, ${one.challenger_decision}`,
    one.label === null ? "pending" : number(one.label),
  );

const summary = (one) => [
  el("h3", {}, `What ${one.challenger} would have said beside ${one.champion}`),
  el("p", { class: "dim small" }, `${when(one.since)} to ${when(one.until)} UTC, ${one.rollout ?? "all rollouts"}; ${one.reason}`),
  ...one.notes.map((note) => el("p", { class: "notice" }, note)),
  table(["", "Requests", "Score difference", "Decisions that differ", "0 to 1", "1 to 0", "Rise of the loss"], [one.whole, ...one.slices].map(part)),
  el("details", {}, el("summary", {}, "Farthest apart"), table(["Request", "At (UTC)", "Champion", "Challenger", "Decisions", "Label"], one.largest.map(far))),
];

const audited = (one) => [
  el("h3", {}, "Slices of those who were served"),
  el("p", { class: "dim small" }, `audited at ${when(one.at)} UTC: ${number(one.rows)} answers since ${when(one.since)}, ${number(one.labelled)} labelled; ${one.reason}`),
  ...one.notes.map((note) => el("p", { class: "notice" }, note)),
  one.slices.length ? table(["Slice", "", "Answers", "Labels", "Decides 1", "Against everybody else"], one.slices.map(slice)) : null,
];

export const feedback = {
  load: (state) => ask(["models", state.model, "feedback"]),
  show: (_state, data) => [
    data.empty ? empty(data.empty) : null,
    data.reserve ? el("p", {}, `${percent(data.reserve)} of decisions are drawn without the model (exploration reserve).`) : null,
    ...(data.audit ? audited(data.audit) : []),
    ...data.counterfactuals.flatMap(summary),
  ],
};

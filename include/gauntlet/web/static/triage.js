// An incident in the order that finds causes: service, inputs, golden rows, changes beside the symptom, what to do.
import { ask } from "./api.js";
import { badge, cells, el, empty, table, when } from "./dom.js";

const minutes = (seconds) => (seconds === null ? "" : `${seconds > 0 ? "+" : ""}${Math.round(seconds / 60)} min`);

const advice = (one) =>
  cells(
    el("strong", {}, one.remedy),
    el("div", {}, one.command ? el("code", { class: "small" }, one.command) : null, one.dag ? el("div", { class: "small dim" }, `or the DAG ${one.dag}`) : null),
    el("span", { class: "small" }, one.reason),
  );

const step = (one) => cells(one.question, badge(one.outcome), el("span", { class: "small" }, one.answer));

const event = (one) =>
  cells(
    el("span", { class: "nowrap" }, when(one.at)),
    el("span", { class: "nowrap" }, minutes(one.seconds_to_symptom)),
    el("div", {}, one.suspect ? badge("failed", "suspect") : null, ` ${one.what}`),
    one.who,
  );

export const triage = {
  load: (state) => ask(["models", state.model, "triage"]),
  show: (_state, data) => [
    el("p", { class: "dim" }, data.since ? `The first open alert was seen at ${when(data.since)} UTC.` : "No alert is open."),
    table(["What to do", "Command", "Why"], data.advice.map(advice), "The quickest first; replace … by your own words."),
    table(["Looked at, in this order", "Outcome", "In words"], data.steps.map(step)),
    el("h3", {}, "Changes beside the first symptom"),
    data.timeline.length ? table(["When (UTC)", "To the symptom", "What", "Who"], data.timeline.slice().reverse().map(event)) : empty("Nothing has changed in the last two days."),
  ],
};

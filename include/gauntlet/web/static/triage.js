// An incident in the order that finds causes: service, inputs, golden rows, changes beside the symptom, what to do.
import { ask } from "./api.js";
import { age, badge, cells, el, empty, shortened, table, when } from "./dom.js";

const apart = (seconds) => (seconds === null ? "" : `${age(Math.abs(seconds))} ${seconds > 0 ? "after" : "before"}`);

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
    el("span", { class: "nowrap" }, apart(one.seconds_to_symptom)),
    el("div", {}, one.suspect ? badge("failed", "suspect") : null, el("span", { title: one.what }, ` ${shortened(one.what)}`)),
    one.who,
  );

export const triage = {
  load: (state) => ask(["models", state.model, "triage"]),
  show: (_state, data) => [
    el("p", { class: "dim" }, data.since ? `The first open alert was seen at ${when(data.since)} UTC.` : "No alert is open."),
    table(["What to do", "Command", "Why"], data.advice.map(advice), "The quickest first; replace … by your own words."),
    el("h3", {}, "What was looked at"),
    table(["In this order", "Outcome", "In words"], data.steps.map(step)),
    el("h3", {}, "Changes beside the first symptom"),
    data.timeline.length ? table(["When (UTC)", "To the first symptom", "What", "Who"], data.timeline.slice().reverse().map(event)) : empty("Nothing has changed in the last two days."),
  ],
};

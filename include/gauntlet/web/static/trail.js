// Alerts and the audit trail.
import { ask } from "./api.js";
import { badge, cells, el, empty, table, when, words } from "./dom.js";

const SEVERITY = { page: "failed", warning: "inconclusive" };

const alert = (one) =>
  cells(
    el("span", { class: "nowrap" }, when(one.since)),
    badge(one.until ? "passed" : SEVERITY[one.severity], one.until ? "resolved" : one.severity),
    words(one.layer),
    el("div", {}, el("div", {}, one.text), el("div", { class: "mono small dim" }, one.name)),
    one.cause ? `explained by ${one.cause}` : one.told ? `told at ${when(one.told)}` : "nobody told",
    one.until ? when(one.until) : `seen ${one.looks} times`,
  );

const layer = (one) => cells(words(one.layer), badge(one.outcome), el("span", { class: "nowrap" }, when(one.at)), el("span", { class: "small" }, one.reason));

export const alerts = {
  load: (state) => ask(["models", state.model, "alerts"]),
  show: (_state, data) => [
    data.empty ? empty(data.empty) : table(["Since", "Severity", "Layer", "Symptom", "People", "Resolved"], data.alerts.map(alert)),
    data.layers.length ? el("h3", {}, "Each layer, as it was looked at last") : null,
    data.layers.length ? table(["Layer", "Outcome", "At", "In words"], data.layers.map(layer)) : null,
  ],
};

export const audit = {
  load: (state) => ask(["models", state.model, "audit"], state.before ? { before: state.before } : {}),
  show: (state, data) => {
    if (data.empty) return [empty(data.empty)];
    return [
      el("div", { class: "legend" }, "Append-only and hash-chained; gauntlet audit verify checks the chain."),
      table(
        ["No.", "When (UTC)", "Who", "What", "About", "Why"],
        data.entries.map((one) =>
          cells(String(one.sequence), el("span", { class: "nowrap" }, when(one.at)), one.actor, words(one.action), el("span", { class: "mono small", title: one.subject }, one.subject.split("/").slice(1).join("/") || one.subject), el("span", { class: "small", title: one.digest }, one.text)),
        ),
      ),
      el(
        "div",
        { class: "bar" },
        state.before ? el("button", { type: "button", onclick: () => state.go({ before: null }) }, "Newest") : null,
        data.before ? el("button", { type: "button", onclick: () => state.go({ before: data.before }) }, "Older") : null,
      ),
    ];
  },
};

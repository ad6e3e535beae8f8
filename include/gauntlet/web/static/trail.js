// Alerts and the audit trail.
import { ask } from "./api.js";
import { badge, cells, el, empty, table, when, words } from "./dom.js";

const SEVERITY = { critical: "failed", page: "failed", error: "failed", warning: "inconclusive", info: "running" };

export const alerts = {
  load: (state) => ask(["models", state.model, "alerts"]),
  show: (_state, data) => {
    if (data.empty) return [empty(data.empty)];
    return [
      table(
        ["Since", "Severity", "Symptom", "What", "Until"],
        data.alerts.map((one) => cells(when(one.since), badge(SEVERITY[one.severity] ?? "inconclusive", one.severity), words(one.name), one.text, one.until ? when(one.until) : badge("failed", "open"))),
      ),
    ];
  },
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

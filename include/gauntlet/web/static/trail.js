// Alerts and the audit trail.
import { ask } from "./api.js";
import { anchor, badge, cells, choice, digest, el, empty, links, shortened, table, when, words } from "./dom.js";

const SEVERITY = { page: "failed", warning: "inconclusive" };

const alert = (one) =>
  cells(
    el("span", { class: "nowrap" }, when(one.since)),
    badge(one.until ? "passed" : SEVERITY[one.severity], one.until ? "resolved" : one.severity),
    words(one.layer),
    el("div", {}, el("div", {}, one.text), el("div", { class: "small dim" }, el("span", { class: "mono" }, one.name), " · ", anchor(one.runbook))),
    told(one),
    one.until ? `resolved ${when(one.until)}` : `open, seen ${one.looks} time${one.looks === 1 ? "" : "s"}`,
  );

// Who is not told is not forgotten: the reason is the alert that explains this one, or hours in which warnings wait.
const told = (one) => {
  if (one.owed) return el("strong", {}, "not yet: no notifier took the message; the next look tries again");
  if (one.told) return el("span", { class: "nowrap" }, when(one.told));
  if (one.cause) return el("span", { class: "small" }, "no: it follows from ", el("span", { class: "mono" }, one.cause));
  return one.until ? "no: it was over before" : "not yet: warnings wait in quiet hours";
};

const layer = (one) => cells(words(one.layer), badge(one.outcome), el("span", { class: "nowrap" }, when(one.at)), el("span", { class: "small" }, one.reason));

export const alerts = {
  load: (state) => ask(["models", state.model, "alerts"]),
  show: (_state, data) => [
    links(data.links),
    data.empty ? empty(data.empty) : table(["Since (UTC)", "Severity", "Layer", "Symptom", "People told", "State"], data.alerts.map(alert)),
    data.layers.length ? el("h3", {}, "Each layer, as it was looked at last") : null,
    data.layers.length ? table(["Layer", "Outcome", "At (UTC)", "In words"], data.layers.map(layer)) : null,
  ],
};

const KINDS = [["decisions", "what people and decisions changed"], ["all", "everything, each record too"]];

// Digests are for machines: they are shortened, and whole in the title.
const why = (one) => {
  const found = /^digest ([0-9a-f]{64})$/.exec(one.text);
  return found ? el("span", { class: "small dim" }, "stored as ", digest(found[1])) : el("span", { class: "small", title: `entry ${one.digest}` }, one.text);
};
const about = (subject) => {
  const short = subject.split("/").slice(1).join("/") || subject;
  return el("span", { class: "mono small", title: subject }, shortened(short));
};

export const audit = {
  load: (state) => ask(["models", state.model, "audit"], { kind: state.kind ?? "decisions", ...(state.before ? { before: state.before } : {}) }),
  show: (state, data) => {
    const pick = el("div", { class: "bar" }, choice("Show", KINDS, state.kind ?? "decisions", (kind) => state.go({ kind, before: null })), el("span", { class: "dim small" }, "Append-only and hash-chained; ", el("code", {}, "gauntlet audit verify"), " checks the chain."));
    if (data.empty) return [pick, empty(data.empty)];
    return [
      pick,
      table(
        ["No.", "When (UTC)", "Who", "What", "About", "Why"],
        data.entries.map((one) =>
          cells(String(one.sequence), el("span", { class: "nowrap" }, when(one.at)), one.actor, words(one.action).replace(/^record\./, "recorded "), about(one.subject), why(one)),
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

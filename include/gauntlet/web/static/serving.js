// The head of the page: who holds which role, what waits, and the buttons.
import { age, anchor, badge, el, percent, phase, words, when } from "./dom.js";
import { orderButton } from "./orders.js";

const holder = (data, one) => {
  const held = one.version !== null;
  const since = one.since ? ` · ${words(one.state)} for ${age(one.age_seconds)}` : "";
  return el(
    "div",
    { class: `card holder ${one.role} ${held ? "held" : ""}` },
    el("span", { class: "role" }, one.role),
    el(
      "span",
      { class: "version" },
      held ? `v${one.version} ` : "none ",
      held ? el("small", { class: "mono" }, one.version_id) : null,
      one.role === "challenger" && data.weight_ppm ? el("small", {}, ` at ${percent(data.weight_ppm)} of traffic`) : null,
    ),
    held ? el("span", { class: "dim small" }, el("span", { class: "mono", title: one.digest }, `release ${one.digest.slice(0, 12)}`), el("span", { title: `since ${when(one.since)} UTC` }, since)) : null,
    el("span", { class: "small clamp", title: one.reason }, one.reason),
    one.links.map((link) => el("span", { class: "small" }, anchor(link))),
  );
};

const rolloutLine = ({ rollout }) =>
  rollout &&
  el(
    "div",
    { class: "bar" },
    badge("running", phase(rollout.phase)),
    el("span", { class: "text clamp" }, `Rollout of v${rollout.candidate.version}, ${rollout.step < 0 ? "shadow" : `step ${rollout.step + 1}`}: ${rollout.reason}`),
  );

const registryLine = (registry) => {
  if (!registry) return null;
  if (registry.silence) return el("details", { class: "notice small" }, el("summary", {}, "The registry does not answer: whether its aliases agree is not known."), registry.silence);
  if (!registry.disagreements.length) return null;
  return el("p", { class: "notice bad" }, `Registry and routing disagree: ${registry.disagreements.join("; ")}. gauntlet reconcile --repair mends it.`);
};

const quarantine = (state, data, one) =>
  el(
    "div",
    { class: "bar" },
    badge("failed", "quarantined"),
    el("span", { class: "text clamp small", title: one.reason }, `v${one.version} `, el("span", { class: "mono dim" }, one.digest.slice(0, 12)), ` since ${when(one.at)}: ${one.reason}`),
    orderButton(state, data, "clear_quarantine", "Clear quarantine", { digest: one.digest }, `Let release ${one.digest.slice(0, 12)} (v${one.version}) be a candidate again. It still needs fresh receipts.`),
  );

const approval = (state, data, run) =>
  el(
    "div",
    { class: "bar" },
    badge("inconclusive", "approval wanted"),
    el("button", { type: "button", class: "link", onclick: () => state.go({ tab: "run", run }) }, run),
    orderButton(state, data, "approve", "Approve", { run }, `Say yes to the candidate of ${run}.`),
    orderButton(state, data, "refuse", "Refuse", { run }, `Say no to the candidate of ${run}.`),
  );

const buttons = (state, data) => {
  const moving = data.rollout !== null;
  return el(
    "div",
    { class: "bar" },
    orderButton(state, data, "rollback", "Roll back", {}, data.previous.version === null ? null : `Return all traffic from v${data.champion.version} to v${data.previous.version}, and quarantine v${data.champion.version}.`, "danger"),
    moving ? orderButton(state, data, "pause", "Pause canary", {}, "The canary keeps its weight and is not moved forward until it is resumed.") : null,
    moving ? orderButton(state, data, "resume", "Resume canary", {}, "The ramp goes on with its next look.") : null,
    moving ? orderButton(state, data, "abort", "Abort canary", {}, "The canary is out of traffic at once; all of it goes to the champion.", "danger") : null,
    data.links.map((link) => el("span", { class: "small" }, anchor(link))),
  );
};

export const showServing = (state, host, data, registry) => {
  host.replaceChildren(
    ...[
      data.empty ? el("p", { class: "notice" }, data.empty) : null,
      el("div", { class: "holders" }, ["champion", "challenger", "previous"].map((role) => holder(data, data[role]))),
      rolloutLine(data),
      registryLine(registry),
      ...data.approvals_wanted.map((run) => approval(state, data, run)),
      ...data.quarantined.map((one) => quarantine(state, data, one)),
      buttons(state, data),
      state.said ? el("p", { class: `notice ${state.said.kind}`, role: "status" }, state.said.text) : null,
    ].filter(Boolean),
  );
};

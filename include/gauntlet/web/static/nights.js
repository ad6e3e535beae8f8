// Nights as strips, and one run with its gates.
import { ask } from "./api.js";
import { badge, cells, el, empty, links, number, table, when, words } from "./dom.js";
import { orderButton } from "./orders.js";

const strip = (night) =>
  el(
    "div",
    { class: "strip", role: "list" },
    night.stages.map(({ stage, state, text }) =>
      el(
        "div",
        { class: `stage ${state}`, role: "listitem", title: text, "aria-label": `${stage}: ${words(state)}. ${text}` },
        el("b", {}, `${stage} · ${words(state === "none" ? "–" : state)}`),
        el("span", { class: "clamp" }, text),
      ),
    ),
  );

const line = (state, night) =>
  el(
    "div",
    { class: "night" },
    el(
      "div",
      { class: "who" },
      el("button", { type: "button", class: "link", title: night.run, onclick: () => state.go({ tab: "run", run: night.run }) }, when(night.as_of)),
      el("span", { class: "dim small" }, `${night.kind} by ${night.requested_by}`),
      night.version !== null ? el("span", { class: "small" }, `v${night.version}`) : null,
    ),
    strip(night),
  );

export const nights = {
  load: (state) => ask(["models", state.model, "nights"], { limit: state.nights, skip: state.skip }),
  show: (state, data) => {
    if (data.empty) return [empty(data.empty)];
    return [
      el("div", { class: "legend" }, "Newest first; all times are UTC. Open a night for its gates."),
      ...data.nights.map((night) => line(state, night)),
      el(
        "div",
        { class: "bar" },
        state.skip ? el("button", { type: "button", onclick: () => state.go({ skip: Math.max(0, state.skip - state.nights) }) }, "Newer") : null,
        data.more ? el("button", { type: "button", onclick: () => state.go({ skip: state.skip + state.nights }) }, "Older") : null,
      ),
    ];
  },
};

// ---- one run ----------------------------------------------------------------------------------------

const finite = (value) => typeof value === "number" && Number.isFinite(value);

// Observed, limit and interval on one rail; the limit is the upright line.
const gauge = (item) => {
  const [low, high] = item.interval ?? [null, null];
  const observed = item.delta !== null && item.interval ? item.delta : item.observed;
  const marks = [observed, item.limit, low, high].filter(finite);
  if (!finite(observed) || !finite(item.limit)) return null;
  const from = Math.min(...marks);
  const to = Math.max(...marks);
  const room = (to - from || Math.abs(to) || 1) * 0.12;
  const place = (value) => `${(100 * (value - from + room)) / (to - from + 2 * room)}%`;
  const at = (name, left) => {
    const mark = el("i", { class: name });
    mark.style.left = left;
    return mark;
  };
  const span = finite(low) && finite(high) ? at("span", place(low)) : null;
  if (span) span.style.right = `calc(100% - ${place(high)})`;
  const words = `observed ${number(observed)}, limit ${number(item.limit)}${span ? `, interval ${number(low)} to ${number(high)}` : ""}`;
  return el("div", { class: "gauge", role: "img", "aria-label": words, title: words }, el("i", { class: "rail" }), span, at("limit", place(item.limit)), at(`dot ${item.outcome}`, place(observed)));
};

const interval = (item) => (item.interval ? ` [${number(item.interval[0])}, ${number(item.interval[1])}]` : "");
const RANK = ["passed", "waived", "inconclusive", "error", "failed"];
const decisive = (row) => row.measurements.reduce((worst, item) => (!worst || RANK.indexOf(item.outcome) > RANK.indexOf(worst.outcome) ? item : worst), null);

const measured = (item) =>
  cells(
    badge(item.outcome),
    el("span", {}, words(item.metric), item.slice ? el("span", { class: "dim" }, ` of ${item.slice}`) : null),
    el("span", { class: "nowrap" }, number(item.observed), interval(item)),
    el("span", { class: "nowrap" }, `${item.comparator} ${number(item.limit)}`),
    gauge(item),
    el("span", { class: "small" }, item.sentence),
  );

const gateRows = (state, row) => {
  const item = decisive(row);
  const open = state.open.has(row.gate);
  const many = row.measurements.length;
  const toggle = () => {
    if (open) state.open.delete(row.gate);
    else state.open.add(row.gate);
    state.draw();
  };
  const more = many > 1 ? el("button", { type: "button", class: "link small", "aria-expanded": String(open), onclick: toggle }, open ? "hide" : `all ${many} measurements`) : null;
  const main = cells(
    el("div", {}, el("strong", {}, words(row.gate)), el("div", { class: "small" }, links([row.log]))),
    badge(row.outcome),
    el("span", { class: "nowrap" }, item ? number(item.observed) : "", item ? interval(item) : ""),
    el("span", { class: "nowrap" }, item ? `${item.comparator} ${number(item.limit)}` : ""),
    item ? gauge(item) : null,
    el("div", {}, el("div", {}, row.reason), row.waived_until ? el("div", { class: "small dim" }, `waived until ${when(row.waived_until)}`) : null, more),
  );
  main.id = `gate-${row.gate}`;
  if (!open) return [main];
  const inner = table(["Verdict", "What", "Observed", "Limit", "Limit and interval", "In words"], row.measurements.map(measured));
  return [main, el("tr", { class: "inner" }, el("td", { colspan: 6 }, inner))];
};

const gates = (state, data) => {
  const rows = data.gates.filter((row) => row.outcome !== null || !data.empty);
  if (!rows.length) return empty(data.empty);
  const off = Object.entries(data.gates_off);
  return el(
    "div",
    {},
    table(["Gate", "Verdict", "Observed", "Limit", "Limit and interval", "Reason"], rows.flatMap((row) => gateRows(state, row))),
    off.length ? el("p", { class: "dim small" }, `Off in the spec: ${off.map(([gate, why]) => `${words(gate)} (${why})`).join("; ")}`) : null,
  );
};

const approvals = (state, data) => {
  const head = state.serving;
  const given = data.approvals.map((one) => el("div", { class: "bar" }, badge(one.approved ? "passed" : "failed", one.approved ? "approved" : "refused"), `${one.approver}, ${when(one.at)}: ${one.reason}`));
  const facts = { run: data.night.run };
  const open = data.approval_open && head
    ? [el("div", { class: "bar" }, "This candidate waits for a person.", orderButton(state, head, "approve", "Approve", facts, `Say yes to the candidate of ${data.night.run}.`), orderButton(state, head, "refuse", "Refuse", facts, `Say no to the candidate of ${data.night.run}.`))]
    : [];
  return [...given, ...open];
};

export const run = {
  load: async (state) => {
    if (state.run) return ask(["models", state.model, "runs", state.run]);
    const { nights: newest, empty: none } = await ask(["models", state.model, "nights"], { limit: 1 });
    return newest.length ? ask(["models", state.model, "runs", newest[0].run]) : { none };
  },
  show: (state, data) => {
    if (data.none) return [empty(data.none)];
    const { night } = data;
    return [
      el("h2", {}, `Night of ${when(night.as_of)}`, night.version !== null ? `, version ${night.version}` : ""),
      el("p", { class: "dim small" }, el("span", { class: "mono" }, night.run), ` · ${night.kind} by ${night.requested_by}: ${night.reason}`),
      strip(night),
      links(data.links),
      ...approvals(state, data),
      el("h3", {}, "Gates"),
      gates(state, data),
      el("h3", {}, "What happened, in order"),
      table(["Step", "Verdict", "In words"], data.sentences.map((one) => cells(el("span", { class: "nowrap" }, words(one.topic)), one.outcome ? badge(one.outcome) : "", one.text))),
    ];
  },
};

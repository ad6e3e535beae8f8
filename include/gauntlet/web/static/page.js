// The page inside Airflow: shows what gauntlet.views says and decides nothing.
import { ask } from "./api.js";
import { canary } from "./canary.js";
import { sweep } from "./charts.js";
import { $, el, empty } from "./dom.js";
import { drift } from "./drift.js";
import { feedback } from "./feedback.js";
import { live } from "./live.js";
import { nights, run } from "./nights.js";
import { showServing } from "./serving.js";
import { alerts, audit } from "./trail.js";
import { trend } from "./trend.js";
import { triage } from "./triage.js";

const REFRESH_MS = 10_000;
const VIEWS = {
  nights: ["Nights", nights],
  run: ["Gates", run],
  drift: ["Drift", drift],
  trend: ["Metrics", trend],
  canary: ["Canary", canary],
  live: ["Live", live],
  alerts: ["Alerts", alerts],
  feedback: ["Slices", feedback],
  triage: ["Triage", triage],
  audit: ["Audit", audit],
};
const KEPT = ["model", "tab", "run", "feature", "rollout", "metric", "nights", "skip", "minutes", "before", "kind"];
const NUMBERS = ["nights", "skip", "minutes", "before"];

// What somebody wants to see who comes from one of a model's DAGs.
const TABS_OF_DAGS = { canary: "canary", drift_check: "drift", monitor: "alerts", rollback: "audit", reconcile: "audit", housekeeping: "audit", batch_score: "drift" };

// The store tells runs of different DAGs apart that Airflow calls the same.
const named = (kind, run) => (!kind || kind === "retrain" || kind === "canary" ? run : `${run}--${kind}`);

// What is shown is in the address, so that it can be reloaded, sent to somebody, and gone back from.
const read = () => {
  const asked = new URLSearchParams(location.search);
  const chosen = new URLSearchParams(location.hash.slice(1));
  const [model, kind] = (asked.get("dag") ?? "").split("__");
  const start = { tab: "nights", nights: 60, skip: 0, minutes: 5 };
  if (asked.get("model") ?? model) start.model = asked.get("model") ?? model;
  if (asked.get("run")) Object.assign(start, { run: named(kind, asked.get("run")), tab: TABS_OF_DAGS[kind] ?? "run" });
  else start.tab = TABS_OF_DAGS[kind] ?? start.tab;
  for (const name of KEPT) if (chosen.get(name)) start[name] = NUMBERS.includes(name) ? Number(chosen.get(name)) : chosen.get(name);
  if (!VIEWS[start.tab]) start.tab = "nights";
  return start;
};

const write = () => {
  const kept = new URLSearchParams();
  for (const name of KEPT) if (state[name] !== undefined && state[name] !== null && state[name] !== "") kept.set(name, state[name]);
  const address = `#${kept}`;
  if (address !== location.hash) history.pushState(null, "", address);
};

let shown = { key: null, text: null };
let busy = 0;

// A gate's task in Airflow links to its row here.
const gate = new URLSearchParams(location.hash.slice(1)).get("gate");

const state = {
  ...read(),
  open: new Set(gate ? [gate] : []),
  go: (changes) => {
    Object.assign(state, changes);
    write();
    tabs();
    return refreshPanel();
  },
  draw: () => draw(),
  refresh: (all) => (all ? refresh() : refreshPanel()),
};

const tabs = () => {
  $("tabs").replaceChildren(
    ...Object.entries(VIEWS).map(([name, [label]]) =>
      el("button", { type: "button", role: "tab", id: `tab-${name}`, "aria-selected": String(name === state.tab), "aria-controls": "panel", tabindex: name === state.tab ? 0 : -1, onclick: () => choose(name) }, label),
    ),
  );
  $("panel").setAttribute("aria-labelledby", `tab-${state.tab}`);
  const row = $("tabs");
  const chosen = $(`tab-${state.tab}`);
  row.scrollLeft = Math.max(0, chosen.offsetLeft - row.offsetLeft - (row.clientWidth - chosen.clientWidth) / 2);
};

const choose = (name) => {
  state.go({ tab: name, before: null });
  $(`tab-${name}`).focus();
};

const byArrows = (event) => {
  const names = Object.keys(VIEWS);
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const place = { Home: 0, End: names.length - 1 }[event.key] ?? (step && (names.indexOf(state.tab) + step + names.length) % names.length);
  if (place === undefined) return;
  event.preventDefault();
  choose(names[place]);
};

const draw = () => {
  const focused = document.activeElement;
  const place = $("panel").contains(focused) ? [...$("panel").querySelectorAll("button, select, a")].indexOf(focused) : -1;
  const [label, view] = VIEWS[state.tab];
  const parts = view.show(state, shown.data).filter(Boolean);
  const titled = parts.some((part) => part.nodeName === "H2" || part.querySelector("h2"));
  // Who listens to the page instead of seeing it finds a view by its heading.
  $("panel").replaceChildren(...(titled ? parts : [el("h2", { class: "heard" }, label), ...parts]));
  $("panel").dataset.view = state.tab;
  // What had the focus has been made anew: the same place gets it back.
  if (place >= 0) [...$("panel").querySelectorAll("button, select, a")][place]?.focus({ preventScroll: true });
  queueMicrotask(sweep);
};

const refreshPanel = async () => {
  const key = KEPT.map((name) => state[name]).join("\n");
  const mine = ++busy;
  $("panel").setAttribute("aria-busy", "true");
  // What belongs to another view is not left standing under this one's name.
  if ($("panel").dataset.view !== state.tab) $("panel").replaceChildren(empty("Reading …"));
  try {
    const data = await VIEWS[state.tab][1].load(state);
    if (mine !== busy) return;
    const text = JSON.stringify(data);
    if (key !== shown.key || text !== shown.text) {
      shown = { key, text, data };
      draw();
    }
    said();
  } catch (error) {
    if (mine !== busy) return;
    said(error);
    if (key !== shown.key) {
      shown = { key, text: null, data: null };
      $("panel").replaceChildren(empty(error.message));
      $("panel").dataset.view = state.tab;
      queueMicrotask(sweep);
    }
  } finally {
    if (mine === busy) $("panel").removeAttribute("aria-busy");
  }
};

const said = (error) => {
  $("fresh").textContent = error ? `not refreshed: ${error.message}` : `as of ${new Date().toISOString().slice(11, 19)} UTC`;
};

const refreshServing = async () => {
  const { model } = state;
  const data = await ask(["models", model]);
  if (model !== state.model) return;
  state.serving = data;
  $("owner").textContent = `${data.team} · ${data.description}`;
  showServing(state, $("serving"), data, state.registry);
};

// The registry may be slow or down: nothing waits for it.
const refreshRegistry = async () => {
  const { model } = state;
  state.registry = await ask(["models", model, "registry"]);
  if (model === state.model && state.serving) showServing(state, $("serving"), state.serving, state.registry);
};

// Without its head the page still says why, and its views show what they can.
const refresh = async () => {
  const { model } = state;
  try {
    await refreshServing();
  } catch (error) {
    if (model !== state.model) return;
    if (state.serving?.model !== model) $("serving").replaceChildren(el("p", { class: "notice bad", role: "alert" }, error.message));
    await refreshPanel();
    said(error);
    return;
  }
  await refreshPanel();
};

const pickModel = (model) => {
  Object.assign(state, { model, run: null, feature: null, rollout: null, metric: null, skip: 0, before: null, said: null, registry: null });
  write();
  tabs();
  refresh();
  refreshRegistry().catch(() => {});
};

const shortcuts = (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.nodeName) || $("ask").open) return;
  const names = Object.keys(VIEWS);
  if (event.key === "r") refresh();
  else if (/^[1-9]$/.test(event.key) && Number(event.key) <= names.length) choose(names[Number(event.key) - 1]);
};

const start = async () => {
  const { models, person } = await ask(["models"]);
  document.title = `Gauntlet · ${person}`;
  if (!models.length) {
    $("panel").replaceChildren(empty("There is no model you may read: put a spec into include/models, or ask for access to its DAGs."));
    return;
  }
  if (!models.includes(state.model)) {
    if (state.model) state.said = { kind: "", text: `${state.model} is no model of Gauntlet that you may read: this is ${models[0]}.` };
    state.model = models[0];
  }
  $("model").replaceChildren(...models.map((name) => el("option", { value: name, selected: name === state.model }, name)));
  $("model").addEventListener("change", (event) => pickModel(event.target.value));
  $("again").addEventListener("click", refresh);
  $("tabs").addEventListener("keydown", byArrows);
  addEventListener("keydown", shortcuts);
  addEventListener("popstate", () => {
    Object.assign(state, { run: null, feature: null, rollout: null, metric: null, before: null }, read());
    tabs();
    refresh();
  });
  tabs();
  await refresh();
  if (gate) document.getElementById(`gate-${gate}`)?.scrollIntoView({ block: "center" });
  refreshRegistry().catch(() => {});
  setInterval(() => document.hidden || $("ask").open || refresh(), REFRESH_MS);
  setInterval(() => document.hidden || refreshRegistry().catch(() => {}), 6 * REFRESH_MS);
};

start().catch((error) => {
  said(error);
  $("panel").replaceChildren(empty(error.message));
});

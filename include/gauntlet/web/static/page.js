// The page inside Airflow: shows what gauntlet.views says and decides nothing. Text goes in as text, never as HTML.
const REFRESH_MS = 10_000;
const $ = (id) => document.getElementById(id);
const wanted = (new URLSearchParams(location.search).get("dag") ?? "").split("__")[0];

const make = (tag, text, name) => {
  const element = document.createElement(tag);
  if (text !== undefined && text !== null) element.textContent = text;
  if (name) element.className = name;
  return element;
};

const ask = async (path) => {
  const response = await fetch(`api/${path}`);
  if (!response.ok) throw new Error(`${response.status}: ${await response.text()}`);
  return response.json();
};

const when = (text) => text.replace("T", " ").slice(0, 16);
const versionOf = (served) => (served ? `v${served.version}  ${served.version_id}` : "none yet");

const fact = (name, value, kind) => {
  const box = make("div");
  box.append(make("dt", name), make("dd", value, kind));
  return box;
};

const showServing = ({ routing, aliases }) => {
  const list = make("dl");
  const names = Object.entries(aliases ?? {}).map(([name, version]) => `${name} → v${version}`);
  list.append(
    fact("Champion", versionOf(routing.stable)),
    fact("Challenger in traffic", routing.canary ? `${versionOf(routing.canary)} at ${routing.weight_ppm / 1e4} %` : "none"),
    fact("Previous, ready for a rollback", versionOf(routing.previous)),
    fact("Registry aliases", aliases === null ? "MLflow does not answer" : names.join(", ") || "none yet"),
    fact("Routing epoch", routing.epoch),
  );
  $("serving").replaceChildren(list);
};

const outcomeOf = (night) => {
  if (night.rollout) return [night.rollout.phase.replace("_", " "), night.rollout.phase];
  if (night.promotion) return [`registered: ${night.promotion.outcome}`, night.promotion.outcome];
  if (night.contract && night.contract.outcome !== "passed") return ["contract failed", "failed"];
  return [night.decision ? night.decision.action : "", ""];
};

const gatesOf = (night) => {
  if (!night.receipts.length) return ["", ""];
  const bad = night.receipts.filter(({ verdict }) => !["passed", "waived"].includes(verdict.outcome));
  const good = night.receipts.length - bad.length;
  return bad.length ? [`${good} of ${night.receipts.length}; not ${bad.map((r) => r.verdict.gate).join(", ")}`, "failed"] : [`${good} of ${good}`, "passed"];
};

const showNights = ({ nights }) => {
  const table = $("nights");
  if (!nights.length) {
    table.replaceChildren(make("caption", "No run yet. Trigger the retrain DAG, or wait for tonight's."));
    return;
  }
  const heading = make("tr");
  for (const name of ["As of", "Run", "Why", "Gates", "Version", "Outcome"]) heading.append(make("th", name));
  const rows = nights.map((night) => {
    const row = make("tr");
    const open = make("button", night.run.run);
    open.addEventListener("click", () => showExplanation(night.run.run));
    const link = make("td");
    link.append(open);
    row.append(
      make("td", when(night.run.as_of)),
      link,
      make("td", night.decision?.reason ?? night.run.reason),
      make("td", ...gatesOf(night)),
      make("td", night.trained?.release.version_id ?? ""),
      make("td", ...outcomeOf(night)),
    );
    return row;
  });
  table.replaceChildren(heading, ...rows);
};

const showExplanation = async (subject) => {
  const { sentences } = await ask(`explain/${encodeURIComponent(subject)}`);
  const table = make("table");
  for (const { topic, outcome, text } of sentences) {
    const row = make("tr");
    row.append(make("td", topic), make("td", outcome ?? "", outcome ?? ""), make("td", text));
    table.append(row);
  }
  $("detail").replaceChildren(make("h2", subject), table);
  $("detail").focus();
};

const refresh = async () => {
  try {
    const status = await ask(`models/${$("model").value}`);
    showServing(status);
    showNights(status);
    $("fresh").textContent = `as of ${new Date().toLocaleTimeString()}`;
  } catch (error) {
    $("fresh").textContent = `not refreshed: ${error.message}`;
  }
};

const start = async () => {
  const { models } = await ask("models");
  $("model").replaceChildren(...models.map((name) => make("option", name)));
  if (models.includes(wanted)) $("model").value = wanted;
  $("model").addEventListener("change", refresh);
  await refresh();
  setInterval(refresh, REFRESH_MS);
};

start().catch((error) => ($("fresh").textContent = error.message));

// Elements and words. Text always goes in as text, never as HTML.

export const $ = (id) => document.getElementById(id);

export const el = (tag, props, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
};

export const badge = (state, text) => el("span", { class: `badge ${state ?? ""}` }, text ?? words(state ?? "not asked"));

export const words = (text) => String(text).replaceAll("_", " ");

export const phase = (name) => (name === "step" ? "on the ramp" : words(name));

// Everything is shown in UTC, as the pipeline's own messages are.
export const when = (text) => (text ? text.replace("T", " ").slice(0, 16) : "");
export const clock = (text) => (text ? text.slice(11, 19) : "");

export const age = (seconds) => {
  if (seconds === null || seconds === undefined) return "";
  const steps = [[86400, "day"], [3600, "hour"], [60, "minute"]];
  for (const [length, unit] of steps) {
    const count = Math.floor(seconds / length);
    if (count >= 1) return `${count} ${unit}${count > 1 ? "s" : ""}`;
  }
  return `${Math.max(0, Math.floor(seconds))} seconds`;
};

// Not-a-number and infinities come as words, because JSON has none of them.
export const number = (value, digits = 4) => {
  if (value === null || value === undefined) return "";
  if (typeof value === "string") return value;
  if (value !== 0 && Math.abs(value) < 1e-3) return value.toExponential(1);
  const shown = Number.isInteger(value) ? value : Number(value.toPrecision(digits));
  // Thousands are set apart by a narrow space, as in the pipeline's own sentences.
  return shown.toLocaleString("en", { maximumFractionDigits: 6 }).replaceAll(",", "\u202f");
};

// Digests within a sentence, by their beginnings.
export const shortened = (text) => text.replace(/[0-9a-f]{64}/g, (whole) => `${whole.slice(0, 12)}…`);

// A digest by its beginning; the whole of it is a hover away.
export const digest = (text) => el("span", { class: "mono", title: text }, text.slice(0, 12));

export const percent = (ppm) => `${number(ppm / 10_000)} %`;

export const empty = (text) => el("div", { class: "empty" }, el("p", {}, text));

// Airflow shows the page in a frame that may not open windows or leave; its own document may. Same origin, so ask it.
const follow = (event) => {
  const link = event.currentTarget;
  if (window.parent === window) return;
  event.preventDefault();
  const outside = window.parent.document;
  const copy = outside.createElement("a");
  copy.href = link.href;
  if (link.target) Object.assign(copy, { target: link.target, rel: "noopener" });
  outside.body.append(copy);
  copy.click();
  copy.remove();
};

export const anchor = ({ label, href }) => {
  const stays = href.startsWith("../");
  return el("a", { href, target: stays ? null : "_blank", rel: stays ? null : "noopener", onclick: follow }, label);
};

export const links = (list) => (list.length ? el("div", { class: "bar small" }, list.map(anchor)) : null);

// On a narrow screen a row is a card and every cell says what it is: see page.css.
const named = (heads, row) => {
  const filled = [...row.children];
  if (filled.length === heads.length) filled.forEach((cell, place) => heads[place] && cell.setAttribute("data-head", heads[place]));
  return row;
};

export const table = (heads, rows, caption) =>
  el(
    "div",
    { class: "scroll" },
    el(
      "table",
      {},
      caption ? el("caption", { class: "dim small" }, caption) : null,
      el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))),
      el("tbody", {}, rows.map((row) => named(heads, row))),
    ),
  );

export const cells = (...values) =>
  el("tr", {}, values.map((value) => (value instanceof Node && value.nodeName === "TD" ? value : el("td", {}, value ?? ""))));

export const choice = (label, options, chosen, change) =>
  el(
    "label",
    {},
    `${label} `,
    el(
      "select",
      { onchange: (event) => change(event.target.value) },
      options.map(([value, text]) => el("option", { value, selected: String(value) === String(chosen) }, text)),
    ),
  );

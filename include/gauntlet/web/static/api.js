// Reads and actions. Addresses are relative to the page, so that any base path works.

const at = (parts) => parts.map(encodeURIComponent).join("/");

export class Unanswered extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

const answer = async (response) => {
  const text = await response.text();
  if (response.ok) return JSON.parse(text);
  let words = text;
  try {
    const { detail } = JSON.parse(text);
    words = typeof detail === "string" ? detail : detail.map((one) => `${one.loc.at(-1)}: ${one.msg}`).join("; ");
  } catch {
    // Plain text already.
  }
  if (response.status === 401) words = "Your login has ended: log in to Airflow again.";
  throw new Unanswered(response.status, words || `${response.status} ${response.statusText}`);
};

export const ask = async (parts, query = {}) => {
  const text = new URLSearchParams(query).toString();
  return answer(await fetch(`api/${at(parts)}${text ? `?${text}` : ""}`, { credentials: "same-origin" }));
};

// The header is what another site cannot send: see `same_site` in web/app.py.
export const act = async (model, order) =>
  answer(
    await fetch(`api/${at(["models", model, "actions"])}`, {
      method: "POST",
      credentials: "same-origin",
      headers: { "Content-Type": "application/json", "X-Gauntlet": "act" },
      body: JSON.stringify(order),
    }),
  );

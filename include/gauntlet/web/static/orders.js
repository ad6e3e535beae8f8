// An action: a dialog that wants a reason, then one POST, and what came of it in words.
import { act } from "./api.js";
import { $, el } from "./dom.js";

const LEAST = 5;

// `consequence` says what will happen; without one there is nothing to do it to.
export const orderButton = (state, data, action, label, facts, consequence, kind) => {
  const { permitted, reason } = data.allowed.find((one) => one.action === action);
  const nothing = consequence === null;
  return el(
    "button",
    {
      type: "button",
      class: kind,
      disabled: !permitted || nothing,
      title: nothing ? "There is no earlier version to return to." : permitted ? consequence : `Not for you: ${reason}`,
      "data-action": action,
      onclick: () => confirmOrder(state, { action, ...facts }, label, consequence, kind),
    },
    label,
  );
};

const confirmOrder = (state, order, label, consequence, kind) => {
  const dialog = $("ask");
  const why = el("textarea", { required: true, minlength: LEAST, maxlength: 2000, "aria-describedby": "ask-hint" });
  const problem = el("p", { class: "notice bad", role: "alert", hidden: true });
  const go = el("button", { type: "submit", class: kind, value: "go" }, label);
  const send = async (event) => {
    event.preventDefault();
    go.disabled = true;
    try {
      const done = await act(state.model, { ...order, reason: why.value });
      state.said = { kind: "good", text: `${done.sentence} (${done.by})` };
      dialog.close();
      state.refresh(true);
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
      go.disabled = false;
    }
  };
  dialog.replaceChildren(
    el(
      "form",
      { method: "dialog", onsubmit: send },
      el("h2", { id: "ask-title" }, `${label}: ${state.model}`),
      el("p", {}, consequence),
      el("label", {}, "Why?", why),
      el("p", { class: "dim small", id: "ask-hint" }, `At least ${LEAST} characters. Your name, the time and the reason go into the audit log.`),
      problem,
      el("div", { class: "bar" }, el("button", { type: "button", onclick: () => dialog.close() }, "Cancel"), go),
    ),
  );
  dialog.showModal();
  why.focus();
};

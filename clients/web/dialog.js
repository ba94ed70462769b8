// Dialogs that ask for confirmation, and short notices.

import { announce, h, $ } from "./dom.js";
import { icon } from "./icons.js";
import { t } from "./i18n.js";

/** Ask for confirmation; resolves to true for the main button, to false for Escape and the other one. */
export function confirmed({ title, text, action, danger = false, extra = null }) {
  return new Promise((answer) => {
    const titleId = `dialog-${Date.now()}`;
    const dialog = h(
      "dialog",
      { "aria-labelledby": titleId, onclose: () => (answer(dialog.returnValue === "yes"), dialog.remove()) },
      h(
        "form",
        { method: "dialog" },
        h("h2", { id: titleId }, title),
        text ? h("p", {}, text) : null,
        extra,
        h(
          "div",
          { class: "dialog-foot" },
          h("button", { class: "button", value: "no" }, t("act.cancel")),
          h("button", { class: `button ${danger ? "danger" : "primary"}`, value: "yes" }, action),
        ),
      ),
    );
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Show a notice for a few seconds; `action` is {label, run}. Errors stay until somebody closes them. */
export function notice(text, { kind = "info", action = null } = {}) {
  const remove = () => box.remove();
  const box = h(
    "div",
    { class: `notice ${kind}` },
    kind === "error" ? icon("warn") : null,
    h("span", { class: "notice-text" }, text),
    action ? h("button", { class: "quiet small", type: "button", onclick: () => (remove(), action.run()) }, action.label) : null,
    h("button", { class: "quiet icon-only small", type: "button", "aria-label": t("act.close"), onclick: remove }, icon("close", 14)),
  );
  const stack = $("#notices");
  for (const old of [...stack.children].slice(0, -2)) old.remove();
  stack.append(box);
  announce(text);
  if (kind !== "error") setTimeout(remove, 6000);
}

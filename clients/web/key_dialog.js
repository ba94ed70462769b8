// The dialog for an API key, which this browser keeps.

import { send } from "./api.js";
import { forgetAllChats } from "./conversation.js";
import { h } from "./dom.js";
import { t } from "./i18n.js";
import { get, set, watch } from "./state.js";
import { keep, recall } from "./storage.js";

let open = null;

/** Open the dialog whenever the service needs a key. */
export function watchForKey(signal) {
  watch("needsKey", () => (get("needsKey") ? askForKey() : open?.close()), signal);
}

export function askForKey() {
  if (open) return;
  const field = h("input", {
    class: "field",
    type: "password",
    autocomplete: "off",
    spellcheck: "false",
    "aria-label": t("key.label"),
    placeholder: "at-…",
    required: true,
  });
  const problem = h("p", { class: "bad", role: "alert" });
  const submit = async (event) => {
    event.preventDefault();
    const before = recall("key");
    keep("key", field.value.trim());
    try {
      await send("GET", "/v1/models");
      if (before && before !== field.value.trim()) forgetAllChats();
      set("needsKey", false);
      open?.close();
    } catch (error) {
      if (error.status === 401) keep("key", null);
      problem.textContent = error.message;
    }
  };
  open = h(
    "dialog",
    { "aria-labelledby": "key-title", onclose: () => (open.remove(), (open = null)) },
    h(
      "form",
      { onsubmit: submit },
      h("h2", { id: "key-title" }, t("key.title")),
      h("p", {}, t("key.text")),
      field,
      problem,
      h("div", { class: "dialog-foot" }, h("button", { class: "button primary", type: "submit" }, t("key.save"))),
    ),
  );
  document.body.append(open);
  open.showModal();
  field.focus();
}

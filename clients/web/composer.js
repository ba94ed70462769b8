// The message field: it grows with the text, keeps a draft for each conversation, and sends on Enter.

import { h } from "./dom.js";
import { icon } from "./icons.js";
import { t } from "./i18n.js";
import { get, has, watch } from "./state.js";
import { keep, recall } from "./storage.js";

/** Build the composer. `on` is {send(text), stop(), unpin()}. Returns {node, open(id), text(), set(text), focus(), isComparing()}. */
export function composer(on, signal) {
  let draftId = "new";
  const area = h("textarea", {
    id: "message",
    class: "message",
    rows: 1,
    placeholder: t("composer.placeholder"),
    "aria-label": t("composer.label"),
    autocomplete: "off",
    oninput: typed,
    onkeydown: pressed,
    enterkeyhint: "send",
  });
  const send = h("button", { class: "send", type: "submit" }, icon("send", 20));
  const comparing = h(
    "button",
    {
      class: "toggle",
      type: "button",
      "aria-pressed": String(recall("comparing", false)),
      title: t("composer.compare_hint"),
      onclick: toggle,
    },
    icon("sides", 16),
    h("span", {}, t("composer.compare")),
  );
  const pinned = h("span", { class: "pinned" });
  const form = h(
    "form",
    { class: "composer", onsubmit: submit, "aria-label": t("composer.label") },
    area,
    h("div", { class: "composer-foot" }, comparing, pinned, h("span", { class: "composer-hint soft" }, t("composer.hint")), send),
  );

  function typed() {
    keep(`draft.${draftId}`, area.value || null);
    fit();
  }
  function fit() {
    area.style.height = "auto";
    area.style.height = `${Math.min(area.scrollHeight, 240)}px`;
    if (!get("busy")) send.disabled = !area.value.trim();
  }
  function pressed(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return; // 229: an input method is composing
    event.preventDefault();
    submit();
  }
  function submit(event) {
    event?.preventDefault();
    if (get("busy")) return event ? on.stop() : undefined;
    const text = area.value.trim();
    if (!text) return undefined;
    set("");
    return on.send(text);
  }
  function toggle() {
    const is = comparing.getAttribute("aria-pressed") !== "true";
    comparing.setAttribute("aria-pressed", String(is));
    keep("comparing", is || null);
    area.focus();
  }
  function set(text) {
    area.value = text;
    typed();
  }
  watch("routes", () => (comparing.hidden = !has("POST /v1/comparisons")), signal);
  watch(
    "busy",
    () => {
      const busy = get("busy");
      send.replaceChildren(icon(busy ? "stop" : "send", 20));
      send.setAttribute("aria-label", t(busy ? "act.stop" : "act.send"));
      send.title = t(busy ? "act.stop" : "act.send");
      send.classList.toggle("stopping", busy);
      send.disabled = !busy && !area.value.trim();
    },
    signal,
  );

  return {
    node: form,
    open(id) {
      draftId = id;
      area.value = recall(`draft.${id}`, "");
      fit();
    },
    set,
    text: () => area.value,
    focus: () => area.focus(),
    isComparing: () => comparing.getAttribute("aria-pressed") === "true" && !comparing.hidden,
    showPin(model) {
      pinned.replaceChildren(
        ...(model
          ? [
              h("span", {}, t("composer.pinned", { model })),
              h(
                "button",
                {
                  class: "quiet icon-only small",
                  type: "button",
                  "aria-label": t("composer.unpin"),
                  title: t("composer.unpin"),
                  onclick: on.unpin,
                },
                icon("close", 13),
              ),
            ]
          : []),
      );
    },
  };
}

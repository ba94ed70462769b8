// The settings: language, theme, API key, and facts about the service.

import { getJson, send } from "./api.js";
import { forgetAllChats } from "./conversation.js";
import { notice } from "./dialog.js";
import { h, show } from "./dom.js";
import { chooseLanguage, chosenLanguage, named, number, t } from "./i18n.js";
import { askForKey } from "./key_dialog.js";
import { stateName } from "./learner_state.js";
import { radioGroup } from "./radio_group.js";
import { get, has, liveVersion, watch } from "./state.js";
import { keep, recall } from "./storage.js";

const FORMATS = ["preference", "unpaired", "sft", "raw"];

export function settingsScreen(root, { signal, mount }) {
  const about = h("dl", { class: "facts" });
  const key = h("div", { class: "row" });
  const exports = h("div");
  show(
    root,
    h(
      "div",
      { class: "screen settings" },
      h("header", { class: "screen-head" }, h("h2", {}, t("nav.settings")), h("p", { class: "soft" }, t("settings.lead"))),
      h(
        "section",
        { class: "block" },
        h("h3", {}, t("settings.look")),
        radioGroup(
          t("settings.language"),
          "language",
          [
            ["auto", t("settings.auto")],
            ["en", "English"],
            ["zh", "中文"],
          ],
          chosenLanguage(),
          (value) => (chooseLanguage(value), mount()),
        ),
        radioGroup(
          t("settings.theme"),
          "theme",
          [
            ["auto", t("settings.auto")],
            ["light", t("settings.light")],
            ["dark", t("settings.dark")],
          ],
          recall("theme", "auto"),
          chooseTheme,
        ),
        h(
          "label",
          { class: "setting check" },
          h("span", {}, t("settings.nudges"), h("span", { class: "soft" }, t("settings.nudges_text"))),
          h("input", {
            type: "checkbox",
            checked: recall("nudges", true),
            onchange: (event) => keep("nudges", event.target.checked ? null : false),
          }),
        ),
        h("div", { class: "setting" }, h("span", {}, t("settings.key")), key),
      ),
      h(
        "section",
        { class: "block" },
        h("h3", {}, t("settings.runs")),
        about,
        h("p", { class: "row" }, h("a", { class: "button small", href: "/docs", target: "_blank", rel: "noopener" }, t("settings.docs"))),
      ),
      exports,
    ),
  );
  watch("needsKey", () => drawKey(key), signal);
  watch(["learner", "versions"], () => drawAbout(about), signal);
  watch(["admin", "routes"], () => show(exports, get("admin") && has("GET /v1/export") ? exportBlock() : null), signal);
  getJson("/readyz")
    .then((body) => ((about.dataset.model = body.model ?? ""), drawAbout(about)))
    .catch(() => {});
}

function chooseTheme(theme) {
  keep("theme", theme === "auto" ? null : theme);
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

function drawKey(room) {
  const hasKey = Boolean(recall("key"));
  show(
    room,
    h("span", { class: "soft" }, t(hasKey ? "settings.key_set" : "settings.key_none")),
    h("button", { class: "button small", type: "button", onclick: askForKey }, t("settings.key_change")),
    hasKey
      ? h(
          "button",
          { class: "quiet small", type: "button", onclick: () => (keep("key", null), forgetAllChats(), location.reload()) },
          t("settings.key_forget"),
        )
      : null,
  );
}

function drawAbout(list) {
  const learner = get("learner");
  const live = liveVersion();
  const detail = learner?.detail ?? {};
  const { trigger } = learner ?? {};
  const rows = [
    [t("settings.model"), list.dataset.model || detail.model],
    [t("settings.live"), live ? h("a", { href: `#/versions/${live.version}` }, t("strip.version", { v: live.version })) : null],
    [t("settings.versions"), get("versions") ? number(get("versions").length) : null],
    [t("settings.digest"), live?.digest ? h("code", {}, live.digest.slice(0, 16)) : null],
    [t("settings.learner"), learner ? stateName(learner) : null],
    [t("settings.algorithm"), detail.algorithm],
    [t("settings.device"), detail.device],
    [
      t("settings.trigger"),
      trigger ? t("settings.trigger_text", { items: trigger.items, seconds: trigger.seconds, min: trigger.min_items }) : null,
    ],
  ];
  show(
    list,
    rows.filter(([, value]) => value).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
  );
}

function exportBlock() {
  return h(
    "section",
    { class: "block" },
    h("h3", {}, t("settings.export")),
    h("p", { class: "soft" }, t("settings.export_text")),
    h(
      "div",
      { class: "row" },
      FORMATS.map((format) =>
        h("button", { class: "button small", type: "button", onclick: () => download(format) }, named("export", format)),
      ),
    ),
  );
}

async function download(format) {
  try {
    const blob = await (await send("GET", `/v1/export?format=${format}`)).blob();
    const link = h("a", { href: URL.createObjectURL(blob), download: `attune-${format}.jsonl` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  } catch (error) {
    notice(error.message, { kind: "error" });
  }
}

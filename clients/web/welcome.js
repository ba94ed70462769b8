// The welcome of an empty conversation, with examples.

import { h } from "./dom.js";
import { t } from "./i18n.js";
import { logo } from "./logo.js";

/** Return the welcome; `ask(text)` sends an example. */
export function welcome(ask) {
  const examples = ["one", "two", "three", "four"].map((name) => t(`welcome.example_${name}`));
  return h(
    "section",
    { class: "welcome" },
    logo(),
    h("h2", {}, t("welcome.title")),
    h("p", { class: "lead" }, t("welcome.lead")),
    h(
      "ul",
      { class: "examples", "aria-label": t("welcome.examples") },
      examples.map((text) => h("li", {}, h("button", { class: "example", type: "button", onclick: () => ask(text) }, text))),
    ),
  );
}

// What an empty conversation shows: what this is, and something to begin with.

import { h } from "./dom.js";
import { t } from "./i18n.js";
import { wave } from "./wave.js";

/** The welcome; `askIt(text)` sends an example. */
export function welcome(askIt) {
  const examples = ["one", "two", "three", "four"].map((name) => t(`welcome.example_${name}`));
  return h(
    "section",
    { class: "welcome" },
    wave(),
    h("h2", {}, t("welcome.title")),
    h("p", { class: "lead" }, t("welcome.lead")),
    h(
      "ul",
      { class: "examples", "aria-label": t("welcome.examples") },
      examples.map((text) => h("li", {}, h("button", { class: "example", type: "button", onclick: () => askIt(text) }, text))),
    ),
  );
}

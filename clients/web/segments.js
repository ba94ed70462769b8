// A group of radio buttons that looks like one control.

import { h } from "./dom.js";

/** `options` are [value, words]; `choose` hears of the value that is taken. */
export function segments(label, name, options, value, choose) {
  return h(
    "fieldset",
    { class: "setting" },
    h("legend", {}, label),
    h(
      "div",
      { class: "segments" },
      options.map(([key, words]) =>
        h(
          "label",
          {},
          h("input", { type: "radio", name, value: key, checked: key === value, onchange: () => choose(key) }),
          h("span", {}, words),
        ),
      ),
    ),
  );
}

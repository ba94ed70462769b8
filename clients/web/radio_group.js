// A group of radio buttons drawn as one control.

import { h } from "./dom.js";

/** Return the control. `options` are [value, text]; `choose` is called with the new value. */
export function radioGroup(label, name, options, value, choose) {
  return h(
    "fieldset",
    { class: "setting" },
    h("legend", {}, label),
    h(
      "div",
      { class: "segments" },
      options.map(([key, text]) =>
        h(
          "label",
          {},
          h("input", { type: "radio", name, value: key, checked: key === value, onchange: () => choose(key) }),
          h("span", {}, text),
        ),
      ),
    ),
  );
}

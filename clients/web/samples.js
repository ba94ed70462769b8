// Before and after: answers of two versions to the same questions, with differences marked.

import { getJson } from "./api.js";
import { withoutPiles } from "./bounded_markdown.js";
import { differences } from "./diff.js";
import { h, show } from "./dom.js";
import { t } from "./i18n.js";
import { get } from "./state.js";

const textOf = (sample, name, other) => withoutPiles(sample[name] ?? sample[other] ?? "");

/** Return the section of a version. It asks for answers only on a click, since both versions must write them. */
export function samplesBlock(version, signal) {
  const others = (get("versions") ?? []).filter((row) => row.version !== version.version && !["rejected", "withdrawn"].includes(row.state));
  if (!others.length)
    return h("section", { class: "block" }, h("h3", {}, t("samples.title")), h("p", { class: "soft" }, t("samples.empty")));
  const preferred = others.some((row) => row.version === version.parent) ? version.parent : others[0].version;
  const select = h(
    "select",
    { class: "field", "aria-label": t("samples.against") },
    others.map((row) => h("option", { value: row.version, selected: row.version === preferred }, t("samples.version", { v: row.version }))),
  );
  select.value = String(preferred);
  const list = h("div", { class: "samples", "aria-live": "polite" });
  const button = h("button", { class: "button", type: "button", onclick: load }, t("samples.load"));

  async function load() {
    button.disabled = true;
    show(list, h("p", { class: "soft" }, t("samples.loading")));
    try {
      const { data } = await getJson(`/v1/versions/${version.version}/samples?against=${select.value}`, { signal });
      show(
        list,
        data.length
          ? differingFirst(data).map((sample) => sampleView(sample, Number(select.value), version.version))
          : h("p", { class: "soft" }, t("samples.empty")),
      );
    } catch (error) {
      if (error.name !== "AbortError") show(list, h("p", { class: "bad" }, t("state.failed", { why: error.message })));
    }
    button.disabled = false;
  }
  return h(
    "section",
    { class: "block" },
    h("h3", {}, t("samples.title")),
    h("p", { class: "soft" }, t("samples.text")),
    h("div", { class: "row" }, h("label", { class: "against" }, h("span", {}, t("samples.against")), select), button),
    list,
  );
}

/** Sort pairs that differ before equal ones. */
const differingFirst = (data) => {
  const isSame = (sample) => Number(textOf(sample, "against", "before") === textOf(sample, "text", "answer"));
  return [...data].sort((a, b) => isSame(a) - isSame(b));
};

function sampleView(sample, other, number) {
  const question = sample.prompt ?? sample.messages?.findLast((message) => message.role === "user")?.content ?? "";
  const earlier = (sample.messages?.length ?? 1) - 1;
  const [before, after] = [textOf(sample, "against", "before"), textOf(sample, "text", "answer")];
  const [left, right] = differences(before, after);
  return h(
    "article",
    { class: "sample" },
    h("h4", {}, question, earlier > 0 ? h("span", { class: "sample-note soft" }, t("samples.after", { n: earlier })) : null),
    before === after
      ? h(
          "div",
          {},
          h("span", { class: "version-badge" }, `v${other} = v${number}`),
          h("span", { class: "sample-note soft" }, t("samples.same")),
          h("p", { class: "sample-text" }, before),
        )
      : h("div", { class: "sides" }, side(other, left), side(number, right)),
  );
}

const side = (number, nodes) => h("div", {}, h("span", { class: "version-badge" }, `v${number}`), h("p", { class: "sample-text" }, nodes));

// An answer as safe markup: DOMPurify sanitizes it, pictures are not loaded, and links open in a new tab.

import { copyText, h } from "./dom.js";
import { highlight } from "./highlight.js";
import { icon } from "./icons.js";
import { t } from "./i18n.js";
import { Marked } from "./vendor/marked.min.js";
import DOMPurify from "./vendor/purify.min.js";

const marked = new Marked({ gfm: true, breaks: true });
const ALLOWED = {
  ALLOWED_TAGS: [
    "p",
    "br",
    "hr",
    "strong",
    "em",
    "del",
    "code",
    "pre",
    "blockquote",
    "ul",
    "ol",
    "li",
    "a",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "sub",
    "sup",
  ],
  ALLOWED_ATTR: ["href", "title", "class", "start", "align"],
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
  RETURN_DOM_FRAGMENT: true,
};

/** Render `text` into `node`. Called repeatedly while an answer streams. */
export function renderMarkdown(node, text) {
  const content = DOMPurify.sanitize(marked.parse(text), ALLOWED);
  for (const link of content.querySelectorAll("a")) {
    link.target = "_blank";
    link.rel = "noopener noreferrer nofollow";
  }
  for (const heading of content.querySelectorAll("h1, h2, h3, h4, h5, h6")) {
    // headings of an answer must not change the page's outline
    const level = Number(heading.tagName[1]);
    heading.replaceWith(
      h("p", { class: `heading heading-${level}`, role: "heading", "aria-level": Math.min(6, level + 2) }, ...heading.childNodes),
    );
  }
  for (const table of content.querySelectorAll("table")) {
    const frame = h("div", { class: "table-frame", tabindex: 0, role: "region", "aria-label": t("md.table") });
    table.replaceWith(frame);
    frame.append(table);
  }
  for (const pre of content.querySelectorAll("pre")) frameCode(pre);
  node.replaceChildren(content);
}

function frameCode(pre) {
  const code = pre.querySelector("code") ?? pre;
  const name = /language-([\w+#-]+)/.exec(code.className)?.[1] ?? "";
  const text = code.textContent;
  code.replaceChildren(...highlight(text, name));
  pre.tabIndex = 0;
  pre.setAttribute("role", "region");
  pre.setAttribute("aria-label", name || t("md.code"));
  const button = h("button", { class: "quiet small", type: "button", onclick: copy }, icon("copy", 14), t("act.copy"));
  async function copy() {
    await copyText(text.replace(/\n$/, ""));
    button.replaceChildren(icon("check", 14), t("act.copied"));
    setTimeout(() => button.replaceChildren(icon("copy", 14), t("act.copy")), 1600);
  }
  const frame = h("div", { class: "code-frame" }, h("div", { class: "code-head" }, h("span", {}, name || t("md.code")), button));
  pre.replaceWith(frame);
  frame.append(pre);
}

// An answer as safe markup: DOMPurify sanitizes it, pictures are not loaded, and links open in a new tab.

import { htmlOf, withoutPiles } from "./bounded_markdown.js";
import { copyText, h } from "./dom.js";
import { highlight } from "./highlight.js";
import { icon } from "./icons.js";
import { t } from "./i18n.js";
import DOMPurify from "./vendor/purify.min.js";

const MOST_PLAIN = 200_000; // characters of a plain text that are laid out
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

/** Render a text into `node`, as plain text where its markup is beyond the bounds. Called repeatedly in a stream. */
export function renderMarkdown(node, whole) {
  const text = withoutPiles(whole);
  try {
    const html = htmlOf(text);
    if (html === null) showPlain(node, text);
    else showMarkup(node, html);
  } catch (error) {
    console.info("shown as plain text:", error); // the conversation around it must show
    showPlain(node, text);
  }
}

function showPlain(node, text) {
  const rest = text.length - MOST_PLAIN;
  node.replaceChildren(
    h("p", { class: "plain" }, text.slice(0, MOST_PLAIN)),
    h("p", { class: "soft" }, rest > 0 ? t("md.cut", { n: rest }) : t("md.plain")),
  );
}

function showMarkup(node, html) {
  const content = DOMPurify.sanitize(html, ALLOWED);
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

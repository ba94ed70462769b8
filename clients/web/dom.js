// Elements of the page. Text becomes text nodes only; markdown.js alone takes markup, which it sanitizes.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "text") node.textContent = value;
    else if (name === "value") node.value = value;
    else if (name === "dataset") Object.assign(node.dataset, value);
    else if (name === "style")
      for (const [key, it] of Object.entries(value)) node.style.setProperty(key, it); // by the CSSOM, since the policy forbids style attributes
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Return an HTML element: h("button", {class: "x", onclick: go}, "Go"). Null and false children and properties are left out. */
export const h = (tag, props, ...children) => fill(document.createElement(tag), props, children);

/** Return an SVG element. */
export const s = (tag, props, ...children) => fill(document.createElementNS(SVG, tag), props, children);

export const $ = (selector, root = document) => root.querySelector(selector);

/** Replace the children of a node. */
export function show(node, ...children) {
  node.replaceChildren(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
}

/** Announce a text to screen readers. Emptying the region first lets them read the same text again. */
export function announce(text) {
  const region = $("#announcer");
  if (!region) return;
  region.textContent = "";
  setTimeout(() => (region.textContent = text), 60);
}

/** Whether typing goes into this element, so that single-key shortcuts must not act. */
export const isTyping = (node) => Boolean(node?.closest?.("input, textarea, select, [contenteditable=true]"));

export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // without a secure context there is no clipboard: use the older command
    const area = h("textarea", { class: "offscreen", value: text });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

// Making elements. Text goes in as text nodes only; the one place that takes markup is markdown.js, which sanitises it.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "text") node.textContent = value;
    else if (name === "value") node.value = value;
    else if (name === "dataset") Object.assign(node.dataset, value);
    else if (name === "style")
      for (const [key, it] of Object.entries(value)) node.style.setProperty(key, it); // through the CSSOM: the policy forbids style attributes
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** An HTML element: h("button", {class: "x", onclick: go}, "Go"). Null and false children and properties are left out. */
export const h = (tag, props, ...children) => fill(document.createElement(tag), props, children);

/** An SVG element. */
export const s = (tag, props, ...children) => fill(document.createElementNS(SVG, tag), props, children);

export const $ = (selector, root = document) => root.querySelector(selector);

/** Replace what a node holds, unless it is the same text already. */
export function show(node, ...children) {
  node.replaceChildren(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
}

/** Say something to screen readers. The region is emptied first, so that the same words are read again. */
export function announce(words) {
  const region = $("#announcer");
  if (!region) return;
  region.textContent = "";
  setTimeout(() => (region.textContent = words), 60);
}

/** Whether typing goes into this element, so that single-key shortcuts must stay out of the way. */
export const isTyping = (node) => Boolean(node?.closest?.("input, textarea, select, [contenteditable=true]"));

export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // no clipboard without a secure context: the old way still works
    const area = h("textarea", { class: "offscreen", value: text });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

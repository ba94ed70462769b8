// Differences of two texts: a longest common subsequence of words, or of single characters in a script without spaces.

import { h } from "./dom.js";

const MOST = 900; // tokens a side; longer texts get no marks, since the table would be large

const tokensOf = (text) => text.match(/\p{Script=Han}|[^\s\p{Script=Han}\p{P}\p{S}]+|\s+|./gu) ?? [];

/** Return [nodes of `before` with <del>, nodes of `after` with <ins>]. */
export function differences(before, after) {
  const a = tokensOf(before);
  const b = tokensOf(after);
  if (a.length > MOST || b.length > MOST) return [[before], [after]];
  const width = b.length + 1;
  const lengths = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i -= 1)
    for (let j = b.length - 1; j >= 0; j -= 1)
      lengths[i * width + j] =
        a[i] === b[j] ? lengths[(i + 1) * width + j + 1] + 1 : Math.max(lengths[(i + 1) * width + j], lengths[i * width + j + 1]);
  const left = [];
  const right = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      left.push([a[i], false]);
      right.push([b[j], false]);
      i += 1;
      j += 1;
    } else if (j >= b.length || (i < a.length && lengths[(i + 1) * width + j] >= lengths[i * width + j + 1])) left.push([a[i++], true]);
    else right.push([b[j++], true]);
  }
  return [marked(left, "del"), marked(right, "ins")];
}

/** Join neighbours of one kind; a space between two marked tokens is marked with them. */
function marked(tokens, tag) {
  const nodes = [];
  for (let at = 0; at < tokens.length;) {
    const isMarked = tokens[at][1];
    let end = at;
    while (end < tokens.length && (tokens[end][1] === isMarked || (isMarked && !tokens[end][0].trim() && tokens[end + 1]?.[1]))) end += 1;
    const text = tokens
      .slice(at, end)
      .map(([token]) => token)
      .join("");
    nodes.push(isMarked && text.trim() ? h(tag, {}, text) : text);
    at = end;
  }
  return nodes;
}

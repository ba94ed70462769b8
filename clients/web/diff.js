// Which words of two texts differ: a longest common subsequence over words, and over single characters where a script has no spaces.

import { h } from "./dom.js";

const MOST = 900; // words a side; beyond that the marks would be noise and the table large

const wordsOf = (text) => text.match(/\p{Script=Han}|[^\s\p{Script=Han}\p{P}\p{S}]+|\s+|./gu) ?? [];

/** Return [nodes of `before` with <del>, nodes of `after` with <ins>]. */
export function differences(before, after) {
  const a = wordsOf(before);
  const b = wordsOf(after);
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

/** Join neighbours of one kind; a space between two marked words is marked with them. */
function marked(pieces, tag) {
  const nodes = [];
  for (let at = 0; at < pieces.length;) {
    const isMarked = pieces[at][1];
    let end = at;
    while (end < pieces.length && (pieces[end][1] === isMarked || (isMarked && !pieces[end][0].trim() && pieces[end + 1]?.[1]))) end += 1;
    const text = pieces
      .slice(at, end)
      .map(([word]) => word)
      .join("");
    nodes.push(isMarked && text.trim() ? h(tag, {}, text) : text);
    at = end;
  }
  return nodes;
}

// Colors for code: comments, strings, numbers and the keywords of common languages.

import { h } from "./dom.js";

const HASH = /^(py|python|sh|bash|shell|zsh|yaml|yml|toml|rb|ruby|r|make|makefile|dockerfile|perl|ini)$/i;
const DASHES = /^(sql|lua|haskell|hs)$/i;
const KEYWORDS = new Set(
  (
    "and as assert async await auto begin bool break case catch char class const continue def default defer del delete do done double echo elif else end enum except export extends " +
    "extern false fi final finally float fn for foreach from func function global go if impl implements import in int interface is lambda let local long match mod module mut namespace new nil none " +
    "not null or override package pass private protected pub public raise return select self short static string struct super switch then this throw throws trait true try type typedef " +
    "union unsigned use using var void where while with yield from group order by insert into values update set create table join on limit"
  ).split(" "),
);
const PLAIN = /^(text|txt|plain|markdown|md|diff|)$/i;

/** Return nodes that show `text`, colored for the named language. */
export function highlight(text, name) {
  if (PLAIN.test(name) || text.length > 20_000) return [text];
  const comment = HASH.test(name)
    ? "#[^\\n]*"
    : DASHES.test(name)
      ? "--[^\\n]*"
      : "\\/\\/[^\\n]*|\\/\\*[\\s\\S]*?(?:\\*\\/|$)|<!--[\\s\\S]*?(?:-->|$)";
  const pattern = new RegExp(
    `(?<comment>${comment})|(?<string>"""[\\s\\S]*?(?:"""|$)|"(?:\\\\.|[^"\\\\\\n])*"?|'(?:\\\\.|[^'\\\\\\n])*'?|\`(?:\\\\.|[^\`\\\\])*\`?)|(?<number>\\b\\d[\\d_.]*(?:e[+-]?\\d+)?\\w*\\b)|(?<identifier>[A-Za-z_]\\w*)`,
    "g",
  );
  const shown = [];
  let at = 0;
  for (const match of text.matchAll(pattern)) {
    const { comment: isComment, string, number, identifier } = match.groups;
    const isCall = identifier && text[match.index + identifier.length] === "(";
    const kind = isComment
      ? "comment"
      : string
        ? "string"
        : number
          ? "number"
          : KEYWORDS.has(identifier.toLowerCase())
            ? "keyword"
            : isCall
              ? "call"
              : "";
    if (!kind) continue;
    shown.push(text.slice(at, match.index), h("span", { class: `tok-${kind}` }, match[0]));
    at = match.index + match[0].length;
  }
  return [...shown, text.slice(at)];
}

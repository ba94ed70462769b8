// Markdown as HTML within bounds: a text that would keep the browser busy is no markup, and is shown as it is.

import { Marked, Tokenizer } from "./vendor/marked.min.js";

const MOST_CHARACTERS = 50_000;
const MOST_LINES = 4_000;
const MOST_WORK = 20_000_000; // characters that all steps of the parser look ahead over
const MARK_WORK = 20; // of a mark of emphasis, for each character behind it
const OPENING_WORK = 5; // the same of what may open a link, a tag or code
const MOST_CELLS = 20_000; // of all tables
const MOST_TAGS = 500; // of HTML in the text
const DEEPEST = 16; // lists and quotes in each other, or emphasis and links
const LONGEST_BLANK = 1_000; // the parser's expressions start anew at each character of such runs
const LONGEST_UNBROKEN = 2_000;

class TooMuch extends Error {}

/** marked's tokenizer with counts. Each method is a rule, and recursive rules call the others for what is inside. */
class CountingTokenizer extends Tokenizer {
  restart() {
    [this.work, this.cells, this.tags, this.depth] = [0, 0, 0, 0];
  }

  spend(name, amount, most) {
    this[name] += amount;
    if (this[name] > most) throw new TooMuch(name);
  }

  inside(rule) {
    this.spend("depth", 1, DEEPEST);
    const found = rule();
    this.depth -= 1;
    return found;
  }

  // the first rule that is tried for each block, and the first for each part of a line
  space(source) {
    this.spend("work", source.length, MOST_WORK);
    return super.space(source);
  }
  escape(source) {
    this.spend("work", (/^[[<`\\]/.test(source) ? OPENING_WORK : 1) * source.length, MOST_WORK);
    return super.escape(source);
  }

  blockquote = (source) => this.inside(() => super.blockquote(source));
  list = (source) => this.inside(() => super.list(source));
  link = (source) => this.inside(() => super.link(source));
  reflink = (source, links) => this.inside(() => super.reflink(source, links));

  // a mark that may open looks at every mark behind it
  emStrong(source, ...more) {
    if (/^[*_]/.test(source)) this.spend("work", MARK_WORK * source.length, MOST_WORK);
    return this.inside(() => super.emStrong(source, ...more));
  }
  del(source, ...more) {
    if (source.startsWith("~")) this.spend("work", MARK_WORK * source.length, MOST_WORK);
    return this.inside(() => super.del(source, ...more));
  }

  table(source) {
    const end = source.search(/\n[ \t]*\n/);
    const [head, ...rows] = (end < 0 ? source : source.slice(0, end)).split("\n");
    if (head.includes("|") && rows[0]?.includes("-")) this.spend("cells", head.split("|").length * rows.length, MOST_CELLS);
    return super.table(source);
  }

  html(source) {
    return this.tagged(super.html(source));
  }
  tag(source) {
    return this.tagged(super.tag(source));
  }
  tagged(token) {
    if (token) this.spend("tags", token.raw.split("<").length - 1, MOST_TAGS);
    return token;
  }
}

const tokenizer = new CountingTokenizer();
const marked = new Marked({ gfm: true, breaks: true });
marked.setOptions({ tokenizer });

/** Return the HTML of a text, not sanitized, or null for a text that is beyond the bounds. */
export function htmlOf(text) {
  if (text.length > MOST_CHARACTERS || text.split("\n").length > MOST_LINES || hasLongRun(text)) return null;
  tokenizer.restart();
  try {
    return marked.parse(text);
  } catch (error) {
    if (error instanceof TooMuch || error instanceof RangeError) return null; // RangeError: the stack is full
    throw error;
  }
}

/** Return a text with at most 32 combining marks on each other: a pile of thousands takes the browser seconds to draw. */
export const withoutPiles = (text) => String(text ?? "").replace(/(\p{M}{32})\p{M}+/gu, "$1");

/** Whether a text has a long run of blanks, of one character, or of what may be the name in an e-mail address. */
function hasLongRun(text) {
  let [blanks, unbroken, same] = [0, 0, 0];
  for (let at = 0; at < text.length; at += 1) {
    const character = text[at];
    blanks = /[^\S\n]/.test(character) ? blanks + 1 : 0;
    unbroken = /[\w.+-]/.test(character) ? unbroken + 1 : 0;
    same = character === text[at - 1] ? same + 1 : 0;
    if (blanks > LONGEST_BLANK || unbroken > LONGEST_UNBROKEN || same > LONGEST_UNBROKEN) return true;
  }
  return false;
}

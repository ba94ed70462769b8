// Blind comparisons: two answers side by side and a choice, and an offer of one now and then.

import { postJson } from "./api.js";
import { addAnswer } from "./conversation.js";
import { announce, h, isTyping } from "./dom.js";
import { choose, retract } from "./feedback.js";
import { icon } from "./icons.js";
import { t } from "./i18n.js";
import { renderMarkdown } from "./markdown.js";
import { keep, recall } from "./storage.js";

export const KEYS = { 1: "A", 2: "B", t: "tie", b: "both_bad" };
const BUDGET = { every: 5, perDay: 4 }; // an offer after at least `every` answers, and at most `perDay` a day

/** Ask the service for two answers and open the pair. Raises ApiError. */
export async function openPair(exchange, request, signal) {
  const { id, candidates } = await postJson("/v1/comparisons", request, { signal });
  Object.assign(exchange.pair, {
    id,
    sides: candidates.map(({ label, completion_id, content, choice = 0 }) => ({ label, completion_id, content, choice })),
    state: "open",
  });
}

/** Send the choice; the conversation goes on from the chosen answer. After a tie that is A, since sides are random. */
export function settlePair(exchange, winner, changed) {
  const { pair } = exchange;
  const { key, sent } = choose(pair.id, { winner });
  Object.assign(pair, { state: "chosen", winner, models: null, key });
  const side = pair.sides.find((one) => one.label === winner) ?? pair.sides[0];
  const answer = addAnswer(exchange, { id: side.completion_id, choice: side.choice, text: side.content, state: "done" });
  pair.kept = exchange.answers.indexOf(answer);
  if (winner === "both_bad") answer.draft = answer.text; // open a correction: this person knows that both are wrong
  announce(t(`compare.chose_${winner}`));
  changed();
  sent
    .then((record) => {
      pair.models = record.models ?? Object.fromEntries((record.candidates ?? []).map((one) => [one.label, one.model]));
      answer.model = pair.models[side.label] ?? "";
      changed();
    })
    .catch(() => {});
}

/** Take the choice back. The versions are known now, so the two answers are not asked about again. */
export function undoChoice(exchange, changed) {
  retract(exchange.pair.key);
  Object.assign(exchange.pair, { winner: null, key: null });
  announce(t("compare.taken_back"));
  changed();
}

/** Return the two cards and the four choices. */
export function pairCards(exchange, actions) {
  const { pair } = exchange;
  if (pair.state === "failed") {
    return h(
      "p",
      { class: "state-line bad", role: "alert" },
      icon("warn", 15),
      h("span", {}, pair.error || t("chat.broken")),
      h("button", { class: "button small", type: "button", onclick: actions.retry }, icon("again", 15), t("act.try_again")),
    );
  }
  const isOpen = pair.state === "open";
  const sides = isOpen ? pair.sides : [{ label: "A" }, { label: "B" }];
  return h(
    "section",
    { class: "pair", tabindex: -1, "aria-label": t("compare.title"), "aria-busy": String(!isOpen), dataset: { focus: "pair" } },
    h(
      "p",
      { class: "pair-title" },
      isOpen ? t("compare.which") : pair.state === "waiting" ? t("chat.waiting") : t("compare.writing"),
      isOpen ? h("span", { class: "soft" }, t("compare.blind")) : null,
    ),
    h(
      "div",
      { class: "cards" },
      sides.map((side) => card(side, isOpen)),
    ),
    isOpen
      ? h(
          "div",
          { class: "choices", role: "group", "aria-label": t("compare.which") },
          choice("A", "1", actions),
          choice("tie", "T", actions),
          choice("both_bad", "B", actions),
          choice("B", "2", actions),
        )
      : null,
  );
}

function card(side, isOpen) {
  const body = h("div", { class: "prose" });
  if (isOpen) renderMarkdown(body, side.content);
  else body.append(h("i", { class: "bar" }), h("i", { class: "bar" }), h("i", { class: "bar short" }));
  return h(
    "div",
    { class: "card", role: "group", "aria-label": t("compare.answer", { label: side.label }) },
    h("span", { class: "card-label", "aria-hidden": "true" }, side.label),
    body,
  );
}

function choice(winner, key, actions) {
  return h(
    "button",
    { class: `button choice choice-${winner}`, type: "button", "aria-keyshortcuts": key, onclick: () => actions.choose(winner) },
    t(`compare.${winner}`),
    h("kbd", { "aria-hidden": "true" }, key),
  );
}

/** Let the keys 1, 2, T and B choose while nobody is typing. `openExchange` returns the actions of an open pair or null. */
export function listenForKeys(openExchange, signal) {
  document.addEventListener(
    "keydown",
    (event) => {
      if (
        event.ctrlKey ||
        event.metaKey ||
        event.altKey ||
        event.repeat ||
        isTyping(event.target) ||
        document.querySelector("dialog[open]")
      )
        return;
      const winner = KEYS[event.key.toLowerCase()];
      const actions = winner && openExchange();
      if (!actions) return;
      event.preventDefault();
      actions.choose(winner);
    },
    { signal },
  );
}

/** Whether to offer a comparison after this answer: within the budget, and unless it is switched off. */
export function mayNudge() {
  if (!recall("nudges", true)) return false;
  const today = new Date().toDateString();
  const count = { day: today, asked: 0, since: 0, ...recall("nudged", {}) };
  const now = count.day === today ? { ...count, since: count.since + 1 } : { day: today, asked: 0, since: count.since + 1 };
  const may = now.since >= BUDGET.every && now.asked < BUDGET.perDay;
  keep("nudged", may ? { ...now, asked: now.asked + 1, since: 0 } : now);
  return may;
}

/** Return the offer of a comparison. */
export function nudge({ accept, dismiss }) {
  return h(
    "aside",
    { class: "nudge", "aria-label": t("nudge.title") },
    h("span", { class: "nudge-mark" }, icon("sides")),
    h("div", {}, h("strong", {}, t("nudge.title")), h("p", {}, t("nudge.text"))),
    h(
      "div",
      { class: "row" },
      h("button", { class: "button small", type: "button", onclick: accept }, t("nudge.yes")),
      h("button", { class: "quiet small", type: "button", onclick: dismiss }, t("nudge.no")),
      h("button", { class: "quiet small", type: "button", onclick: () => (keep("nudges", false), dismiss()) }, t("nudge.never")),
    ),
  );
}

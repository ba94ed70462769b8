// The view of one exchange: the question, and its answer with buttons or two answers side by side.

import { withoutPiles } from "./bounded_markdown.js";
import { contentOf, shownAnswer, versionOf } from "./conversation.js";
import { pairCards, undoChoice } from "./compare.js";
import { copyText, h } from "./dom.js";
import { icon } from "./icons.js";
import { t } from "./i18n.js";
import { renderMarkdown } from "./markdown.js";
import { has } from "./state.js";
import { correctionBox, reasonPanel, thumbButtons, undoCorrection } from "./thumbs.js";

/** Return the view of one exchange. `actions` are functions of the chat; `last` marks the newest exchange. */
export function exchangeView(exchange, actions, last) {
  const answer = shownAnswer(exchange);
  return h(
    "article",
    { class: "exchange", "aria-label": t("chat.exchange") },
    questionView(exchange, actions, last),
    exchange.pair && exchange.pair.state !== "chosen" ? pairCards(exchange, actions) : null,
    exchange.pair?.state === "chosen" ? pairOutcome(exchange, actions.changed) : null,
    answer && (!exchange.pair || exchange.pair.state === "chosen") ? answerView(exchange, answer, actions, last) : null,
    !answer && !exchange.pair
      ? h(
          "div",
          { class: "unanswered" },
          h("span", {}, t("chat.unanswered")),
          h("button", { class: "button small", type: "button", onclick: actions.retry }, icon("again", 15), t("act.ask_again")),
        )
      : null,
  );
}

function questionView(exchange, actions, last) {
  if (exchange.editing !== undefined) return questionBox(exchange, actions);
  return h(
    "div",
    { class: "question" },
    h("h3", { class: "offscreen" }, t("chat.you")),
    h("div", { class: "bubble" }, withoutPiles(exchange.text)),
    last
      ? h(
          "button",
          {
            class: "quiet icon-only small change-question",
            type: "button",
            title: t("act.change_question"),
            "aria-label": t("act.change_question"),
            dataset: { focus: "question" },
            onclick: actions.changeQuestion,
          },
          icon("pen", 15),
        )
      : null,
  );
}

function questionBox(exchange, actions) {
  const area = h("textarea", {
    class: "field",
    rows: Math.min(10, exchange.editing.split("\n").length + 1),
    "aria-label": t("act.change_question"),
    oninput: () => (exchange.editing = area.value),
  });
  area.value = exchange.editing;
  const save = (event) => {
    event?.preventDefault();
    if (area.value.trim()) actions.saveQuestion(area.value.trim());
  };
  const onkeydown = (event) => {
    if (event.key === "Escape") actions.leaveQuestion();
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) save(event);
  };
  queueMicrotask(() => area.focus());
  return h(
    "form",
    { class: "editing", onsubmit: save, onkeydown },
    area,
    h(
      "div",
      { class: "row end" },
      h("button", { class: "button", type: "button", onclick: actions.leaveQuestion }, t("act.cancel")),
      h("button", { class: "button primary", type: "submit" }, t("act.send")),
    ),
  );
}

function answerView(exchange, answer, actions, last) {
  const isWriting = answer.state === "writing" || answer.state === "waiting";
  const body = h("div", { class: "prose", "aria-busy": String(isWriting) });
  if (answer.draft === undefined) fillAnswer(body, answer);
  return h(
    "div",
    { class: `answer ${answer.state}` },
    h("h3", { class: "offscreen" }, t("chat.attune")),
    answer.draft === undefined ? body : correctionBox(answer, actions.changed),
    answer.correction && answer.draft === undefined
      ? h(
          "p",
          { class: "mark" },
          icon("pen", 14),
          t("correct.mark"),
          h("button", { class: "link", type: "button", onclick: () => undoCorrection(answer, actions.changed) }, t("act.undo")),
        )
      : null,
    stateLine(answer, actions, last),
    isWriting ? null : actionBar(exchange, answer, actions, last),
    isWriting ? null : reasonPanel(answer, actions.changed),
    last && answer.askBetter ? betterAsk(answer, actions) : null,
  );
}

/** Show the text so far; called for each chunk of a stream. */
export function fillAnswer(body, answer) {
  if (answer.text || answer.correction) renderMarkdown(body, contentOf(answer));
  else if (answer.state === "writing")
    body.replaceChildren(h("span", { class: "thinking", role: "img", "aria-label": t("chat.writing") }, h("i"), h("i"), h("i")));
  else if (answer.state === "done") body.replaceChildren(h("em", { class: "soft" }, t("chat.empty_answer")));
}

function stateLine(answer, actions, last) {
  if (answer.state === "waiting")
    return h("p", { class: "state-line", role: "status" }, icon("warn", 15), answer.error || t("chat.waiting"));
  if (answer.state === "stopped") return h("p", { class: "state-line" }, icon("stop", 14), t("chat.stopped"));
  if (answer.state !== "failed") return null;
  return h(
    "p",
    { class: "state-line bad", role: "alert" },
    icon("warn", 15),
    h("span", {}, answer.error || t("chat.broken")),
    last ? h("button", { class: "button small", type: "button", onclick: actions.retry }, icon("again", 15), t("act.try_again")) : null,
  );
}

function actionBar(exchange, answer, actions, last) {
  const number = versionOf(answer.model);
  const copy = h(
    "button",
    { class: "quiet icon-only", type: "button", title: t("act.copy"), "aria-label": t("act.copy"), onclick: copyAnswer },
    icon("copy"),
  );
  async function copyAnswer() {
    await copyText(contentOf(answer));
    copy.replaceChildren(icon("check"));
    setTimeout(() => copy.replaceChildren(icon("copy")), 1500);
  }
  const can = answer.id !== "";
  const button = (name, shape, onclick) =>
    h(
      "button",
      {
        class: "quiet icon-only",
        type: "button",
        title: t(`act.${name}`),
        "aria-label": t(`act.${name}`),
        dataset: { focus: name },
        onclick,
      },
      icon(shape),
    );
  return h(
    "div",
    { class: "actions" },
    can ? thumbButtons(answer, actions.changed) : null,
    copy,
    can && answer.state !== "failed" ? button("correct", "pen", () => ((answer.draft = contentOf(answer)), actions.changed())) : null,
    last ? button("regenerate", "again", actions.again) : null,
    last && has("POST /v1/comparisons") ? button("compare_this", "sides", actions.compare) : null,
    pager(exchange, actions),
    number !== null
      ? h("a", { class: "version-badge", href: `#/versions/${number}`, title: t("chat.by_version", { v: number }) }, `v${number}`)
      : answer.model
        ? h("span", { class: "version-badge" }, answer.model)
        : null,
  );
}

function pager(exchange, actions) {
  const total = exchange.answers.length;
  if (total < 2) return null;
  const step = (by, name, shape) =>
    h(
      "button",
      {
        class: "quiet icon-only small",
        type: "button",
        "aria-label": t(name),
        dataset: { focus: name },
        disabled: exchange.shown + by < 0 || exchange.shown + by >= total,
        onclick: () => ((exchange.shown += by), actions.changed()),
      },
      icon(shape, 15),
    );
  return h(
    "div",
    { class: "pager", role: "group", "aria-label": t("chat.answers") },
    step(-1, "act.previous", "left"),
    h("span", {}, `${exchange.shown + 1}/${total}`),
    step(1, "act.next", "right"),
  );
}

/** Ask whether a regenerated answer is better. One click makes a preference. */
function betterAsk(answer, actions) {
  return h(
    "div",
    { class: "better", role: "group", "aria-label": t("better.ask") },
    h("span", {}, t("better.ask")),
    ["better", "worse", "same"].map((verdict) =>
      h("button", { class: "chip", type: "button", onclick: () => actions.prefer(verdict) }, t(`better.${verdict}`)),
    ),
  );
}

function pairOutcome(exchange, changed) {
  const { pair } = exchange;
  const sides = pair.sides.map((side) => ({ ...side, number: versionOf(pair.models?.[side.label]), model: pair.models?.[side.label] }));
  const same = sides[0].model && sides[0].model === sides[1].model;
  const kept = exchange.answers.at(pair.kept ?? -1);
  const other = sides.find((side) => side.completion_id !== kept?.id) ?? sides[1];
  const verdict = t(pair.winner ? `compare.chose_${pair.winner}` : "compare.taken_back");
  const isUnsent = !sides[0].model && pair.winner;
  const names = isUnsent
    ? t("compare.naming")
    : !sides[0].model
      ? ""
      : same
        ? t("compare.both_by", { v: sides[0].number ?? sides[0].model })
        : t("compare.by_each", { a: sides[0].number ?? sides[0].model, b: sides[1].number ?? sides[1].model });
  const body = h("div", { class: "prose" });
  renderMarkdown(body, other.content);
  const undo = pair.key
    ? h("p", { class: "mark" }, h("button", { class: "link undo-choice", type: "button", onclick: () => undoChoice(exchange, changed) }, t("compare.undo")))
    : null;
  const details = h(
    "details",
    { class: "outcome" },
    h(
      "summary",
      {},
      icon("sides", 15),
      h("span", {}, `${verdict} ${names}`),
      h("span", { class: "soft" }, t("compare.see_other")),
      icon("down_small", 15),
    ),
    h("div", { class: "other-answer" }, body),
  );
  return h("div", { class: "outcome-of-pair" }, details, undo);
}

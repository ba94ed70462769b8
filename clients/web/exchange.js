// How one exchange looks: the question, the answer with what can be done with it, or two answers side by side.

import { contentOf, shownAnswer, versionOf } from "./conversation.js";
import { pairCards } from "./compare.js";
import { copyText, h } from "./dom.js";
import { icon } from "./icons.js";
import { t } from "./i18n.js";
import { renderMarkdown } from "./markdown.js";
import { has } from "./state.js";
import { correctionBox, reasonPanel, thumbButtons, undoCorrection } from "./thumbs.js";

/** One exchange. `acts` are what the chat does: edit, again, compare, retry, prefer, choose, changed; `last` marks the newest. */
export function exchangeView(exchange, acts, last) {
  const answer = shownAnswer(exchange);
  return h(
    "article",
    { class: "exchange", "aria-label": t("chat.exchange") },
    questionView(exchange, acts, last),
    exchange.pair && exchange.pair.state !== "chosen" ? pairCards(exchange, acts) : null,
    exchange.pair?.state === "chosen" ? pairOutcome(exchange) : null,
    answer && (!exchange.pair || exchange.pair.state === "chosen") ? answerView(exchange, answer, acts, last) : null,
    !answer && !exchange.pair
      ? h(
          "div",
          { class: "unanswered" },
          h("span", {}, t("chat.unanswered")),
          h("button", { class: "button small", type: "button", onclick: acts.retry }, icon("again", 15), t("act.ask_again")),
        )
      : null,
  );
}

function questionView(exchange, acts, last) {
  if (exchange.editing !== undefined) return editBox(exchange, acts);
  return h(
    "div",
    { class: "question" },
    h("h3", { class: "offscreen" }, t("chat.you")),
    h("div", { class: "bubble" }, exchange.text),
    last
      ? h(
          "button",
          {
            class: "quiet icon-only small edit",
            type: "button",
            title: t("act.edit"),
            "aria-label": t("act.edit"),
            dataset: { focus: "edit" },
            onclick: acts.edit,
          },
          icon("pen", 15),
        )
      : null,
  );
}

function editBox(exchange, acts) {
  const area = h("textarea", {
    class: "field",
    rows: Math.min(10, exchange.editing.split("\n").length + 1),
    "aria-label": t("act.edit"),
    oninput: () => (exchange.editing = area.value),
  });
  area.value = exchange.editing;
  const save = (event) => {
    event?.preventDefault();
    if (area.value.trim()) acts.saveEdit(area.value.trim());
  };
  const onkeydown = (event) => {
    if (event.key === "Escape") acts.leaveEdit();
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
      h("button", { class: "button", type: "button", onclick: acts.leaveEdit }, t("act.cancel")),
      h("button", { class: "button primary", type: "submit" }, t("act.send")),
    ),
  );
}

function answerView(exchange, answer, acts, last) {
  const isWriting = answer.state === "writing" || answer.state === "waiting";
  const body = h("div", { class: "prose", "aria-busy": String(isWriting) });
  if (answer.draft === undefined) fillAnswer(body, answer);
  return h(
    "div",
    { class: `answer ${answer.state}` },
    h("h3", { class: "offscreen" }, t("chat.attune")),
    answer.draft === undefined ? body : correctionBox(answer, acts.changed),
    answer.correction && answer.draft === undefined
      ? h(
          "p",
          { class: "mark" },
          icon("pen", 14),
          t("correct.mark"),
          h("button", { class: "link", type: "button", onclick: () => undoCorrection(answer, acts.changed) }, t("act.undo")),
        )
      : null,
    stateLine(answer, acts, last),
    isWriting ? null : actionBar(exchange, answer, acts, last),
    isWriting ? null : reasonPanel(answer, acts.changed),
    last && answer.askBetter ? betterAsk(answer, acts) : null,
  );
}

/** Show what is written so far; called for each piece of a stream. */
export function fillAnswer(body, answer) {
  if (answer.text || answer.correction) renderMarkdown(body, contentOf(answer));
  else if (answer.state === "writing")
    body.replaceChildren(h("span", { class: "thinking", role: "img", "aria-label": t("chat.writing") }, h("i"), h("i"), h("i")));
  else if (answer.state === "done") body.replaceChildren(h("em", { class: "soft" }, t("chat.empty_answer")));
}

function stateLine(answer, acts, last) {
  if (answer.state === "waiting")
    return h("p", { class: "state-line", role: "status" }, icon("warn", 15), answer.error || t("chat.waiting"));
  if (answer.state === "stopped") return h("p", { class: "state-line" }, icon("stop", 14), t("chat.stopped"));
  if (answer.state !== "failed") return null;
  return h(
    "p",
    { class: "state-line bad", role: "alert" },
    icon("warn", 15),
    h("span", {}, answer.error || t("chat.broken")),
    last ? h("button", { class: "button small", type: "button", onclick: acts.retry }, icon("again", 15), t("act.try_again")) : null,
  );
}

function actionBar(exchange, answer, acts, last) {
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
    can ? thumbButtons(answer, acts.changed) : null,
    copy,
    can && answer.state !== "failed" ? button("correct", "pen", () => ((answer.draft = contentOf(answer)), acts.changed())) : null,
    last ? button("regenerate", "again", acts.again) : null,
    last && has("POST /v1/comparisons") ? button("compare_this", "sides", acts.compare) : null,
    pager(exchange, acts),
    number !== null
      ? h("a", { class: "version-badge", href: `#/versions/${number}`, title: t("chat.by_version", { v: number }) }, `v${number}`)
      : answer.model
        ? h("span", { class: "version-badge" }, answer.model)
        : null,
  );
}

function pager(exchange, acts) {
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
        onclick: () => ((exchange.shown += by), acts.changed()),
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

/** After another answer was asked for: was it better? One press makes a pair to learn from. */
function betterAsk(answer, acts) {
  return h(
    "div",
    { class: "better", role: "group", "aria-label": t("better.ask") },
    h("span", {}, t("better.ask")),
    ["better", "worse", "same"].map((verdict) =>
      h("button", { class: "chip", type: "button", onclick: () => acts.prefer(verdict) }, t(`better.${verdict}`)),
    ),
  );
}

function pairOutcome(exchange) {
  const { pair } = exchange;
  const told = pair.sides.map((side) => ({ ...side, number: versionOf(pair.models?.[side.label]), model: pair.models?.[side.label] }));
  const same = told[0].model && told[0].model === told[1].model;
  const kept = exchange.answers.at(pair.kept ?? -1);
  const other = told.find((side) => side.completion_id !== kept?.id) ?? told[1];
  const verdict = t(`compare.said_${pair.winner}`);
  const names = !told[0].model
    ? t("compare.naming")
    : same
      ? t("compare.both_by", { v: told[0].number ?? told[0].model })
      : t("compare.by_each", { a: told[0].number ?? told[0].model, b: told[1].number ?? told[1].model });
  const body = h("div", { class: "prose" });
  renderMarkdown(body, other.content);
  return h(
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
}

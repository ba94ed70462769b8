// Feedback on one answer: thumbs with a reason and a comment, and corrections.

import { announce, h } from "./dom.js";
import { give, retract } from "./feedback.js";
import { icon } from "./icons.js";
import { named, t } from "./i18n.js";

const REASONS = {
  up: ["correct", "helpful", "clear", "style", "other"],
  down: ["wrong", "unhelpful", "unsafe", "too_long", "too_short", "style", "refused", "other"],
};

/** Return the two thumbs of an answer. `changed` is called after each change, to store and show it. */
export function thumbButtons(answer, changed) {
  return ["up", "down"].map((thumb) =>
    h(
      "button",
      {
        class: `quiet icon-only thumb-${thumb}`,
        type: "button",
        "aria-pressed": String(answer.thumb === thumb),
        title: t(`thumb.${thumb}`),
        "aria-label": t(`thumb.${thumb}`),
        dataset: { focus: `thumb-${thumb}` },
        onclick: () => rate(answer, thumb, changed),
      },
      icon(thumb),
    ),
  );
}

function rate(answer, thumb, changed) {
  if (answer.thumb === thumb) {
    const before = answer.feedback.thumb;
    Object.assign(answer, { thumb: null, reason: null, comment: "", asking: false });
    delete answer.feedback.thumb;
    if (before) retract(before);
    announce(t("thumb.taken_back"));
  } else {
    Object.assign(answer, { thumb, reason: null, comment: "", asking: true, thanked: false });
    sendThumb(answer, changed);
    announce(t("thumb.noted"));
  }
  changed();
}

function sendThumb(answer, changed) {
  const body = { completion_id: answer.id, choice: answer.choice, thumb: answer.thumb };
  if (answer.reason) body.reason = answer.reason;
  if (answer.comment) body.comment = answer.comment;
  track(answer, "thumb", give(body, answer.feedback.thumb), changed);
}

/** Keep the key of feedback, later its id, so that it can be retracted. */
export function track(answer, kind, { key, sent }, changed) {
  answer.feedback[kind] = key;
  sent
    .then((record) => {
      if (answer.feedback[kind] !== key) return;
      answer.feedback[kind] = record.id;
      changed(false);
    })
    .catch(() => {});
}

/** Return the form for a reason and a comment after a thumb; null without a new thumb. */
export function reasonPanel(answer, changed) {
  if (answer.thanked) return h("p", { class: "thanks" }, icon("check", 15), t("thumb.thanks"));
  if (!answer.thumb || !answer.asking) return null;
  const field = h("input", {
    class: "field",
    type: "text",
    maxlength: 2000,
    value: answer.comment ?? "",
    placeholder: t("reason.comment"),
    "aria-label": t("reason.comment"),
    oninput: () => (answer.typed = field.value),
  });
  field.value = answer.typed ?? answer.comment ?? "";
  const chips = REASONS[answer.thumb].map((reason) =>
    h(
      "button",
      {
        class: "chip",
        type: "button",
        "aria-pressed": String(answer.reason === reason),
        dataset: { focus: `reason-${reason}` },
        onclick: () => {
          answer.reason = answer.reason === reason ? null : reason;
          sendThumb(answer, changed);
          changed();
        },
      },
      named("reason", reason),
    ),
  );
  const finish = (event) => {
    event.preventDefault();
    answer.comment = field.value.trim();
    delete answer.typed;
    if (answer.comment) sendThumb(answer, changed);
    close();
  };
  const close = () => {
    Object.assign(answer, { asking: false, thanked: true });
    announce(t("thumb.thanks"));
    changed();
    setTimeout(() => {
      answer.thanked = false;
      changed();
    }, 2500);
  };
  return h(
    "form",
    { class: "reasons", onsubmit: finish, "aria-label": t("reason.title") },
    h(
      "p",
      { class: "reasons-title" },
      t(answer.thumb === "up" ? "reason.up" : "reason.down"),
      h("span", { class: "soft" }, t("reason.optional")),
    ),
    h("div", { class: "chips", role: "group", "aria-label": t("reason.title") }, chips),
    h("div", { class: "row" }, field, h("button", { class: "button", type: "submit" }, t("act.done"))),
  );
}

/** Return the form for a correction, shown instead of the answer. */
export function correctionBox(answer, changed) {
  const area = h("textarea", {
    class: "field",
    "aria-label": t("correct.label"),
    rows: Math.min(16, Math.max(3, answer.draft.split("\n").length + 1)),
    oninput: () => (answer.draft = area.value),
  });
  area.value = answer.draft;
  const leave = () => {
    delete answer.draft;
    changed();
  };
  const save = (event) => {
    event?.preventDefault();
    const text = area.value.trim();
    if (!text || text === (answer.correction ?? answer.text).trim()) return leave();
    answer.correction = text;
    const body = { completion_id: answer.id, choice: answer.choice, correction: text };
    track(answer, "correction", give(body, answer.feedback.correction), changed);
    announce(t("correct.saved"));
    return leave();
  };
  const onkeydown = (event) => {
    if (event.key === "Escape") leave();
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) save();
  };
  queueMicrotask(() => area.focus());
  return h(
    "form",
    { class: "correction", onsubmit: save, onkeydown },
    h("p", { class: "soft" }, t("correct.hint")),
    area,
    h(
      "div",
      { class: "row end" },
      h("button", { class: "button", type: "button", onclick: leave }, t("act.cancel")),
      h("button", { class: "button primary", type: "submit" }, t("correct.save")),
    ),
  );
}

export function undoCorrection(answer, changed) {
  if (answer.feedback.correction) retract(answer.feedback.correction);
  delete answer.feedback.correction;
  delete answer.correction;
  announce(t("correct.taken_back"));
  changed();
}

/** Send which of two answers is better, and show the better one. */
export function preferAnswer(exchange, verdict, changed) {
  const now = exchange.answers[exchange.shown];
  const before = exchange.answers[exchange.shown - 1];
  delete now.askBetter;
  if (verdict !== "same" && before?.id) {
    const [chosen, rejected] = verdict === "better" ? [now, before] : [before, now];
    give({ completion_id: chosen.id, choice: chosen.choice, preferred_over: { completion_id: rejected.id, choice: rejected.choice } });
    if (verdict === "worse") exchange.shown -= 1;
    announce(t("thumb.thanks"));
  }
  changed();
}

// The chat: it sends questions, shows answers while they stream, and keeps the conversation.

import { streamChat } from "./api.js";
import { listenForKeys, mayNudge, nudge, openPair, settlePair } from "./compare.js";
import { composer } from "./composer.js";
import { addAnswer, ask, fresh, load, messagesUpTo, remember, shownAnswer } from "./conversation.js";
import { $, announce, h, show } from "./dom.js";
import { generate, isRunning, stop, stopAll } from "./generation.js";
import { t } from "./i18n.js";
import { has, set, watch } from "./state.js";
import { keep } from "./storage.js";
import { preferAnswer } from "./thumbs.js";
import { exchangeView, fillAnswer } from "./exchange.js";
import { welcome } from "./welcome.js";

/** Mount the chat. `on` is {saved(), began(id)}. Returns {open(id), startNew(), pin(model)}. */
export function mountChat(root, on, signal) {
  let current = fresh();
  let views = [];
  let wanted = ""; // id of the conversation to show; it may still be loading
  let asking = false; // whether the offer of a comparison is shown
  const opened = new Map();
  const log = h("div", { class: "log", role: "log", "aria-label": t("chat.log"), "aria-live": "off" });
  const frame = h("div", { class: "scroll", tabindex: -1 }, log);
  const write = composer({ send: submit, stop: () => stop(current.id), unpin: () => pin(null) }, signal);
  show(root, frame, h("div", { class: "composer-dock" }, write.node));

  const isInView = (conversation) => conversation === current;
  const isAtEnd = () => frame.scrollHeight - frame.scrollTop - frame.clientHeight < 90;
  const toEnd = () => (frame.scrollTop = frame.scrollHeight);

  function draw() {
    views = [];
    if (!current.exchanges.length)
      return show(
        log,
        welcome((text) => submit(text)),
      );
    const last = current.exchanges.length - 1;
    views = current.exchanges.map((exchange, index) => exchangeView(exchange, actionsOf(current, exchange, index), index === last));
    return show(
      log,
      views,
      asking && has("POST /v1/comparisons") ? nudge({ accept: () => endNudge(true), dismiss: () => endNudge(false) }) : null,
    );
  }

  /** Redraw one exchange and restore the focus. */
  function redraw(conversation, exchange) {
    remember(conversation);
    if (!isInView(conversation)) return;
    const index = conversation.exchanges.indexOf(exchange);
    const old = views[index];
    if (index < 0 || !old) return draw();
    const held = old.contains(document.activeElement) ? (document.activeElement.dataset.focus ?? "") : null;
    const wasAtEnd = isAtEnd();
    const now = exchangeView(exchange, actionsOf(conversation, exchange, index), index === conversation.exchanges.length - 1);
    old.replaceWith(now);
    views[index] = now;
    if (held !== null && !now.contains(document.activeElement))
      (held && now.querySelector(`[data-focus="${held}"]`)
        ? $(`[data-focus="${held}"]`, now)
        : $("textarea, .actions button", now)
      )?.focus();
    if (wasAtEnd) toEnd();
  }

  function actionsOf(conversation, exchange, index) {
    const changed = (isVisible = true) => (isVisible ? redraw(conversation, exchange) : remember(conversation));
    return {
      changed,
      retry: () => retry(conversation, exchange),
      again: () => answer(conversation, index, { regenerated: shownAnswer(exchange) }),
      compare: () => comparePair(conversation, index),
      choose: (winner) => (settlePair(exchange, winner, changed), write.focus(), on.saved()),
      changeQuestion: () => ((exchange.editing = exchange.text), changed()),
      leaveQuestion: () => (delete exchange.editing, changed()),
      saveQuestion: (text) => saveQuestion(conversation, exchange, index, text),
      prefer: (verdict) => preferAnswer(exchange, verdict, changed),
    };
  }

  function submit(text) {
    if (isRunning(current.id)) return;
    asking = false;
    for (const exchange of current.exchanges)
      for (const it of exchange.answers) {
        it.asking = false;
        if (it.draft === it.text) delete it.draft; // an open correction without changes
      }
    current.exchanges.push(ask(text));
    remember(current);
    if (current.exchanges.length === 1) on.began(current.id);
    write.open(current.id);
    keep("draft.new", null);
    draw();
    toEnd();
    on.saved();
    start(current, current.exchanges.length - 1);
  }

  function start(conversation, index) {
    if (write.isComparing()) comparePair(conversation, index);
    else answer(conversation, index);
  }

  function retry(conversation, exchange) {
    const wasPair = exchange.pair?.state === "failed";
    exchange.answers = exchange.answers.filter((it) => it.state !== "failed");
    exchange.shown = exchange.answers.length - 1;
    const index = conversation.exchanges.indexOf(exchange);
    if (wasPair) comparePair(conversation, index);
    else answer(conversation, index);
  }

  function saveQuestion(conversation, exchange, index, text) {
    delete exchange.editing;
    conversation.exchanges.splice(index, conversation.exchanges.length, ask(text));
    remember(conversation);
    draw();
    start(conversation, index);
  }

  /** Run a generation; show the stop button while its conversation is in view. */
  async function run(conversation, onWait, work) {
    if (isInView(conversation)) set("busy", true);
    try {
      await generate(conversation.id, onWait, work);
    } finally {
      if (isInView(conversation)) set("busy", false);
    }
  }

  async function answer(conversation, index, { regenerated = null } = {}) {
    if (isRunning(conversation.id)) return;
    const exchange = conversation.exchanges[index];
    const request = { model: conversation.model ?? "attune", messages: messagesUpTo(conversation, index), conversation_id: conversation.id };
    if (regenerated?.id) request.metadata = { regenerated_from: regenerated.id };
    exchange.pair = null;
    const made = addAnswer(exchange);
    endBetterAsks(conversation);
    redraw(conversation, exchange);
    try {
      await run(
        conversation,
        (error) => waitFor(conversation, exchange, made, error),
        async (stopping) => {
          if (made.state !== "writing") ((made.state = "writing"), redraw(conversation, exchange));
          for await (const chunk of streamChat(request, stopping)) {
            if (chunk.id) made.id = chunk.id;
            if (chunk.model) made.model = chunk.model;
            made.text += chunk.text;
            if (chunk.text) paint(conversation, exchange, made);
          }
        },
      );
      made.state = "done";
    } catch (error) {
      made.state = error.name === "AbortError" ? "stopped" : "failed";
      made.error = error.status === 0 ? t("chat.broken") : reasonOf(error);
    }
    if (made.state === "stopped" && !made.text && exchange.answers.length > 1) {
      exchange.answers.pop();
      exchange.shown = exchange.answers.length - 1;
    }
    if (made.state === "done") {
      made.askBetter = Boolean(regenerated?.id && regenerated.text !== made.text && has("POST /v1/feedback"));
      announce(t("chat.answered", { text: made.text.slice(0, 600) }));
      asking = isInView(conversation) && !regenerated && mayNudge();
    }
    finish(conversation, exchange);
  }

  /** Return what people read of an error: a conversation may have been deleted in another window. */
  const reasonOf = (error) => (error.code === "conversation_not_found" ? t("chat.gone") : error.message);

  function waitFor(conversation, exchange, made, error) {
    if (made.text) throw Object.assign(error, { mayRepeat: false }); // part of the answer is shown: the person decides
    made.state = "waiting";
    made.error = error.status === 0 ? t("chat.waiting") : t("chat.busy");
    redraw(conversation, exchange);
  }

  let painting = false;
  function paint(conversation, exchange, made) {
    if (!isInView(conversation) || painting) return;
    painting = true;
    requestAnimationFrame(() => {
      painting = false;
      const body = views[conversation.exchanges.indexOf(exchange)]?.querySelector(".answer .prose");
      if (!body || made.state !== "writing") return;
      const wasAtEnd = isAtEnd();
      fillAnswer(body, made);
      if (wasAtEnd) toEnd();
    });
  }

  async function comparePair(conversation, index) {
    if (isRunning(conversation.id)) return;
    const exchange = conversation.exchanges[index];
    const before = { answers: exchange.answers, shown: exchange.shown };
    exchange.pair = { state: "writing", sides: [] };
    asking = false;
    if (isInView(conversation)) draw();
    toEnd();
    try {
      await run(
        conversation,
        () => ((exchange.pair.state = "waiting"), redraw(conversation, exchange)),
        (stopping) => openPair(exchange, { messages: messagesUpTo(conversation, index), conversation_id: conversation.id }, stopping),
      );
      announce(t("compare.ready"));
    } catch (error) {
      if (error.name === "AbortError") Object.assign(exchange, before, { pair: null });
      else Object.assign(exchange.pair, { state: "failed", error: reasonOf(error) });
    }
    finish(conversation, exchange);
    if (isInView(conversation) && exchange.pair?.state === "open" && !write.text())
      views[index]?.querySelector(".pair")?.focus({ preventScroll: true });
  }

  function finish(conversation, exchange) {
    redraw(conversation, exchange);
    if (asking && isInView(conversation)) {
      const wasAtEnd = isAtEnd();
      draw();
      if (wasAtEnd) toEnd();
    }
    on.saved();
  }

  function endBetterAsks(conversation) {
    for (const exchange of conversation.exchanges) for (const it of exchange.answers) delete it.askBetter;
  }

  function endNudge(isWanted) {
    asking = false;
    draw();
    if (isWanted) comparePair(current, current.exchanges.length - 1);
    else write.focus();
  }

  function pin(model) {
    current.model = model ?? undefined;
    write.showPin(model);
  }

  async function open(id) {
    wanted = id;
    if (id === current.id) return;
    asking = false;
    set("busy", isRunning(id));
    let found = opened.get(id);
    if (!found) {
      show(log, h("p", { class: "empty" }, t("state.loading")));
      try {
        found = await load(id);
        if (wanted !== id) return; // the person opened another conversation meanwhile
      } catch (error) {
        if (wanted !== id) return;
        current = { ...fresh(), id };
        show(
          log,
          h(
            "div",
            { class: "empty" },
            h("p", {}, error.status === 404 ? t("chat.gone") : t("chat.not_loaded", { why: error.message })),
            h("a", { class: "button", href: "#/chat" }, t("act.new_chat")),
          ),
        );
        return;
      }
      opened.set(id, found);
    }
    bring(found);
  }

  function startNew(model = null) {
    if (current.exchanges.length || current !== opened.get("new")) bring(fresh(), "new");
    pin(model);
    if (matchMedia("(hover: hover)").matches) write.focus(); // on a phone the focus would open the keyboard
  }

  function bring(next, draftId = next.id) {
    current = next;
    wanted = next.id;
    opened.set(draftId, next);
    opened.set(next.id, next);
    asking = false;
    set("busy", isRunning(next.id));
    write.open(draftId);
    write.showPin(next.model ?? null);
    draw();
    toEnd();
  }

  let room = frame.clientHeight;
  const resized = new ResizeObserver(() => {
    // keep the end in view when a notice or a longer message takes space
    if (frame.scrollHeight - frame.scrollTop - room < 90) toEnd();
    room = frame.clientHeight;
  });
  resized.observe(frame);
  signal.addEventListener("abort", () => resized.disconnect(), { once: true });
  listenForKeys(() => {
    const index = current.exchanges.findIndex((exchange) => exchange.pair?.state === "open");
    return index < 0 || root.hidden ? null : actionsOf(current, current.exchanges[index], index);
  }, signal);
  watch("routes", () => current.exchanges.length && !isRunning(current.id) && draw(), signal);
  bring(fresh(), "new");
  return {
    open,
    startNew,
    current: () => (current.exchanges.length ? current.id : ""),
    stopAll,
    forget: (id) => opened.delete(id),
  };
}

// The chat: sends questions, shows answers as they are written, and keeps the conversation.

import { ApiError, streamChat } from "./api.js";
import { listenForKeys, mayNudge, nudge, openPair, settlePair } from "./compare.js";
import { composer } from "./composer.js";
import { addAnswer, ask, fresh, load, messagesUpTo, remember, shownAnswer } from "./conversation.js";
import { $, announce, h, show } from "./dom.js";
import { give } from "./feedback.js";
import { t } from "./i18n.js";
import { get, has, set, watch } from "./state.js";
import { keep } from "./storage.js";
import { exchangeView, fillAnswer } from "./turn.js";
import { welcome } from "./welcome.js";

const BUSY_TRIES = 3; // how often a service that says "busy" is asked again by itself

/** Mount the chat. `on` is {saved(), began(id)}. Returns {open(id), startNew(), pin(model)}. */
export function mountChat(root, on, signal) {
  let conversation = fresh();
  let views = [];
  let asking = false; // whether the gentle question is on show
  const running = new Map(); // conversation id -> {abort}: an answer is finished even while another conversation is in view
  const opened = new Map();
  const log = h("div", { class: "log", role: "log", "aria-label": t("chat.log"), "aria-live": "off" });
  const frame = h("div", { class: "scroll", tabindex: -1 }, log);
  const write = composer({ send: submit, stop: () => running.get(conversation.id)?.abort.abort(), unpin: () => pin(null) }, signal);
  show(root, frame, h("div", { class: "composer-dock" }, write.node));

  const isInView = (one) => one === conversation;
  const isAtEnd = () => frame.scrollHeight - frame.scrollTop - frame.clientHeight < 90;
  const toEnd = () => (frame.scrollTop = frame.scrollHeight);

  function draw() {
    views = [];
    if (!conversation.exchanges.length) return show(log, welcome((text) => submit(text)));
    const last = conversation.exchanges.length - 1;
    views = conversation.exchanges.map((exchange, place) => exchangeView(exchange, actsOf(conversation, exchange, place), place === last));
    return show(log, views, asking && has("POST /v1/comparisons") ? nudge({ accept: () => endNudge(true), dismiss: () => endNudge(false) }) : null);
  }

  /** Draw one exchange anew, and put the focus back where it was. */
  function redraw(one, exchange) {
    remember(one);
    if (!isInView(one)) return;
    const place = one.exchanges.indexOf(exchange);
    const old = views[place];
    if (place < 0 || !old) return draw();
    const held = old.contains(document.activeElement) ? (document.activeElement.dataset.focus ?? "") : null;
    const wasAtEnd = isAtEnd();
    const now = exchangeView(exchange, actsOf(one, exchange, place), place === one.exchanges.length - 1);
    old.replaceWith(now);
    views[place] = now;
    if (held !== null && !now.contains(document.activeElement)) (held && now.querySelector(`[data-focus="${held}"]`) ? $(`[data-focus="${held}"]`, now) : $("textarea, .actions button", now))?.focus();
    if (wasAtEnd) toEnd();
  }

  function actsOf(one, exchange, place) {
    const changed = (isVisible = true) => (isVisible ? redraw(one, exchange) : remember(one));
    return {
      changed,
      retry: () => retry(one, exchange),
      again: () => answer(one, place, { regenerated: shownAnswer(exchange) }),
      compare: () => comparePair(one, place),
      choose: (winner) => (settlePair(exchange, winner, changed), write.focus(), on.saved()),
      edit: () => ((exchange.editing = exchange.text), changed()),
      leaveEdit: () => (delete exchange.editing, changed()),
      saveEdit: (text) => saveEdit(one, exchange, place, text),
      prefer: (verdict) => prefer(exchange, verdict, changed),
    };
  }

  function submit(text) {
    if (running.has(conversation.id)) return;
    asking = false;
    for (const exchange of conversation.exchanges) for (const it of exchange.answers) it.asking = false;
    conversation.exchanges.push(ask(text));
    remember(conversation);
    if (conversation.exchanges.length === 1) on.began(conversation.id);
    write.open(conversation.id);
    keep("draft.new", null);
    draw();
    toEnd();
    on.saved();
    start(conversation, conversation.exchanges.length - 1);
  }

  function start(one, place) {
    if (write.isComparing()) comparePair(one, place);
    else answer(one, place);
  }

  function retry(one, exchange) {
    const wasPair = exchange.pair?.state === "failed";
    exchange.answers = exchange.answers.filter((it) => it.state !== "failed");
    exchange.shown = exchange.answers.length - 1;
    const place = one.exchanges.indexOf(exchange);
    if (wasPair) comparePair(one, place);
    else answer(one, place);
  }

  function saveEdit(one, exchange, place, text) {
    delete exchange.editing;
    one.exchanges.splice(place, one.exchanges.length, ask(text));
    remember(one);
    draw();
    start(one, place);
  }

  /** Run `work(signal)` as the one generation of a conversation; again when the service is back, or less busy. */
  async function generate(one, tell, work) {
    if (running.has(one.id)) return false;
    const abort = new AbortController();
    running.set(one.id, { abort });
    if (isInView(one)) set("busy", true);
    try {
      for (let tries = 1; ; tries += 1) {
        try {
          await work(abort.signal);
          return true;
        } catch (error) {
          const mayWait = error instanceof ApiError && error.mayRepeat !== false && (error.status === 0 || (error.status === 503 || error.status === 429) && tries <= BUSY_TRIES);
          if (!mayWait) throw error;
          tell(error);
          await (error.status === 0 ? untilOnline(abort.signal) : pause(1000 * Math.min(error.retryAfter || 2, 15), abort.signal));
        }
      }
    } finally {
      running.delete(one.id);
      if (isInView(one)) set("busy", false);
    }
  }

  async function answer(one, place, { regenerated = null } = {}) {
    if (running.has(one.id)) return;
    const exchange = one.exchanges[place];
    const request = { model: one.model ?? "attune", messages: messagesUpTo(one, place), conversation_id: one.id };
    if (regenerated?.id) request.metadata = { regenerated_from: regenerated.id };
    exchange.pair = null;
    const made = addAnswer(exchange);
    endBetterAsks(one);
    redraw(one, exchange);
    try {
      await generate(one, (error) => waitFor(one, exchange, made, error), async (stopping) => {
        if (made.state !== "writing") (made.state = "writing"), redraw(one, exchange);
        for await (const piece of streamChat(request, stopping)) {
          if (piece.id) made.id = piece.id;
          if (piece.model) made.model = piece.model;
          made.text += piece.text;
          if (piece.text) paint(one, exchange, made);
        }
      });
      made.state = "done";
    } catch (error) {
      made.state = error.name === "AbortError" ? "stopped" : "failed";
      made.error = error.status === 0 ? t("chat.broken") : error.message;
    }
    if (made.state === "stopped" && !made.text && exchange.answers.length > 1) {
      exchange.answers.pop();
      exchange.shown = exchange.answers.length - 1;
    }
    if (made.state === "done") {
      made.askBetter = Boolean(regenerated?.id && regenerated.text !== made.text && has("POST /v1/feedback"));
      announce(t("chat.answered", { text: made.text.slice(0, 600) }));
      asking = isInView(one) && !regenerated && mayNudge();
    }
    finish(one, exchange);
  }

  function waitFor(one, exchange, made, error) {
    if (made.text) throw Object.assign(error, { mayRepeat: false }); // half an answer is there: people decide themselves
    made.state = "waiting";
    made.error = error.status === 0 ? t("chat.waiting") : t("chat.busy");
    redraw(one, exchange);
  }

  let painting = false;
  function paint(one, exchange, made) {
    if (!isInView(one) || painting) return;
    painting = true;
    requestAnimationFrame(() => {
      painting = false;
      const body = views[one.exchanges.indexOf(exchange)]?.querySelector(".answer .prose");
      if (!body || made.state !== "writing") return;
      const wasAtEnd = isAtEnd();
      fillAnswer(body, made);
      if (wasAtEnd) toEnd();
    });
  }

  async function comparePair(one, place) {
    if (running.has(one.id)) return;
    const exchange = one.exchanges[place];
    const before = { answers: exchange.answers, shown: exchange.shown };
    exchange.pair = { state: "writing", sides: [] };
    asking = false;
    if (isInView(one)) draw();
    toEnd();
    try {
      await generate(one, () => ((exchange.pair.state = "waiting"), redraw(one, exchange)),
        (stopping) => openPair(exchange, { messages: messagesUpTo(one, place), conversation_id: one.id }, stopping));
      announce(t("compare.ready"));
    } catch (error) {
      if (error.name === "AbortError") Object.assign(exchange, before, { pair: null });
      else Object.assign(exchange.pair, { state: "failed", error: error.message });
    }
    finish(one, exchange);
    if (isInView(one) && exchange.pair?.state === "open" && !write.text()) views[place]?.querySelector(".pair")?.focus({ preventScroll: true });
  }

  function finish(one, exchange) {
    redraw(one, exchange);
    if (asking && isInView(one)) {
      const wasAtEnd = isAtEnd();
      draw();
      if (wasAtEnd) toEnd();
    }
    on.saved();
  }

  function endBetterAsks(one) {
    for (const exchange of one.exchanges) for (const it of exchange.answers) delete it.askBetter;
  }

  function endNudge(isWanted) {
    asking = false;
    draw();
    if (isWanted) comparePair(conversation, conversation.exchanges.length - 1);
    else write.focus();
  }

  function prefer(exchange, verdict, changed) {
    const now = shownAnswer(exchange);
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

  function pin(model) {
    conversation.model = model ?? undefined;
    write.showPin(model);
  }

  async function open(id) {
    if (id === conversation.id) return;
    asking = false;
    set("busy", running.has(id));
    let found = opened.get(id);
    if (!found) {
      show(log, h("p", { class: "empty" }, t("state.loading")));
      try {
        found = await load(id);
      } catch (error) {
        conversation = { ...fresh(), id };
        show(log, h("div", { class: "empty" }, h("p", {}, error.status === 404 ? t("chat.gone") : t("chat.not_loaded", { why: error.message })), h("a", { class: "button", href: "#/chat" }, t("act.new_chat"))));
        return;
      }
      opened.set(id, found);
    }
    bring(found);
  }

  function startNew(model = null) {
    if (conversation.exchanges.length || conversation !== opened.get("new")) bring(fresh(), "new");
    pin(model);
    if (matchMedia("(hover: hover)").matches) write.focus(); // elsewhere the focus would bring up the keyboard
  }

  function bring(next, draftId = next.id) {
    conversation = next;
    opened.set(draftId === "new" ? "new" : next.id, next);
    opened.set(next.id, next);
    asking = false;
    set("busy", running.has(next.id));
    write.open(draftId);
    write.showPin(next.model ?? null);
    draw();
    toEnd();
  }

  let room = frame.clientHeight;
  const resized = new ResizeObserver(() => { // a notice above or a longer message below takes room: the end stays in view
    if (frame.scrollHeight - frame.scrollTop - room < 90) toEnd();
    room = frame.clientHeight;
  });
  resized.observe(frame);
  signal.addEventListener("abort", () => resized.disconnect(), { once: true });
  listenForKeys(() => {
    const place = conversation.exchanges.findIndex((exchange) => exchange.pair?.state === "open");
    return place < 0 || root.hidden ? null : actsOf(conversation, conversation.exchanges[place], place);
  }, signal);
  watch("routes", () => conversation.exchanges.length && !running.size && draw(), signal);
  bring(fresh(), "new");
  return { open, startNew, current: () => (conversation.exchanges.length ? conversation.id : ""), stopAll: () => running.forEach(({ abort }) => abort.abort()), forget: (id) => opened.delete(id) };
}

function untilOnline(signal) {
  return new Promise((resolve, reject) => {
    signal.addEventListener("abort", () => reject(new DOMException("stopped", "AbortError")), { once: true });
    const done = new AbortController();
    watch("connection", () => get("connection") === "online" && (done.abort(), resolve()), done.signal);
  });
}

function pause(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), reject(new DOMException("stopped", "AbortError"))), { once: true });
  });
}

// A conversation as the page keeps it: exchanges of one question and its answers. A copy stays in the browser, so that a reload or a restart loses nothing.
//
// exchange: {text, answers: [answer], shown: index of the answer in view, pair: null | pair}
// answer:   {id, choice, text, model, state: writing|waiting|done|stopped|failed, error, thumb, reason, comment, feedback: {kind: key or id}, correction, better}
// pair:     {id, sides: [{label, completion_id, content}], state: writing|waiting|open|chosen|failed, winner, models, error}

import { getJson } from "./api.js";
import { keep, newId, recall } from "./storage.js";

const KEPT = 40;

export const fresh = () => ({ id: newId("conv-"), title: "", updated_at: null, exchanges: [] });
export const ask = (text) => ({ text, answers: [], shown: -1, pair: null });
export const shownAnswer = (exchange) => exchange?.answers[exchange.shown] ?? null;
export const versionOf = (model) => /@(\d+)$/.exec(model ?? "")?.[1] ?? null;

/** What the answer says now: as it was corrected, or as it was written. */
export const contentOf = (answer) => answer.correction ?? answer.text;

/** Add an answer to an exchange and bring it into view; returns it. */
export function addAnswer(exchange, values = {}) {
  const answer = { id: "", choice: 0, text: "", model: "", state: "writing", feedback: {}, ...values };
  exchange.answers.push(answer);
  exchange.shown = exchange.answers.length - 1;
  return answer;
}

/** The messages that a question at `index` is asked with: all that was said before, and the question itself. */
export function messagesUpTo(conversation, index) {
  const messages = [];
  for (const [place, exchange] of conversation.exchanges.entries()) {
    if (place > index) break;
    const answer = shownAnswer(exchange);
    const content = answer ? contentOf(answer) : (exchange.pair?.sides?.[0]?.content ?? "");
    if (place < index && !content) continue; // a question that was never answered would stand there twice
    messages.push({ role: "user", content: exchange.text });
    if (place < index) messages.push({ role: "assistant", content });
  }
  return messages;
}

export function remember(conversation) {
  conversation.updated_at = new Date().toISOString();
  if (!conversation.exchanges.length) return;
  conversation.title ||= conversation.exchanges[0].text.slice(0, 120);
  const known = recall("chats", []).filter((one) => one.id !== conversation.id);
  for (const old of known.splice(KEPT - 1)) keep(`chat.${old.id}`, null);
  keep("chats", [{ id: conversation.id, title: conversation.title, updated_at: conversation.updated_at }, ...known]);
  keep(`chat.${conversation.id}`, conversation);
}

export function forgetChat(id) {
  keep(
    "chats",
    recall("chats", []).filter((one) => one.id !== id),
  );
  keep(`chat.${id}`, null);
  keep(`draft.${id}`, null);
}

/** Forget every conversation here: they belong to whoever held the key. */
export function forgetAllChats() {
  for (const { id } of recall("chats", [])) forgetChat(id);
  keep("draft.new", null);
}

/** The conversation as this browser remembers it; what was being written when the page closed counts as stopped. */
export function recallChat(id) {
  const kept = recall(`chat.${id}`);
  for (const exchange of kept?.exchanges ?? []) {
    if (exchange.pair?.state === "writing" || exchange.pair?.state === "waiting") exchange.pair = null;
    exchange.answers = exchange.answers.filter((answer) => answer.text || answer.id);
    for (const answer of exchange.answers) if (answer.state === "writing" || answer.state === "waiting") answer.state = "stopped";
    exchange.shown = Math.min(exchange.shown, exchange.answers.length - 1);
  }
  return kept;
}

/** Load a conversation: the browser's copy, or the service's record. Raises ApiError. */
export async function load(id) {
  return recallChat(id) ?? fromService(await getJson(`/v1/conversations/${encodeURIComponent(id)}`));
}

const sameContext = (a, b) =>
  JSON.stringify(a.map(({ role, content }) => [role, content])) === JSON.stringify(b.map(({ role, content }) => [role, content]));

/** Turn the service's record (each reply with the messages before it) into exchanges along the last reply's line. */
export function fromService({ id, title, updated_at, completions = [] }) {
  const conversation = { id, title, updated_at, exchanges: [] };
  const last = completions.at(-1);
  if (!last) return conversation;
  const line = last.messages.filter((message) => message.role !== "system");
  for (let place = 0; place < line.length; place += 1) {
    if (line[place].role !== "user") continue;
    const before = line.slice(0, place + 1);
    const answered = line[place + 1]?.role === "assistant" ? line[place + 1].content : last.content;
    const replies = completions.filter((reply) =>
      sameContext(
        reply.messages.filter((message) => message.role !== "system"),
        before,
      ),
    );
    const exchange = ask(line[place].content);
    for (const reply of replies) addAnswer(exchange, answerOf(reply));
    let shown = exchange.answers.findIndex((answer) => contentOf(answer) === answered);
    if (shown < 0) shown = exchange.answers.findIndex((answer) => answer.text === answered);
    if (shown < 0 && line[place + 1]) addAnswer(exchange, { text: answered, state: "done" });
    else exchange.shown = shown < 0 ? exchange.answers.length - 1 : shown;
    conversation.exchanges.push(exchange);
  }
  return conversation;
}

function answerOf(reply) {
  const answer = { id: reply.id, choice: reply.choice, text: reply.content, model: reply.model, state: "done", feedback: {} };
  for (const said of [...(reply.feedback ?? [])].reverse()) {
    if (said.kind === "thumb") Object.assign(answer, { thumb: said.value > 0.5 ? "up" : "down" });
    if (said.kind === "correction") answer.correction = said.text;
    answer.feedback[said.kind] = said.id;
  }
  return answer;
}

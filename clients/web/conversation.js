// A conversation: exchanges of one question and its answers. The browser keeps a copy, so a reload or restart loses nothing.
//
// exchange: {text, answers: [answer], shown: index of the answer in view, pair: null | pair}
// answer:   {id, choice, text, model, state: writing|waiting|done|stopped|failed, error, thumb, reason, comment, feedback: {kind: key or id}, correction, better}
// pair:     {id, sides: [{label, completion_id, content}], state: writing|waiting|open|chosen|failed, winner, key of the choice, models, error}

import { getJson } from "./api.js";
import { keep, newId, recall } from "./storage.js";

const KEPT = 40;

export const fresh = () => ({ id: newId("conv-"), title: "", updated_at: null, exchanges: [] });
export const ask = (text) => ({ text, answers: [], shown: -1, pair: null });
export const shownAnswer = (exchange) => exchange?.answers[exchange.shown] ?? null;
export const versionOf = (model) => /@(\d+)$/.exec(model ?? "")?.[1] ?? null;

/** Return the text of an answer, corrected if there is a correction. */
export const contentOf = (answer) => answer.correction ?? answer.text;

/** Add an answer to an exchange, show it and return it. */
export function addAnswer(exchange, values = {}) {
  const answer = { id: "", choice: 0, text: "", model: "", state: "writing", feedback: {}, ...values };
  exchange.answers.push(answer);
  exchange.shown = exchange.answers.length - 1;
  return answer;
}

/** Return the messages for the question at `index`: all before it, and the question itself. */
export function messagesUpTo(conversation, index) {
  const messages = [];
  for (const [at, exchange] of conversation.exchanges.entries()) {
    if (at > index) break;
    const answer = shownAnswer(exchange);
    const content = answer ? contentOf(answer) : (exchange.pair?.sides?.[0]?.content ?? "");
    if (at < index && !content) continue; // skip a question without an answer
    messages.push({ role: "user", content: exchange.text });
    if (at < index) messages.push({ role: "assistant", content });
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

/** Remove every conversation from the browser: they belong to the holder of the old key. */
export function forgetAllChats() {
  for (const { id } of recall("chats", [])) forgetChat(id);
  keep("draft.new", null);
}

/** Return the browser's copy of a conversation; an answer under way at the end of the page counts as stopped. */
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

/** Load a conversation from the browser, else from the service. Raises ApiError. */
export async function load(id) {
  return recallChat(id) ?? fromService(await getJson(`/v1/conversations/${encodeURIComponent(id)}`));
}

const sameContext = (a, b) =>
  a.length === b.length && // first, since a long conversation is compared with itself turn by turn
  JSON.stringify(a.map(({ role, content }) => [role, content])) === JSON.stringify(b.map(({ role, content }) => [role, content]));

/** Turn the service's completions, each with the messages before it, into exchanges that lead to the last completion. */
export function fromService({ id, title, updated_at, completions = [] }) {
  const conversation = { id, title, updated_at, exchanges: [] };
  const last = completions.at(-1);
  if (!last) return conversation;
  const line = last.messages.filter((message) => message.role !== "system");
  for (let index = 0; index < line.length; index += 1) {
    if (line[index].role !== "user") continue;
    const before = line.slice(0, index + 1);
    const answered = line[index + 1]?.role === "assistant" ? line[index + 1].content : last.content;
    const siblings = completions.filter((completion) =>
      sameContext(
        completion.messages.filter((message) => message.role !== "system"),
        before,
      ),
    );
    const exchange = ask(line[index].content);
    for (const completion of siblings) addAnswer(exchange, answerOf(completion));
    let shown = exchange.answers.findIndex((answer) => contentOf(answer) === answered);
    if (shown < 0) shown = exchange.answers.findIndex((answer) => answer.text === answered);
    if (shown < 0 && line[index + 1]) addAnswer(exchange, { text: answered, state: "done" });
    else exchange.shown = shown < 0 ? exchange.answers.length - 1 : shown;
    conversation.exchanges.push(exchange);
  }
  return conversation;
}

function answerOf(completion) {
  const answer = { id: completion.id, choice: completion.choice, text: completion.content, model: completion.model, state: "done", feedback: {} };
  const own = (completion.feedback ?? []).filter((row) => row.own !== false); // an admin is sent everybody's
  for (const row of own.reverse()) {
    if (row.kind === "thumb") Object.assign(answer, { thumb: row.value > 0.5 ? "up" : "down" });
    if (row.kind === "correction") answer.correction = row.text;
    answer.feedback[row.kind] = row.id;
  }
  return answer;
}

// Talking to the service: one place that knows keys, errors and streams.

import { set } from "./state.js";
import { recall } from "./storage.js";

/** What went wrong, as the service said it. `status` 0: nobody answered. `retryAfter` is in seconds. */
export class ApiError extends Error {
  constructor(message, { status = 0, code = "", retryAfter = 0 } = {}) {
    super(message);
    Object.assign(this, { status, code, retryAfter });
  }
  get isPassing() {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }
}

/** Send one request; returns the response when its status is good, raises ApiError otherwise. An abort is raised as it is. */
export async function send(method, path, { body, headers = {}, signal } = {}) {
  const key = recall("key");
  const sent = { ...headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  if (body !== undefined) sent["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(path, {
      method,
      headers: sent,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
      cache: "no-store",
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    set("connection", "offline");
    throw new ApiError(error.message);
  }
  if (response.status !== 502 && response.status !== 504) set("connection", "online"); // a proxy that finds nobody behind it says 502 or 504
  if (response.ok) return response;
  if (response.status === 401) set("needsKey", true);
  throw await errorOf(response);
}

async function errorOf(response) {
  let told = {};
  try {
    told = await response.json();
  } catch {
    /* not JSON: the status line must do */
  }
  const error = told.error ?? {};
  const detail = typeof told.detail === "string" ? told.detail : "";
  const retryAfter = Number(response.headers.get("Retry-After")) || 0;
  const name = response.status >= 500 && !retryAfter ? response.headers.get("X-Request-Id") : null; // what an operator finds in the log
  return new ApiError((error.message || detail || `${response.status} ${response.statusText}`) + (name ? ` (${name})` : ""), {
    status: response.status,
    code: error.code ?? "",
    retryAfter,
  });
}

export const getJson = async (path, options) => (await send("GET", path, options)).json();
export const postJson = async (path, body, options) => (await send("POST", path, { ...options, body })).json();

/** Read server-sent events from a response: yields {id, event, data}, data as text. */
export async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let said = { id: "", event: "message", data: [] };
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop();
      for (const line of lines) {
        if (line === "") {
          if (said.data.length) yield { id: said.id, event: said.event, data: said.data.join("\n") };
          said = { id: said.id, event: "message", data: [] };
          continue;
        }
        const colon = line.indexOf(":");
        const field = colon < 0 ? line : line.slice(0, colon);
        const text = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
        if (field === "data") said.data.push(text);
        else if (field === "event") said.event = text;
        else if (field === "id") said.id = text;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Ask for an answer and read it as it is written: yields {text, id, model, conversation_id, finish}. Raises ApiError if the stream breaks. */
export async function* streamChat(request, signal) {
  const response = await send("POST", "/v1/chat/completions", { body: { ...request, stream: true }, signal });
  let ended = false;
  try {
    for await (const { data } of eventsOf(response)) {
      if (data === "[DONE]") {
        ended = true;
        break;
      }
      const chunk = JSON.parse(data);
      if (chunk.error) throw new ApiError(chunk.error.message, { status: 500, code: chunk.error.code ?? "" });
      const choice = chunk.choices?.[0];
      yield {
        text: choice?.delta?.content ?? "",
        id: chunk.id,
        model: chunk.model,
        conversation_id: chunk.conversation_id,
        finish: choice?.finish_reason ?? "",
      };
    }
  } catch (error) {
    if (error instanceof ApiError || error.name === "AbortError") throw error;
    throw new ApiError(error.message);
  }
  if (!ended) throw new ApiError("the stream ended early");
}

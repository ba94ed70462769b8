// Requests to the service: API keys, errors and streams.

import { set } from "./state.js";
import { recall } from "./storage.js";

/** An error of the service. `status` is 0 when nothing answered; `retryAfter` is in seconds. */
export class ApiError extends Error {
  constructor(message, { status = 0, code = "", retryAfter = 0 } = {}) {
    super(message);
    Object.assign(this, { status, code, retryAfter });
  }
  get isPassing() {
    return this.status === 0 || this.status === 408 || this.status === 429 || this.status >= 500;
  }
}

/** Send one request and return its response. Raises ApiError for a bad status, and AbortError. */
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
  if (response.status !== 502 && response.status !== 504) set("connection", "online"); // a proxy answers 502 or 504 when the service is away
  if (response.ok) return response;
  if (response.status === 401) set("needsKey", true);
  throw await errorOf(response);
}

async function errorOf(response) {
  let body = {};
  try {
    body = await response.json();
  } catch {
    /* not JSON: use the status line */
  }
  const error = body.error ?? {};
  const detail = typeof body.detail === "string" ? body.detail : "";
  const retryAfter = Number(response.headers.get("Retry-After")) || 0;
  const name = response.status >= 500 && !retryAfter ? response.headers.get("X-Request-Id") : null; // an operator finds it in the log
  return new ApiError((error.message || detail || `${response.status} ${response.statusText}`) + (name ? ` (${name})` : ""), {
    status: response.status,
    code: error.code ?? "",
    retryAfter,
  });
}

export const getJson = async (path, options) => (await send("GET", path, options)).json();
export const postJson = async (path, body, options) => (await send("POST", path, { ...options, body })).json();

/** Yield the server-sent events of a response as {id, event, data}; data is text. */
export async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let current = { id: "", event: "message", data: [] };
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const lines = (rest + value).split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop();
      for (const line of lines) {
        if (line === "") {
          if (current.data.length) yield { id: current.id, event: current.event, data: current.data.join("\n") };
          current = { id: current.id, event: "message", data: [] };
          continue;
        }
        const colon = line.indexOf(":");
        const field = colon < 0 ? line : line.slice(0, colon);
        const text = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
        if (field === "data") current.data.push(text);
        else if (field === "event") current.event = text;
        else if (field === "id") current.id = text;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** Stream an answer: yields {text, id, model, conversation_id, finish}. Raises ApiError if the stream breaks. */
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

// What people say of answers, on its way to the service. Each thing said is kept in the browser with its Idempotency-Key until the
// service acknowledged it, and is sent again after a broken connection, a restart or a reload: never lost, never doubled.

import { send } from "./api.js";
import { notice } from "./dialog.js";
import { t } from "./i18n.js";
import { get, watch } from "./state.js";
import { keep, newId, recall } from "./storage.js";

const PAUSES_S = [1, 2, 4, 8, 15, 30];
const promises = new Map(); // key -> {resolve, reject} of what was said since the page was opened
let sending = false;
let failures = 0;
let timer = 0;

const queued = () => recall("queue", []);

/** Say something (a body of POST /v1/feedback). Returns {key, sent}: `sent` resolves to the service's record. */
export function give(body) {
  return enqueue("POST", "/v1/feedback", body);
}

/** Choose between two answers; `sent` resolves to the reply that names the models. */
export function choose(comparisonId, body) {
  return enqueue("POST", `/v1/comparisons/${encodeURIComponent(comparisonId)}/choice`, body);
}

/** Take back what was said: by its id, or by its key while it still waits here. */
export function takeBack(idOrKey) {
  const waiting = queued();
  if (waiting.some((one) => one.key === idOrKey && !(sending && one === waiting[0]))) {
    keep(
      "queue",
      waiting.filter((one) => one.key !== idOrKey),
    );
    promises.get(idOrKey)?.reject(new Error("taken back"));
    promises.delete(idOrKey);
    return;
  }
  enqueue("DELETE", `/v1/feedback/${encodeURIComponent(idOrKey)}`, undefined);
}

function enqueue(method, path, body) {
  const key = newId("web-");
  const sent = new Promise((resolve, reject) => promises.set(key, { resolve, reject }));
  sent.catch(() => {});
  keep("queue", [...queued(), { key, method, path, body }]);
  flush();
  return { key, sent };
}

/** Send what waits, oldest first, until something does not go through. */
export async function flush() {
  if (sending) return;
  sending = true;
  clearTimeout(timer);
  try {
    for (let next = queued()[0]; next; next = queued()[0]) {
      let reply = null;
      try {
        const response = await send(next.method, next.path, { body: next.body, headers: { "Idempotency-Key": next.key } });
        reply = response.status === 204 ? null : await response.json();
        failures = 0;
      } catch (error) {
        if (error.isPassing || error.status === 401) {
          timer = setTimeout(flush, 1000 * (error.retryAfter || PAUSES_S[Math.min(failures, PAUSES_S.length - 1)]));
          failures += 1;
          return;
        }
        settle(next, error, null);
        if (next.method !== "DELETE") notice(t("feedback.refused", { why: error.message }), { kind: "error" });
        continue;
      }
      settle(next, null, reply);
    }
  } finally {
    sending = false;
  }
}

function settle(entry, error, reply) {
  keep(
    "queue",
    queued().filter((one) => one.key !== entry.key),
  );
  const promise = promises.get(entry.key);
  promises.delete(entry.key);
  if (error) promise?.reject(error);
  else promise?.resolve(reply);
}

/** Keep sending: at start, and whenever the service is there again. */
export function startFeedback() {
  watch("connection", () => {
    if (get("connection") === "online" && queued().length) flush();
  });
  addEventListener("storage", (event) => event.key === "attune.queue" && flush()); // another tab's feedback, should that tab have closed
}

// Feedback on its way to the service. The browser keeps each row with its Idempotency-Key until the service confirms it.
// After a broken connection, a restart or a reload the row is sent again, so none is lost and none is doubled.

import { send } from "./api.js";
import { notice } from "./dialog.js";
import { t } from "./i18n.js";
import { get, watch } from "./state.js";
import { keep, newId, recall } from "./storage.js";

const PAUSES_S = [1, 2, 4, 8, 15, 30];
const promises = new Map(); // key -> {resolve, reject} of the rows sent by this page
let sending = false;
let failures = 0;
let timer = 0;

const queued = () => recall("queue", []);

/**
 * Give feedback (a body of POST /v1/feedback). Returns {key, sent}: `sent` resolves to the service's record.
 * `replaced` is the key or id of the row before it on the same answer, which a retraction takes back too.
 */
export function give(body, replaced) {
  return enqueue("POST", "/v1/feedback", body, replaced);
}

/** Choose between two answers; `sent` resolves to the record that names the models. */
export function choose(comparisonId, body) {
  return enqueue("POST", `/v1/comparisons/${encodeURIComponent(comparisonId)}/choice`, body);
}

/** Retract feedback by its id or its key, with all that this person gave on the same answer. What waits is never sent. */
export function retract(idOrKey) {
  const waiting = queued();
  const own = waiting.find((one) => one.key === idOrKey && !(sending && one === waiting[0]));
  if (!own) {
    enqueue("DELETE", `/v1/feedback/${encodeURIComponent(idOrKey)}`, undefined);
    return;
  }
  keep(
    "queue",
    waiting.filter((one) => one !== own),
  );
  promises.get(idOrKey)?.reject(new Error("retracted"));
  promises.delete(idOrKey);
  if (own.replaced) retract(own.replaced);
}

function enqueue(method, path, body, replaced) {
  const key = newId("web-");
  const sent = new Promise((resolve, reject) => promises.set(key, { resolve, reject }));
  sent.catch(() => {});
  keep("queue", [...queued(), { key, method, path, body, replaced }]);
  flush();
  return { key, sent };
}

/** Send the queue, oldest first, until a request fails. */
export async function flush() {
  if (sending) return;
  sending = true;
  clearTimeout(timer);
  try {
    for (let next = queued()[0]; next; next = queued()[0]) {
      let record = null;
      try {
        const response = await send(next.method, next.path, { body: next.body, headers: { "Idempotency-Key": next.key } });
        record = response.status === 204 ? null : await response.json();
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
      settle(next, null, record);
    }
  } finally {
    sending = false;
  }
}

function settle(entry, error, record) {
  keep(
    "queue",
    queued().filter((one) => one.key !== entry.key),
  );
  const promise = promises.get(entry.key);
  promises.delete(entry.key);
  if (error) promise?.reject(error);
  else promise?.resolve(record);
}

/** Send the queue at the start, and whenever the service is back. */
export function startFeedback() {
  watch("connection", () => {
    if (get("connection") === "online" && queued().length) flush();
  });
  addEventListener("storage", (event) => event.key === "attune.queue" && flush()); // feedback of another tab, which may have closed
}

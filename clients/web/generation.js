// One generation for each conversation. It can be stopped, waits for an absent service, and asks a busy one again.

import { ApiError } from "./api.js";
import { get, watch } from "./state.js";

const BUSY_TRIES = 3; // tries with a busy service
const LONGEST_WAIT_S = 15;
const running = new Map(); // conversation id -> AbortController; answers outside the view go on

export const isRunning = (id) => running.has(id);
export const stop = (id) => running.get(id)?.abort();
export const stopAll = () => running.forEach((abort) => abort.abort());

/** Run `work(signal)`; call `onWait(error)` before each wait. Raises other errors, and AbortError when it is stopped. */
export async function generate(id, onWait, work) {
  const abort = new AbortController();
  running.set(id, abort);
  try {
    for (let tries = 1; ; tries += 1) {
      try {
        return await work(abort.signal);
      } catch (error) {
        if (!(error instanceof ApiError) || error.mayRepeat === false) throw error;
        const isAway = error.status === 0;
        const isBusy = (error.status === 503 || error.status === 429) && tries <= BUSY_TRIES;
        if (!isAway && !isBusy) throw error;
        onWait(error);
        await (isAway ? untilOnline(abort.signal) : pause(1000 * Math.min(error.retryAfter || 2, LONGEST_WAIT_S), abort.signal));
      }
    }
  } finally {
    running.delete(id);
  }
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

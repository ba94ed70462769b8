// The stream of events, resumed after a break. It keeps the state of the learner and of the versions fresh.

import { eventsOf, getJson, send } from "./api.js";
import { get, liveVersion, set } from "./state.js";
import { keep, recall } from "./storage.js";

const POLL_MS = 2500;
const PAUSES_S = [0.5, 1, 2, 4, 8];
const HIDDEN_MS = 30_000; // a hidden tab closes its connection: a browser has six for one host
let wake = () => {};
let lastSeq = null;

const nap = (ms) =>
  new Promise((done) => {
    const timer = setTimeout(done, ms);
    wake = () => (clearTimeout(timer), done());
  });

/** Reconnect at once instead of after the pause. */
export const reconnectNow = () => wake();

/** Follow the service while the page is open. */
export async function follow() {
  addEventListener("online", reconnectNow);
  document.addEventListener("visibilitychange", () => document.hidden || reconnectNow());
  for (let failures = 0; ;) {
    try {
      await listen(() => (failures = 0));
    } catch (error) {
      failures += 1;
      if (error.status === 401) await untilKey();
      else if (error.status === 404 || error.status === 501) await poll().catch(() => {}); // a service without the stream
    }
    if (document.hidden) await nap(3_600_000);
    else await nap(1000 * PAUSES_S[Math.min(failures, PAUSES_S.length - 1)]);
  }
}

async function listen(onOpen) {
  const giveUp = new AbortController();
  let timer = 0;
  const onHide = () => {
    clearTimeout(timer);
    if (document.hidden) timer = setTimeout(() => giveUp.abort(), HIDDEN_MS);
  };
  document.addEventListener("visibilitychange", onHide);
  try {
    const headers = lastSeq === null ? {} : { "Last-Event-ID": String(lastSeq) };
    const response = await send("GET", `/v1/events${lastSeq === null ? "" : `?after=${lastSeq}`}`, { headers, signal: giveUp.signal });
    await refreshAll(); // after the stream is open, so that no event is missed
    onOpen();
    for await (const event of eventsOf(response)) take(event);
  } catch (error) {
    if (error.name !== "AbortError") throw error;
  } finally {
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", onHide);
  }
}

function take({ id, event, data }) {
  if (id) lastSeq = Number(id);
  let details = {};
  try {
    details = JSON.parse(data);
  } catch {
    return; // a heartbeat
  }
  if (event === "run.progress") return progress(details);
  if (event === "run.started") set("losses", []);
  if (event.startsWith("version.")) refreshVersions();
  if (event !== "completion") refreshLearner();
  for (const listener of listeners) listener(event, details);
}

const listeners = new Set();

/** Call `listener` for every event but progress, until `signal` aborts. */
export function onEvent(listener, signal) {
  listeners.add(listener);
  signal?.addEventListener("abort", () => listeners.delete(listener), { once: true });
}

function progress(details) {
  const learner = get("learner");
  if (learner) set("learner", { ...learner, state: "running", run: { ...learner.run, ...details, id: details.run_id } });
  if (typeof details.loss !== "number") return;
  const before = get("losses");
  const known = before.at(-1);
  if (known && details.step < known.step) set("losses", [{ step: details.step, loss: details.loss }]);
  else if (!known || details.step > known.step) set("losses", [...before, { step: details.step, loss: details.loss }]);
}

async function poll() {
  for (;;) {
    await refreshAll();
    await nap(POLL_MS);
  }
}

async function untilKey() {
  while (get("needsKey")) await nap(500);
}

/** Return a function that joins its calls within `ms` into one. */
function gathered(work, ms) {
  let timer = null;
  return () => {
    timer ??= setTimeout(() => {
      timer = null;
      work().catch(() => {}); // the stream notices an absent service
    }, ms);
  };
}

export const refreshLearner = gathered(loadLearner, 120);
export const refreshVersions = gathered(loadVersions, 60);

/** Load the learner and the versions now. Raises ApiError. */
export async function refreshAll() {
  await Promise.all([loadLearner(), loadVersions()]);
}

async function loadLearner() {
  set("learner", await getJson("/v1/learner"));
}

async function loadVersions() {
  const wasKnown = liveVersion() !== null;
  const before = liveVersion()?.version ?? recall("live", null);
  const { data } = await getJson("/v1/versions");
  set(
    "versions",
    [...data].sort((a, b) => a.version - b.version),
  );
  const live = liveVersion();
  if (!live) return;
  const isNew = wasKnown ? before !== live.version : before !== null && before < live.version; // on the first load only a newer version counts
  if (isNew) set("swap", { version: live.version, previous: before, items: live.items });
  keep("live", live.version);
}

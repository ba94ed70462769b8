// Following what happens: the event stream, resumed where it broke, and the learner's and the versions' state that it keeps fresh.

import { eventsOf, getJson, send } from "./api.js";
import { get, liveVersion, set } from "./state.js";
import { keep, recall } from "./storage.js";

const POLL_MS = 2500;
const PAUSES_S = [0.5, 1, 2, 4, 8];
const HIDDEN_MS = 30_000; // a tab in the background gives its connection back, since a browser has only six for one host
let wake = () => {};
let lastSeq = null;

const nap = (ms) =>
  new Promise((done) => {
    const timer = setTimeout(done, ms);
    wake = () => (clearTimeout(timer), done());
  });

/** Try again at once, not when the pause is over. */
export const reconnectNow = () => wake();

/** Follow the service for as long as the page is open. */
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
    await refreshAll(); // after the stream is open, so that nothing falls between the two
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
  let told = {};
  try {
    told = JSON.parse(data);
  } catch {
    return; // a heartbeat
  }
  if (event === "run.progress") return progress(told);
  if (event === "run.started") set("losses", []);
  if (event.startsWith("version.")) refreshVersions();
  if (event !== "completion") refreshLearner();
  for (const tell of followers) tell(event, told);
}

const followers = new Set();

/** Hear of every event but progress, until `signal` aborts. */
export function onEvent(tell, signal) {
  followers.add(tell);
  signal?.addEventListener("abort", () => followers.delete(tell), { once: true });
}

function progress(told) {
  const learner = get("learner");
  if (learner) set("learner", { ...learner, state: "running", run: { ...learner.run, ...told, id: told.run_id } });
  if (typeof told.loss !== "number") return;
  const before = get("losses");
  const known = before.at(-1);
  if (known && told.step < known.step) set("losses", [{ step: told.step, loss: told.loss }]);
  else if (!known || told.step > known.step) set("losses", [...before, { step: told.step, loss: told.loss }]);
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

/** Make several calls within a moment one. */
function gathered(work, ms) {
  let timer = null;
  return () => {
    timer ??= setTimeout(() => {
      timer = null;
      work().catch(() => {}); // who follows the stream notices by itself that nobody answers
    }, ms);
  };
}

export const refreshLearner = gathered(loadLearner, 120);
export const refreshVersions = gathered(loadVersions, 60);

/** Ask for everything now; raises ApiError. */
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
  const isNews = wasKnown ? before !== live.version : before !== null && before < live.version; // at first sight only progress is news
  if (isNews) set("swap", { version: live.version, previous: before, items: live.items });
  keep("live", live.version);
}

/** Learn which routes the service has, so that nothing is offered that is not built, and whether this key may administer. */
export async function lookAround() {
  try {
    const { paths } = await getJson("/openapi.json");
    const routes = Object.entries(paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path.replace(/\{[^}]+\}/g, "{}")}`),
    );
    if (routes.length) set("routes", new Set(routes));
  } catch {
    /* a service that does not say: everything is offered, and what answers 404 says so */
  }
  try {
    await getJson("/v1/feedback?limit=1");
    set("admin", true);
  } catch (error) {
    if (error.status === 403) set("admin", false);
  }
}

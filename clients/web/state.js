// What all parts of the page know, and who wants to hear of changes.

const values = {
  connection: "online", // online | offline
  learner: null, // GET /v1/learner
  versions: null, // GET /v1/versions, oldest first; null before the first answer
  losses: [], // {step, loss} of the run under way
  swap: null, // {version, previous, items}: the last change of the live version that this page saw
  routes: null, // "POST /v1/..." of all the service has; null while unknown
  admin: true, // false once the service said that this key may not
  needsKey: false,
  busy: false, // an answer is being written
};
const watchers = new Map();

export const get = (key) => values[key];

export function set(key, value) {
  if (Object.is(values[key], value)) return;
  values[key] = value;
  for (const tell of [...(watchers.get(key) ?? [])]) tell(value);
}

/** Call `tell` now and whenever one of `keys` changes, until `signal` aborts. */
export function watch(keys, tell, signal) {
  for (const key of [keys].flat()) {
    if (!watchers.has(key)) watchers.set(key, new Set());
    watchers.get(key).add(tell);
    signal?.addEventListener("abort", () => watchers.get(key).delete(tell), { once: true });
  }
  tell();
}

/** Whether the service has this route, as far as we know: features whose route is missing are not shown. */
export function has(route) {
  const routes = values.routes;
  return routes === null || routes.has(route);
}

/** Note that a route answered 404 or 501: it is not built. */
export function forget(route) {
  const known = new Set(values.routes ?? []);
  if (values.routes === null) return;
  known.delete(route);
  set("routes", known);
}

/** How much feedback waits; what is being learned waits no more. */
export const waitingFor = (learner) => Math.max(0, learner.waiting - (learner.state === "running" ? (learner.run?.items ?? 0) : 0));

export const liveVersion = () => values.versions?.find((row) => row.state === "live") ?? null;

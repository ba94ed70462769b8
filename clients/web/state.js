// The state that all parts of the page share, and the listeners to its changes.

const values = {
  connection: "online", // online | offline
  learner: null, // GET /v1/learner
  versions: null, // GET /v1/versions, oldest first; null before the first answer
  losses: [], // {step, loss} of the run under way
  swap: null, // {version, previous, items}: the last change of the live version
  routes: null, // a set of "POST /v1/..."; null while unknown
  admin: true, // false if the key lacks the scope admin
  needsKey: false,
  busy: false, // an answer is under way
};
const watchers = new Map();

export const get = (key) => values[key];

export function set(key, value) {
  if (Object.is(values[key], value)) return;
  values[key] = value;
  for (const listener of [...(watchers.get(key) ?? [])]) listener(value);
}

/** Call `listener` now and whenever one of `keys` changes, until `signal` aborts. */
export function watch(keys, listener, signal) {
  for (const key of [keys].flat()) {
    if (!watchers.has(key)) watchers.set(key, new Set());
    watchers.get(key).add(listener);
    signal?.addEventListener("abort", () => watchers.get(key).delete(listener), { once: true });
  }
  listener();
}

/** Whether the service has this route, or its routes are unknown. Features without their route are hidden. */
export function has(route) {
  const routes = values.routes;
  return routes === null || routes.has(route);
}

/** Note that the service lacks a route. */
export function forget(route) {
  const known = new Set(values.routes ?? []);
  if (values.routes === null) return;
  known.delete(route);
  set("routes", known);
}

/** Return the count of waiting feedback, without the feedback of the update under way. */
export const waitingFor = (learner) => Math.max(0, learner.waiting - (learner.state === "running" ? (learner.run?.items ?? 0) : 0));

export const liveVersion = () => values.versions?.find((row) => row.state === "live") ?? null;

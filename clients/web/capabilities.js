// What this service offers, and what this key may do.

import { getJson } from "./api.js";
import { set } from "./state.js";

/** Find out which routes the service has, and whether this key has the scope admin. */
export async function discoverRoutes() {
  try {
    const { paths } = await getJson("/openapi.json");
    const routes = Object.entries(paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path.replace(/\{[^}]+\}/g, "{}")}`),
    );
    if (routes.length) set("routes", new Set(routes));
  } catch {
    /* unknown routes: offer everything, and show the error of a missing one */
  }
  try {
    await getJson("/v1/feedback?limit=1");
    set("admin", true);
  } catch (error) {
    if (error.status === 403) set("admin", false);
  }
}

// The gate's report on a version: measured values, limits and results.

import { h } from "./dom.js";
import { icon } from "./icons.js";
import { named, number, t } from "./i18n.js";

/** Read a limit such as "<= 4", ">= 0.5" or "0.5 .. 2" as {low, high}; {} for any other text. */
export function limitOf(limit) {
  const [low, high] = String(limit).split("..").map(Number);
  if (String(limit).includes("..")) return { low, high };
  const match = /^(<=|>=|<|>)\s*(.+)$/.exec(String(limit));
  if (!match) return {};
  return match[1].startsWith("<") ? { high: Number(match[2]) } : { low: Number(match[2]) };
}

const limitText = (limit) => String(limit).replace("<=", "≤").replace(">=", "≥").replace("..", "–");
const valueText = (value) => (typeof value === "number" ? number(value, Math.abs(value) < 0.1 ? 4 : 3) : String(value ?? "–"));

/** Return a bar of a value against its upper limit, null for a limit of another kind. */
function meter(check) {
  const { low, high } = limitOf(check.limit);
  if (!(high > 0) || typeof check.value !== "number") return null;
  const from = low ?? 0;
  const part = Math.max(0, Math.min(1, (check.value - from) / (high - from)));
  return h("span", { class: "meter", "aria-hidden": "true" }, h("i", { style: { width: `${Math.round(100 * part)}%` } }));
}

/** Return the report as a section. */
export function gateReport(version) {
  const { gate } = version;
  const head = h("h3", {}, t("gate.title"));
  if (!gate) return h("section", { class: "block" }, head, h("p", { class: "soft" }, t(version.version === 0 ? "gate.base" : "gate.none")));
  const checks = gate.checks ?? [];
  return h(
    "section",
    { class: "block" },
    h(
      "div",
      { class: "block-head" },
      head,
      h(
        "span",
        { class: `verdict ${gate.passed ? "good" : "bad"}` },
        icon(gate.passed ? "check" : "warn", 15),
        t(gate.passed ? "gate.passed" : "gate.failed"),
      ),
    ),
    gate.reasons?.length && !checks.length
      ? h(
          "ul",
          { class: "reasons-list" },
          gate.reasons.map((reason) => h("li", {}, reason)),
        )
      : null,
    checks.length
      ? h(
          "div",
          { class: "table-frame", tabindex: 0, role: "region", "aria-label": t("gate.title") },
          h(
            "table",
            { class: "checks" },
            h(
              "thead",
              {},
              h(
                "tr",
                {},
                ["check", "value", "limit", "result"].map((name) => h("th", { scope: "col" }, t(`gate.${name}`))),
              ),
            ),
            h(
              "tbody",
              {},
              checks.map((check) =>
                h(
                  "tr",
                  { class: check.passed ? "" : "failing" },
                  h("th", { scope: "row" }, named("check", check.name)),
                  h("td", { class: "figure" }, valueText(check.value), meter(check)),
                  h("td", { class: "figure soft" }, limitText(check.limit)),
                  h(
                    "td",
                    {},
                    h(
                      "span",
                      { class: check.passed ? "good" : "bad" },
                      icon(check.passed ? "check" : "close", 15),
                      h("span", {}, t(check.passed ? "gate.ok" : "gate.bad")),
                    ),
                  ),
                ),
              ),
            ),
          ),
        )
      : null,
  );
}

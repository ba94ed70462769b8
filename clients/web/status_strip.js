// The strip at the top: the live version, the feedback that waits, the update under way, and the last change of version.

import { announce, h, show } from "./dom.js";
import { icon } from "./icons.js";
import { ago, percent, t } from "./i18n.js";
import { isCounted, isLearning, phaseText, shareDone, updateText, waitingText } from "./learner_state.js";
import { get, liveVersion, set, waitingFor, watch } from "./state.js";
import { reconnectNow } from "./events.js";
import { recall, keep } from "./storage.js";

const SWAP_SHOWN_MS = 25_000;
const MOST_TICKS = 24;

/** Mount the strip into `root`, and the notice of a broken connection into `banner`. */
export function mountStrip(root, banner, signal) {
  const who = h("a", { class: "strip-version", href: "#/versions" });
  const waits = h("a", { class: "strip-waits", href: "#/learning" });
  const status = h("div", { class: "strip-status" });
  const line = h(
    "div",
    { class: "strip-line", role: "progressbar", "aria-label": t("strip.progress"), "aria-valuemin": 0, "aria-valuemax": 100 },
    h("i"),
  );
  const change = h("div", { class: "strip-swap" });
  show(root, h("div", { class: "strip-row" }, who, waits, status), line, change);

  function drawVersion() {
    const live = liveVersion();
    const number = live?.version ?? get("learner")?.live;
    show(
      who,
      h("span", { class: "dot", "aria-hidden": "true" }),
      number === undefined || number === null
        ? t("state.loading")
        : [
            h("strong", {}, t("strip.version", { v: number })),
            h("span", { class: "soft wide-only" }, since(live)),
          ],
    );
  }

  function drawWaiting() {
    const learner = get("learner");
    const need = learner?.trigger?.items;
    if (!learner || !need) return show(waits);
    const waiting = waitingFor(learner);
    const shown = Math.min(waiting, need);
    const label = t("strip.waiting", { n: waiting, of: need });
    const gauge =
      need > MOST_TICKS
        ? h("span", { class: "gauge", "aria-hidden": "true" }, h("i", { style: { width: `${(100 * shown) / need}%` } }))
        : h(
            "span",
            { class: "ticks", "aria-hidden": "true" },
            Array.from({ length: need }, (_, index) => h("i", { class: index < shown ? "full" : "" })),
          );
    waits.setAttribute("aria-label", label);
    waits.title = label;
    return show(waits, gauge, h("span", { class: "count" }, waiting > need ? t("strip.more", { n: waiting }) : t("strip.count", { n: waiting, of: need })));
  }

  function drawState() {
    const learner = get("learner");
    const isRunning = isLearning(learner) && get("connection") === "online";
    const share = isRunning ? shareDone(learner) : 0;
    root.classList.toggle("running", isRunning);
    root.classList.toggle("unclear", isRunning && !isCounted(share));
    line.firstChild.style.width = isRunning ? `${Math.round(100 * share)}%` : "0";
    line.hidden = !isRunning;
    if (!isCounted(share)) line.removeAttribute("aria-valuenow");
    else line.setAttribute("aria-valuenow", Math.round(100 * share));
    if (get("connection") === "offline") return show(status, t("strip.offline"));
    if (!learner) return show(status);
    if (isRunning)
      return show(
        status,
        h("span", { class: "pulse", "aria-hidden": "true" }),
        h("span", {}, updateText(learner).text, h("span", { class: "soft" }, phaseText(learner))),
      );
    const candidate = get("versions")?.find((row) => row.state === "candidate" && row.passed);
    const sign = ["idle", "preparing"].includes(learner.state) ? null : icon(learner.state === "paused" ? "pause" : "warn", 15);
    return show(status, sign, h("span", {}, waitingText(learner, candidate)));
  }

  function drawChange() {
    const swap = get("swap");
    if (!swap) return show(change);
    const text = t(swap.version < swap.previous ? "strip.back" : swap.items ? "strip.swapped_from" : "strip.swapped", {
      v: swap.version,
      n: swap.items,
    });
    announce(text);
    const close = () => get("swap") === swap && set("swap", null);
    setTimeout(close, SWAP_SHOWN_MS);
    return show(
      change,
      h("span", { class: "swap-text" }, text),
      h("a", { href: `#/versions/${swap.version}/changes`, onclick: close }, t("strip.what_changed")),
      h("button", { class: "quiet icon-only small", type: "button", "aria-label": t("act.close"), onclick: close }, icon("close", 14)),
    );
  }

  function drawConnection() {
    const isOffline = get("connection") === "offline";
    banner.hidden = !isOffline;
    document.body.classList.toggle("offline", isOffline);
    if (isOffline) {
      show(
        banner,
        icon("warn", 16),
        h("span", {}, h("strong", {}, t("offline.title")), " ", t("offline.text")),
        h("button", { class: "button small", type: "button", onclick: reconnectNow }, t("offline.now")),
      );
      announce(t("offline.title"));
      keep("was_offline", true);
    } else if (recall("was_offline")) {
      keep("was_offline", null);
      announce(t("offline.back"));
    }
  }

  watch(["versions", "learner"], drawVersion, signal);
  watch(["learner", "versions", "connection"], () => (drawWaiting(), drawState()), signal);
  watch("swap", drawChange, signal);
  watch("connection", drawConnection, signal);
  const clock = setInterval(() => (drawVersion(), drawState()), 1000);
  signal.addEventListener("abort", () => clearInterval(clock), { once: true });
}

/** Return how long the version has been live, or the share of a version on trial beside it. */
function since(live) {
  const trial = get("versions")?.find((row) => row.state === "canary" && row.share > 0);
  if (trial) return t("strip.trial", { v: trial.version, share: percent(trial.share) });
  return live?.live_at ? t("strip.since", { ago: ago(live.live_at) }) : "";
}

// The strip that is always there: who answers, what waits to be learned, the update under way, and the last change of version.

import { announce, h, show } from "./dom.js";
import { icon } from "./icons.js";
import { ago, named, percent, t } from "./i18n.js";
import { get, liveVersion, set, waitingFor, watch } from "./state.js";
import { reconnectNow } from "./events.js";
import { recall, keep } from "./storage.js";

const SWAP_SHOWN_MS = 25_000;
const MOST_TICKS = 24;

/** Mount the strip into `root`, and the line under it that tells of a broken connection into `banner`. */
export function mountStrip(root, banner, signal) {
  const who = h("a", { class: "strip-version", href: "#/versions" });
  const waits = h("a", { class: "strip-waits", href: "#/learning" });
  const says = h("div", { class: "strip-says" });
  const line = h(
    "div",
    { class: "strip-line", role: "progressbar", "aria-label": t("strip.progress"), "aria-valuemin": 0, "aria-valuemax": 100 },
    h("i"),
  );
  const news = h("div", { class: "strip-news" });
  show(root, h("div", { class: "strip-row" }, who, waits, says), line, news);

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
    const words = t("strip.waiting", { n: waiting, of: need });
    const gauge =
      need > MOST_TICKS
        ? h("span", { class: "gauge", "aria-hidden": "true" }, h("i", { style: { width: `${(100 * shown) / need}%` } }))
        : h(
            "span",
            { class: "ticks", "aria-hidden": "true" },
            Array.from({ length: need }, (_, place) => h("i", { class: place < shown ? "full" : "" })),
          );
    waits.setAttribute("aria-label", words);
    waits.title = words;
    return show(waits, gauge, h("span", { class: "count" }, waiting > need ? t("strip.more", { n: waiting }) : t("strip.count", { n: waiting, of: need })));
  }

  function drawState() {
    const learner = get("learner");
    const run = learner?.run;
    const isRunning = learner?.state === "running" && run && get("connection") === "online";
    const done = isRunning && run.steps ? Math.min(1, run.step / run.steps) : 0;
    root.classList.toggle("running", Boolean(isRunning));
    const isCounted = isRunning && done > 0 && done < 1; // before the first step and in the gate nobody knows how long it takes
    root.classList.toggle("unclear", Boolean(isRunning && !isCounted));
    line.firstChild.style.width = isRunning ? `${Math.round(100 * done)}%` : "0";
    line.hidden = !isRunning;
    if (!isCounted) line.removeAttribute("aria-valuenow");
    else line.setAttribute("aria-valuenow", Math.round(100 * done));
    if (get("connection") === "offline") return show(says, t("strip.offline"));
    if (!learner) return show(says);
    if (isRunning) {
      const what = run.items ? t("strip.learning_from", { n: run.items }) : t("strip.learning");
      return show(
        says,
        h("span", { class: "pulse", "aria-hidden": "true" }),
        h(
          "span",
          {},
          what,
          h("span", { class: "soft" }, ` ${named("phase", run.phase || "planned")}${isCounted ? ` ${percent(done)}` : ""}`),
        ),
      );
    }
    const next = get("versions")?.find((row) => row.state === "candidate" && row.passed);
    const words = next
      ? t("strip.going_live", { v: next.version })
      : learner.state === "down"
        ? t("strip.down")
        : learner.state === "paused"
          ? t("strip.paused")
          : nextWords(learner);
    return show(says, learner.state === "idle" ? null : icon(learner.state === "paused" ? "pause" : "warn", 15), h("span", {}, words));
  }

  function drawNews() {
    const swap = get("swap");
    if (!swap) return show(news);
    const words = t(swap.version < swap.previous ? "strip.back" : swap.items ? "strip.swapped_from" : "strip.swapped", {
      v: swap.version,
      n: swap.items,
    });
    announce(words);
    const close = () => get("swap") === swap && set("swap", null);
    setTimeout(close, SWAP_SHOWN_MS);
    return show(
      news,
      h("span", { class: "news-text" }, words),
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
  watch("swap", drawNews, signal);
  watch("connection", drawConnection, signal);
  const clock = setInterval(() => (drawVersion(), drawState()), 1000);
  signal.addEventListener("abort", () => clearInterval(clock), { once: true });
}

/** How long the version has been live or, while another one is on trial beside it, that one's share. */
function since(live) {
  const trial = get("versions")?.find((row) => row.state === "canary" && row.share > 0);
  if (trial) return t("strip.trial", { v: trial.version, share: percent(trial.share) });
  return live?.live_at ? t("strip.since", { ago: ago(live.live_at) }) : "";
}

function nextWords(learner) {
  const left = learner.next_at ? Math.ceil((new Date(learner.next_at) - Date.now()) / 1000) : null;
  if (left !== null && left > 0 && learner.waiting) return t("strip.next_in", { n: left });
  if (learner.waiting >= (learner.trigger?.items ?? Infinity)) return t("strip.starting");
  if (!learner.waiting) return t("strip.listening");
  const missing = (learner.trigger?.min_items ?? 0) - learner.waiting;
  return missing > 0 ? t("strip.more_needed", { n: missing }) : t("strip.soon");
}

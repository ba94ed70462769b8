// The learning screen: what the learner does now, and charts of its results.

import { getJson, postJson } from "./api.js";
import { bars, figure, intervals, line } from "./charts.js";
import { notice } from "./dialog.js";
import { h, show } from "./dom.js";
import { onEvent, refreshLearner } from "./events.js";
import { ago, clock, dateTime, number, percent, t } from "./i18n.js";
import { icon } from "./icons.js";
import { isLearning, stateName, stateText } from "./learner_state.js";
import { get, has, liveVersion, set, waitingFor, watch } from "./state.js";

const PAGES = 4; // of 500 rows of feedback, for the chart over time
const KINDS = ["choice", "thumb", "correction", "preference", "score", "regenerate"];
const BUCKETS_S = [10, 30, 60, 120, 300, 600, 1800, 3600, 10800, 21600, 86400, 604800];
const REWARD_KINDS = ["pairs", "equal_length", "thumbs"]; // of predictions, as GET /v1/learner names them
const METRICS = {
  accuracy: { names: ["held_out/accuracy"], series: 1, show: percent },
  loss: { names: ["loss"], series: 2 },
  kl: { names: ["guard/kl"], series: 3 },
  reward: { names: ["reward/mean"], series: 4 },
};

export function learningScreen(root, { signal }) {
  const now = h("section", { class: "block now", "aria-label": t("learning.now") });
  const loss = h("div", { class: "live-loss" });
  const feedback = h("div");
  const charts = h("div", { class: "charts" });
  show(
    root,
    h(
      "div",
      { class: "screen learning" },
      h("header", { class: "screen-head" }, h("h2", {}, t("nav.learning")), h("p", { class: "soft" }, t("learning.lead"))),
      now,
      feedback,
      charts,
    ),
  );
  watch(["learner", "versions", "routes", "admin"], () => drawNow(now, loss), signal);
  watch("losses", () => drawLoss(loss, signal), signal);
  let isRecalled = false;
  const recall = () => {
    if (isRecalled || !get("versions") || !get("learner")) return; // not loaded yet
    isRecalled = true;
    recallLosses(signal);
  };
  watch(["learner", "versions"], recall, signal);
  onEvent((kind) => kind.startsWith("run.") && drawLoss(loss, signal), signal);
  watch("versions", () => drawVersions(charts, signal), signal);
  followFeedback(feedback, signal);
}

function drawNow(room, loss) {
  const learner = get("learner");
  if (!learner) return show(room, h("p", { class: "soft" }, t("state.loading")));
  const { state, run } = learner;
  const isRunning = isLearning(learner);
  const order = (name, label, shape, isMain) =>
    get("admin") && has(`POST /v1/learner/${name}`)
      ? h("button", { class: `button ${isMain ? "primary" : ""}`, type: "button", onclick: () => sendOrder(name) }, icon(shape, 16), label)
      : null;
  const held = room.contains(document.activeElement) ? document.activeElement.textContent : null;
  show(
    room,
    h(
      "div",
      { class: "block-head" },
      h(
        "h3",
        { class: `state-name ${state}` },
        isRunning ? h("span", { class: "pulse", "aria-hidden": "true" }) : null,
        stateName(learner),
      ),
      state === "down"
        ? null
        : h(
            "div",
            { class: "row" },
            isRunning || state === "paused" ? null : order("update", t("learning.update"), "bolt", true),
            state === "paused" ? order("resume", t("learning.resume"), "play", true) : order("pause", t("learning.pause"), "pause", false),
          ),
    ),
    h("p", { class: "soft" }, stateText(learner)),
    isRunning
      ? h(
          "div",
          {
            class: "progress",
            role: "progressbar",
            "aria-label": t("strip.progress"),
            "aria-valuemin": 0,
            "aria-valuemax": run.steps || 1,
            "aria-valuenow": run.step || 0,
          },
          h("i", { style: { width: `${run.steps ? (100 * run.step) / run.steps : 0}%` } }),
        )
      : null,
    loss,
    h(
      "div",
      { class: "tiles" },
      tile(t("learning.waiting"), number(waitingFor(learner))),
      tile(t("learning.seen"), number(learner.seen ?? 0)),
      tile(t("learning.versions"), number(get("versions")?.length ?? 0)),
      tile(t("learning.live"), liveVersion() ? `v${liveVersion().version}` : "–"),
    ),
    lastRun(learner.last_run),
    rewardModel(learner.reward_model),
  );
  if (held) [...room.querySelectorAll("button")].find((button) => button.textContent === held)?.focus();
  return undefined;
}

const tile = (name, value) => h("div", { class: "tile" }, h("span", { class: "tile-name" }, name), h("strong", {}, value));

function lastRun(run) {
  if (!run) return null;
  const outcome =
    run.state === "failed" || run.error
      ? t("learning.last_failed", { why: run.error })
      : run.version === null || run.version === undefined
        ? t("learning.last_none")
        : t(isRejected(run.version) ? "learning.last_rejected" : "learning.last_made", { v: run.version });
  return h("p", { class: "soft last-run" }, t("learning.last", { what: outcome, when: ago(run.finished_at ?? run.started_at) }));
}

/** Return what the reward model has learned from, and how many of the newest labels it predicted before it learned them. */
function rewardModel(model) {
  if (!model) return null;
  const measured = REWARD_KINDS.filter((kind) => model[kind]?.count).map((kind) => {
    const { count, accuracy, low, high } = model[kind];
    return t(`reward.${kind}`, { n: count, share: percent(accuracy), low: percent(low), high: percent(high) });
  });
  const text = [t("reward.labels", { n: model.labels }), ...(measured.length ? measured : [t("reward.untested")])].join(" ");
  return h("p", { class: "soft reward-model" }, text);
}

const isRejected = (number) => get("versions")?.find((row) => row.version === number)?.state === "rejected";

async function sendOrder(order) {
  try {
    await postJson(`/v1/learner/${order}`);
    refreshLearner();
    notice(t("learning.asked"));
  } catch (error) {
    notice(error.message, { kind: "error" });
  }
}

/** Load the losses of the last update after a reload. */
async function recallLosses(signal) {
  const last = get("versions")?.at(-1);
  if (get("losses").length || !last?.items || get("learner").state === "running") return;
  try {
    const { run } = await getJson(`/v1/versions/${last.version}`, { signal });
    const points = (run?.metrics?.curve ?? []).filter(({ step, loss }) => typeof step === "number" && typeof loss === "number");
    if (!get("losses").length && get("learner").state !== "running")
      set(
        "losses",
        points.map(({ step, loss }) => ({ step, loss })),
      );
  } catch {
    /* the screen works without this chart */
  }
}

function drawLoss(room, signal) {
  const points = get("losses").map(({ step, loss }) => ({ x: step, y: loss, label: String(step) }));
  if (points.length < 2) return show(room);
  const title = t(get("learner")?.state === "running" ? "learning.loss_now" : "learning.loss_last");
  return show(
    room,
    figure({
      title,
      summary: `${title}: ${points.at(-1).y.toFixed(3)}`,
      height: 130,
      signal,
      draw: (width, height) => line(points, width, height, { series: 2, even: false }),
      table: [[t("chart.step"), t("metric.loss")], points.map(({ x, y }) => [x, y.toFixed(4)])],
    }),
  );
}

function drawVersions(room, signal) {
  const rows = get("versions") ?? [];
  const measured = rows.filter((row) => typeof row.win_rate === "number" && row.win_rate_interval);
  const compared = measured.map((row) => ({
    label: `v${row.version}`,
    value: row.win_rate,
    low: row.win_rate_interval[0],
    high: row.win_rate_interval[1],
    mark: row.state,
  }));
  const empty = (title, text) => h("figure", { class: "chart" }, h("figcaption", {}, h("h3", {}, title)), h("p", { class: "empty" }, text));
  const winRate = compared.length
    ? figure({
        title: t("chart.win_rate"),
        note: t("chart.win_rate_note"),
        signal,
        summary: compared.map(({ label, value }) => `${label} ${percent(value)}`).join(", "),
        draw: (width, height) => intervals(compared, width, height, 0.5, percent),
        table: [
          [t("chart.version"), t("versions.win_rate"), t("chart.interval")],
          compared.map(({ label, value, low, high }) => [
            label,
            percent(value),
            t("chart.range", { low: percent(low), high: percent(high) }),
          ]),
        ],
      })
    : empty(t("chart.win_rate"), t("chart.win_rate_none"));
  const metrics = Object.entries(METRICS).map(([name, { names, series, show: format }]) => {
    const points = rows.flatMap((row) => {
      const value = names.map((key) => row.metrics?.[key]).find((one) => typeof one === "number");
      return value === undefined ? [] : [{ x: row.version, y: value, label: `v${row.version}` }];
    });
    const title = t(`metric.${name}`);
    if (!points.length) return name === "reward" || rows.length > 1 ? null : empty(title, t("chart.metric_none")); // not every method has this metric
    return figure({
      title,
      note: t("chart.by_version"),
      signal,
      summary: points.map(({ label, y }) => `${label} ${number(y, 3)}`).join(", "),
      draw: (width, height) => line(points, width, height, { series, dots: true, show: format }),
      table: [[t("chart.version"), title], points.map(({ label, y }) => [label, number(y, 4)])],
    });
  });
  show(room, winRate, metrics);
}

/** Draw the chart of feedback over time: the stored rows, and new ones as they arrive. */
function followFeedback(room, signal) {
  const given = [];
  let isKnown = false;
  const draw = () => show(room, isKnown ? feedbackChart(given, signal) : null);
  load();
  onEvent((kind, details) => {
    if (kind !== "feedback" || !KINDS.includes(details.kind)) return;
    given.push({ kind: details.kind, at: new Date(details.at ?? Date.now()).getTime() });
    draw();
  }, signal);

  async function load() {
    if (!has("GET /v1/feedback") || !get("admin")) return;
    try {
      let cursor = null;
      for (let page = 0; page < PAGES; page += 1) {
        const { data, next_cursor } = await getJson(`/v1/feedback?limit=500${cursor ? `&cursor=${cursor}` : ""}`, { signal });
        for (const row of data) if (!row.retracted_at) given.push({ kind: row.kind, at: new Date(row.created_at).getTime() });
        cursor = next_cursor;
        if (!cursor) break;
      }
      isKnown = true;
    } catch (error) {
      if (error.name === "AbortError" || error.status === 403 || error.status === 404) return;
      isKnown = given.length > 0;
    }
    draw();
  }
}

function feedbackChart(given, signal) {
  const title = t("chart.feedback");
  if (!given.length)
    return h("figure", { class: "chart" }, h("figcaption", {}, h("h3", {}, title)), h("p", { class: "empty" }, t("chart.feedback_none")));
  const end = Math.max(Date.now(), ...given.map(({ at }) => at));
  const span = Math.max(300, (end - Math.min(...given.map(({ at }) => at))) / 1000);
  const size = 1000 * (BUCKETS_S.find((seconds) => span / seconds <= 44) ?? BUCKETS_S.at(-1));
  const first = Math.floor(Math.min(end - 300_000, ...given.map(({ at }) => at)) / size);
  const kinds = KINDS.filter((kind) => given.some((one) => one.kind === kind));
  const label = size >= 86_400_000 ? (when) => dateTime(when).split(/[,，]/)[0] : clock;
  const buckets = Array.from({ length: Math.floor(end / size) - first + 1 }, (_, index) => ({
    label: label((first + index) * size),
    counts: kinds.map(() => 0),
  }));
  for (const { kind, at } of given) buckets[Math.floor(at / size) - first].counts[kinds.indexOf(kind)] += 1;
  return figure({
    title,
    signal,
    height: 180,
    summary: kinds.map((kind) => `${t(`kind.${kind}`, { n: 2 })} ${given.filter((one) => one.kind === kind).length}`).join(", "),
    legend: kinds.map((kind, index) => ({ name: t(`kind.${kind}`, { n: 2 }), series: index + 1 })),
    draw: (width, height) => bars(buckets, width, height),
    table: [
      [t("chart.time"), ...kinds.map((kind) => t(`kind.${kind}`, { n: 2 }))],
      buckets.filter(({ counts }) => counts.some(Boolean)).map(({ label: name, counts }) => [name, ...counts]),
    ],
  });
}

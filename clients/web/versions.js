// The versions screen: the family tree, and one version in detail.

import { getJson } from "./api.js";
import { notice } from "./dialog.js";
import { h, show } from "./dom.js";
import { refreshVersions } from "./events.js";
import { gateReport } from "./gate.js";
import { ago, dateTime, named, number, percent, t } from "./i18n.js";
import { icon } from "./icons.js";
import { lineage } from "./lineage.js";
import { samplesBlock } from "./samples.js";
import { get, has, liveVersion, watch } from "./state.js";
import { versionActions } from "./version_actions.js";

const pill = (state) => h("span", { class: `pill ${state}` }, named("vstate", state));
const compared = ({ comparisons }) => (comparisons ? comparisons.wins + comparisons.losses + comparisons.ties : 0);

/** Show the list, and beside it the version `detail` (on a phone instead of it). */
export function versionsScreen(root, { detail, part, signal, chatWith }) {
  const list = h("nav", { class: "version-list", "aria-label": t("versions.list") });
  const room = h("section", { class: "version-detail", "aria-live": "off" });
  const chosen = () => (detail === undefined || detail === "" ? liveVersion()?.version : Number(detail));
  show(
    root,
    h(
      "div",
      { class: `screen versions ${detail ? "has-detail" : ""}` },
      h("header", { class: "screen-head" }, h("h2", {}, t("nav.versions")), h("p", { class: "soft" }, t("versions.lead"))),
      h("div", { class: "version-columns" }, list, room),
    ),
  );
  let shown = "";

  watch(
    ["versions", "routes", "admin"],
    () => {
      const rows = [...(get("versions") ?? [])].reverse();
      if (!get("versions")) return show(list, h("p", { class: "empty" }, t("state.loading")));
      if (!rows.length) return show(list, h("p", { class: "empty" }, t("versions.empty")));
      show(
        list,
        lineage(rows, chosen()),
        h(
          "ol",
          {},
          rows.map((row) => listRow(row, row.version === chosen())),
        ),
      );
      const row = rows.find((one) => one.version === chosen());
      const sign = JSON.stringify([
        row?.version,
        row?.state,
        row?.comparisons,
        row?.thumbs,
        liveVersion()?.version,
        get("routes")?.size,
        get("admin"),
      ]);
      if (sign !== shown && !room.querySelector(".samples > *")) {
        // keep an open comparison
        shown = sign;
        drawDetail();
      }
      return undefined;
    },
    signal,
  );

  async function drawDetail() {
    const wanted = chosen();
    if (wanted === undefined) return;
    if (!room.childElementCount) show(room, h("p", { class: "empty" }, t("state.loading")));
    try {
      const version = await getJson(`/v1/versions/${wanted}`, { signal });
      const perform = async (work, done) => {
        try {
          await work();
          notice(done);
          refreshVersions();
        } catch (error) {
          notice(t("versions.not_done", { why: error.message }), { kind: "error" });
        }
      };
      const isAsked = part === "changes" && !room.querySelector(".samples");
      show(room, detailView(version, perform, chatWith, signal));
      if (isAsked) {
        // the link "What changed?"
        const block = room.querySelector(".samples")?.closest(".block");
        block?.querySelector(".button").click();
        block?.scrollIntoView({ block: "start" });
      }
    } catch (error) {
      if (error.name !== "AbortError") show(room, h("p", { class: "empty" }, t("state.failed", { why: error.message })));
    }
  }
}

function listRow(row, isChosen) {
  const made =
    row.version === 0
      ? t("versions.base")
      : [t("versions.items", { n: row.items }), row.created_at ? ago(row.created_at, "short") : ""].filter(Boolean).join(" · ");
  return h(
    "li",
    {},
    h(
      "a",
      { class: "version-row", href: `#/versions/${row.version}`, "aria-current": isChosen ? "true" : null },
      h(
        "span",
        { class: "version-name" },
        h("strong", {}, t("strip.version", { v: row.version })),
        pill(row.state),
        typeof row.win_rate === "number" ? h("span", { class: "version-rate", title: t("versions.win_rate") }, percent(row.win_rate)) : null,
      ),
      h("span", { class: "version-made soft" }, made),
    ),
  );
}

function detailView(version, perform, chatWith, signal) {
  return [
    h("a", { class: "back quiet small", href: "#/versions" }, icon("left", 15), t("versions.back")),
    h(
      "header",
      { class: "detail-head" },
      h("div", {}, h("h2", {}, t("strip.version", { v: version.version })), pill(version.state)),
      versionActions(version, perform, chatWith),
    ),
    h(
      "p",
      { class: "soft" },
      version.version === 0
        ? t("versions.base")
        : [t("versions.learned_from", { n: version.items }), version.parent === null ? "" : t("versions.from", { v: version.parent })]
            .filter(Boolean)
            .join(t("list.comma")),
    ),
    version.state === "rejected" && !version.answers ? null : record(version),
    gateReport(version),
    madeBy(version, signal),
    version.state === "rejected" || !has("GET /v1/versions/{}/samples") || !get("admin") ? null : samplesBlock(version, signal),
    facts(version),
  ];
}

function record(version) {
  const { up = 0, down = 0 } = version.thumbs ?? {};
  const total = up + down;
  const [low, high] = version.win_rate_interval ?? [];
  return h(
    "div",
    { class: "tiles" },
    tile(
      t("versions.answers"),
      number(version.answers ?? 0),
      version.share > 0 && version.share < 1 ? t("versions.share", { share: percent(version.share) }) : "",
    ),
    tile(
      t("versions.thumbs"),
      total ? percent(up / total) : "–",
      total ? t("versions.thumbs_value", { up, down }) : "",
      total ? h("span", { class: "split", "aria-hidden": "true" }, h("i", { style: { width: `${(100 * up) / total}%` } })) : null,
    ),
    tile(
      t("versions.win_rate"),
      typeof version.win_rate === "number" ? percent(version.win_rate) : "–",
      compared(version) ? t("versions.compared", { n: compared(version) }) : t("versions.no_comparisons"),
      low === undefined
        ? null
        : h(
            "span",
            { class: "range", title: t("chart.range", { low: percent(low), high: percent(high) }), "aria-hidden": "true" },
            h("i", { style: { left: `${100 * low}%`, width: `${100 * (high - low)}%` } }),
            h("b", { style: { left: `${100 * version.win_rate}%` } }),
          ),
    ),
  );
}

const tile = (name, value, note, drawing = null) =>
  h(
    "div",
    { class: "tile" },
    h("span", { class: "tile-name" }, name),
    h("strong", {}, value),
    drawing,
    note ? h("span", { class: "soft" }, note) : null,
  );

function madeBy(version, signal) {
  if (!version.items || !has("GET /v1/versions/{}/feedback") || !get("admin")) return null;
  const list = h("div", { class: "row" }, h("span", { class: "soft" }, t("state.loading")));
  getJson(`/v1/versions/${version.version}/feedback`, { signal })
    .then(({ data }) => {
      const counts = new Map();
      for (const { kind } of data) counts.set(kind, (counts.get(kind) ?? 0) + 1);
      show(
        list,
        counts.size
          ? [...counts]
              .sort((a, b) => b[1] - a[1])
              .map(([kind, n]) => h("span", { class: "count-chip" }, h("strong", {}, number(n)), t(`kind.${kind}`, { n })))
          : h("span", { class: "soft" }, t("made_by.none")),
      );
    })
    .catch(() => show(list, h("span", { class: "soft" }, t("made_by.none"))));
  return h("section", { class: "block" }, h("h3", {}, t("made_by.title")), list);
}

function facts(version) {
  const seconds = version.run?.metrics?.seconds ?? version.metrics?.seconds;
  const rows = [
    [t("versions.made"), version.created_at ? dateTime(version.created_at) : null],
    [t("versions.algorithm"), version.algorithm],
    [t("versions.time"), typeof seconds === "number" ? t("versions.seconds", { n: number(seconds, 1) }) : null],
    [t("versions.digest"), version.digest ? h("code", {}, version.digest.slice(0, 16)) : null],
  ];
  return h(
    "dl",
    { class: "facts" },
    rows.filter(([, value]) => value).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
  );
}

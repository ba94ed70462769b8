// The family tree of versions beside their list. Ancestors of the live version share one line; others branch off.

import { s } from "./dom.js";

const LANE = 18;
const EDGE = 14;
export const ROW = 62; // height of a list row, as in panels.css

/**
 * Give each version (newest first) a lane: 0 for the live version and its ancestors, others beside them. Rejected
 * versions of one parent share a lane: they have no children, so a line through them can only lead to that parent.
 */
export function lanesOf(rows) {
  const byNumber = new Map(rows.map((row) => [row.version, row]));
  const indexOf = new Map(rows.map((row, index) => [row.version, index]));
  const lanes = new Map();
  const rejectedOn = new Map(); // parent -> the lane of its rejected children
  for (let row = rows.find((one) => one.state === "live"); row; row = byNumber.get(row.parent)) lanes.set(row.version, 0);
  const taken = []; // for each lane after the first: the spans of rows in use
  for (const row of rows) {
    if (lanes.has(row.version)) continue;
    const shared = row.state === "rejected" ? rejectedOn.get(row.parent) : undefined;
    if (shared !== undefined) {
      lanes.set(row.version, shared);
      continue;
    }
    const heir = rows.find((one) => one.parent === row.version && lanes.get(one.version) > 0);
    const span = [indexOf.get(row.version), indexOf.get(row.parent) ?? indexOf.get(row.version)];
    let lane = heir
      ? lanes.get(heir.version)
      : 1 + taken.findIndex((spans) => !spans?.some(([from, to]) => from < span[1] && span[0] < to));
    if (lane === 0) lane = taken.length + 1;
    (taken[lane - 1] ??= []).push(span);
    lanes.set(row.version, lane);
    if (row.state === "rejected") rejectedOn.set(row.parent, lane);
  }
  return lanes;
}

export const widthOf = (lanes) => EDGE * 2 + LANE * Math.max(0, ...lanes.values());

/** Draw the tree for rows, newest first. A row is `ROW` pixels high. */
export function lineage(rows, chosen) {
  const lanes = lanesOf(rows);
  const x = (version) => EDGE + LANE * lanes.get(version);
  const y = (index) => ROW * (index + 0.5);
  const indexOf = new Map(rows.map((row, index) => [row.version, index]));
  const lines = rows
    .filter((row) => indexOf.has(row.parent))
    .map((row) => {
      const [x1, y1, x2, y2] = [x(row.version), y(indexOf.get(row.version)), x(row.parent), y(indexOf.get(row.parent))];
      const bend = x1 === x2 ? `V${y2}` : `V${y2 - ROW * 0.6}C${x1} ${y2 - ROW * 0.2} ${x2} ${y2 - ROW * 0.45} ${x2} ${y2}`;
      return s("path", { class: `branch ${lanes.get(row.version) === 0 ? "main" : ""}`, d: `M${x1} ${y1}${bend}` });
    });
  const nodes = rows.map((row, index) =>
    s(
      "g",
      { class: `node ${row.state}` },
      row.state === "live" || row.version === chosen ? s("circle", { class: "halo", cx: x(row.version), cy: y(index), r: 10 }) : null,
      s("circle", { class: "bead", cx: x(row.version), cy: y(index), r: 5.5 }),
      row.state === "rejected"
        ? s("path", { class: "cross", d: `M${x(row.version) - 2.4} ${y(index) - 2.4}l4.8 4.8m0-4.8l-4.8 4.8` })
        : null,
    ),
  );
  return s("svg", { class: "lineage", width: widthOf(lanes), height: ROW * rows.length, "aria-hidden": "true" }, lines, nodes);
}

// Three small SVG charts: stacked bars over time, values with intervals, and a line.
// Each is a figure with a summary for screen readers and a table of its numbers.

import { h, s } from "./dom.js";
import { number, t } from "./i18n.js";

const FRAME = { left: 42, right: 12, top: 10, bottom: 24 };

/** Return a figure, drawn again when its width changes. `draw(width, height)` returns SVG nodes; `table` is [heads, rows]. */
export function figure({ title, note = "", summary, legend = [], height = 190, draw, table, signal }) {
  const drawing = s("svg", { role: "img", "aria-label": summary, height });
  const plot = h("div", { class: "plot" }, drawing);
  const paint = () => {
    const width = Math.max(220, plot.clientWidth);
    drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
    drawing.setAttribute("width", width);
    drawing.replaceChildren(...draw(width, height));
  };
  const sized = new ResizeObserver(paint);
  sized.observe(plot);
  signal?.addEventListener("abort", () => sized.disconnect(), { once: true });
  const [heads, rows] = table;
  return h(
    "figure",
    { class: "chart" },
    h(
      "figcaption",
      {},
      h("h3", {}, title),
      note ? h("span", { class: "soft" }, note) : null,
      legend.length
        ? h(
            "span",
            { class: "legend" },
            legend.map(({ name, series }) => h("span", {}, h("i", { class: `fill-${series}` }), name)),
          )
        : null,
    ),
    plot,
    h(
      "details",
      { class: "numbers" },
      h("summary", {}, t("act.show_table")),
      h(
        "div",
        { class: "table-frame", tabindex: 0, role: "region", "aria-label": title },
        h(
          "table",
          {},
          h(
            "thead",
            {},
            h(
              "tr",
              {},
              heads.map((head) => h("th", { scope: "col" }, head)),
            ),
          ),
          h(
            "tbody",
            {},
            rows.map((row) =>
              h(
                "tr",
                {},
                row.map((cell) => h("td", {}, cell)),
              ),
            ),
          ),
        ),
      ),
    ),
  );
}

/** Round steps for an axis from `low` to `high`. */
export function stepsOf(low, high, wanted = 4) {
  const span = high - low || Math.abs(high) || 1;
  const rough = span / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough);
  const steps = [];
  for (let value = Math.floor(low / step + 1e-9) * step; value < high + step * 0.999; value += step)
    steps.push(Number(value.toPrecision(10)));
  return steps.length > 1 ? steps : [low, low + step];
}

/** Round steps for counts: whole numbers from 0 to at least `most`. */
function countSteps(most) {
  const step = Math.max(1, stepsOf(0, most, 3)[1]);
  return Array.from({ length: Math.ceil(most / Math.ceil(step)) + 1 }, (_, index) => index * Math.ceil(step));
}

function axes(width, height, steps, show = (value) => number(value, 3)) {
  const y = (value) => height - FRAME.bottom - ((value - steps[0]) / (steps.at(-1) - steps[0])) * (height - FRAME.top - FRAME.bottom);
  const lines = steps.map((value) => [
    s("line", { class: "grid", x1: FRAME.left, x2: width - FRAME.right, y1: y(value), y2: y(value) }),
    s("text", { class: "tick", x: FRAME.left - 7, y: y(value) + 4, "text-anchor": "end" }, show(value)),
  ]);
  return { y, lines: lines.flat() };
}

/** Labels along the bottom, as many as fit. */
function labels(positions, width, height, room = 64) {
  const every = Math.max(1, Math.ceil((positions.length * room) / (width - FRAME.left - FRAME.right)));
  return positions
    .filter((_, index) => (positions.length - 1 - index) % every === 0)
    .map(({ x, text }) => s("text", { class: "tick", x, y: height - 6, "text-anchor": "middle" }, text));
}

/** Stacked bars: `buckets` are {label, counts: [one for each series]}. */
export function bars(buckets, width, height) {
  const most = Math.max(1, ...buckets.map(({ counts }) => counts.reduce((a, b) => a + b, 0)));
  const { y, lines } = axes(width, height, countSteps(most), number);
  const slot = (width - FRAME.left - FRAME.right) / buckets.length;
  const nodes = [...lines];
  const positions = [];
  buckets.forEach(({ label, counts }, index) => {
    const x = FRAME.left + slot * index;
    positions.push({ x: x + slot / 2, text: label });
    let sum = 0;
    counts.forEach((count, series) => {
      if (!count) return;
      nodes.push(
        s(
          "rect",
          {
            class: `fill-${series + 1}`,
            x: x + Math.min(2, slot * 0.12),
            width: Math.max(1, slot - Math.min(4, slot * 0.24)),
            y: y(sum + count),
            height: y(sum) - y(sum + count),
            rx: 1.5,
          },
          s("title", {}, `${label}: ${count}`),
        ),
      );
      sum += count;
    });
  });
  return [...nodes, ...labels(positions, width, height)];
}

/** Values with intervals: `rows` are {label, value, low, high, mark, href}; `reference` is a line across. */
export function intervals(rows, width, height, reference, show) {
  const { y, lines } = axes(width, height, [0, 0.25, 0.5, 0.75, 1], show);
  const slot = (width - FRAME.left - FRAME.right) / rows.length;
  const positions = rows.map(({ label }, index) => ({ x: FRAME.left + slot * (index + 0.5), text: label }));
  return [
    ...lines,
    s("line", { class: "reference", x1: FRAME.left, x2: width - FRAME.right, y1: y(reference), y2: y(reference) }),
    ...rows.flatMap(({ value, low, high, mark, label }, index) => {
      const { x } = positions[index];
      return [
        s("line", { class: `whisker ${mark}`, x1: x, x2: x, y1: y(high), y2: y(low) }),
        s(
          "circle",
          { class: `point ${mark}`, cx: x, cy: y(value), r: 5 },
          s("title", {}, `${label}: ${show(value)} (${show(low)}–${show(high)})`),
        ),
      ];
    }),
    ...labels(positions, width, height, 34),
  ];
}

/** A line through `points` {x, y, label}, evenly spaced when `even`. */
export function line(points, width, height, { series = 1, dots = false, even = true, show } = {}) {
  const values = points.map((point) => point.y);
  const low = Math.min(...values);
  const high = Math.max(...values);
  const { y, lines } = axes(width, height, stepsOf(Math.min(low, high - Math.abs(high) * 0.02), high, 3), show);
  const first = points[0].x;
  const span = points.at(-1).x - first || 1;
  const inside = width - FRAME.left - FRAME.right;
  const pad = dots ? 14 : 0;
  const x = (point, index) =>
    FRAME.left + pad + (inside - 2 * pad) * (even ? index / Math.max(1, points.length - 1) : (point.x - first) / span);
  const path = points.map((point, index) => `${index ? "L" : "M"}${x(point, index).toFixed(1)} ${y(point.y).toFixed(1)}`).join("");
  return [
    ...lines,
    s("path", { class: `stroke-${series}`, d: path }),
    ...points
      .map((point, index) =>
        dots || points.length === 1
          ? s(
              "circle",
              { class: `dot-${series}`, cx: x(point, index), cy: y(point.y), r: 3.5 },
              s("title", {}, `${point.label}: ${show ? show(point.y) : number(point.y, 3)}`),
            )
          : null,
      )
      .filter(Boolean),
    ...labels(
      points.map((point, index) => ({ x: x(point, index), text: point.label })),
      width,
      height,
      40,
    ),
  ];
}

// The sign of Attune: a wave that finds its pitch. Noise on the left, a clean tone on the right.

import { s } from "./dom.js";

/** The wave as a drawing, `width` by `height` units. */
export function wave(width = 220, height = 44) {
  const middle = height / 2;
  const at = (x) => {
    const place = x / width;
    const tone = Math.sin(place * Math.PI * 9);
    const noise = Math.sin(place * 151) * 0.5 + Math.sin(place * 97 + 2) * 0.5 + Math.sin(place * 43 + 1) * 0.5;
    const tuned = 1 / (1 + Math.exp(-12 * (place - 0.42)));
    const fade = Math.min(1, place * 6, (1 - place) * 6);
    return middle - fade * (tuned * tone * 0.72 + (1 - tuned) * noise * 0.62) * middle;
  };
  const points = Array.from({ length: width + 1 }, (_, x) => `${x === 0 ? "M" : "L"}${x} ${at(x).toFixed(2)}`).join("");
  return s(
    "svg",
    { class: "wave", viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" },
    s("path", { d: points, pathLength: 1 }),
  );
}

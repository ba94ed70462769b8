// Attune's logo: a wave that turns from noise on the left into a clean tone on the right.

import { s } from "./dom.js";

/** Return the logo as SVG, `width` by `height` units. */
export function logo(width = 220, height = 44) {
  const middle = height / 2;
  const at = (x) => {
    const part = x / width;
    const tone = Math.sin(part * Math.PI * 9);
    const noise = Math.sin(part * 151) * 0.5 + Math.sin(part * 97 + 2) * 0.5 + Math.sin(part * 43 + 1) * 0.5;
    const tuned = 1 / (1 + Math.exp(-12 * (part - 0.42)));
    const fade = Math.min(1, part * 6, (1 - part) * 6);
    return middle - fade * (tuned * tone * 0.72 + (1 - tuned) * noise * 0.62) * middle;
  };
  const points = Array.from({ length: width + 1 }, (_, x) => `${x === 0 ? "M" : "L"}${x} ${at(x).toFixed(2)}`).join("");
  return s(
    "svg",
    { class: "wave", viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" },
    s("path", { d: points, pathLength: 1 }),
  );
}

// The icons, on a 24-unit grid with one stroke width.

import { s } from "./dom.js";

const PATHS = {
  plus: "M12 5v14M5 12h14",
  close: "M6 6l12 12M18 6L6 18",
  menu: "M4 7h16M4 12h16M4 17h10",
  search: "M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14ZM20 20l-4-4",
  send: "M12 19V5M6 11l6-6 6 6",
  stop: "M7.5 7.5h9v9h-9z",
  up: "M7 11v9H4v-9zM7 11l4-7c1.5 0 2.5 1 2.5 2.500V10H19a1.5 1.5 0 0 1 1.5 1.800l-1.3 6.700A2 2 0 0 1 17.2 20H7",
  down: "M17 13V4h3v9zM17 13l-4 7c-1.5 0-2.5-1-2.5-2.500V14H5a1.5 1.5 0 0 1-1.5-1.800l1.3-6.700A2 2 0 0 1 6.8 4H17",
  copy: "M9 9h10v11H9zM15 9V4H5v11h4",
  check: "M5 12.500l4.5 4.500L19 7.5",
  again: "M19 8a8 8 0 1 0 1 5M20 4v5h-5",
  pen: "M4 20l1-4L16 5l3 3L8 19zM14 7l3 3",
  sides: "M4 5h6.500v14H4zM13.5 5H20v14h-6.500z",
  trash: "M5 7h14M9 7V4.500h6V7M7 7l1 13h8l1-13",
  chat: "M4 5h16v11H10l-4 4v-4H4z",
  versions: "M7 5.500v9M7 5.500a1.5 1.5 0 1 0 0-.01M7 17.500a1.5 1.5 0 1 0 0-.01M17 8.500a1.5 1.5 0 1 0 0-.01M17 10.500c0 4-10 2-10 5",
  learning: "M3 12c2-7 4-7 6 0s4 7 6 0 4-7 6 0",
  settings: "M4 8h9M17 8h3M4 16h3M11 16h9M15 6v4M9 14v4",
  left: "M14 6l-6 6 6 6",
  right: "M10 6l6 6-6 6",
  warn: "M12 4l9 16H3zM12 10v4M12 17v.01",
  pause: "M9 6v12M15 6v12",
  play: "M8 5l11 7-11 7z",
  bolt: "M13 3L5 14h6l-1 7 8-11h-6z",
  back: "M9 7L4 12l5 5M4 12h11a5 5 0 0 1 0 10h-1",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8M12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.4 1.400M17.6 17.600L19 19M19 5l-1.4 1.400M6.4 17.600L5 19",
  moon: "M20 14.500A8.5 8.5 0 1 1 9.5 4a7 7 0 0 0 10.5 10.500z",
  down_small: "M7 10l5 5 5-5",
};

/** Return a decorative icon; its control carries the name. */
export function icon(name, size = 18) {
  return s("svg", { class: "icon", viewBox: "0 0 24 24", width: size, height: size, "aria-hidden": "true" }, s("path", { d: PATHS[name] }));
}

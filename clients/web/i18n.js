// The page's texts in English and Chinese. A text with "|" has a form for one and a form for many, chosen by {n}.

import { recall, keep } from "./storage.js";
import { en } from "./locales/en.js";
import { zh } from "./locales/zh.js";

const TEXTS = { en, zh };
export let language = "en";

/** Return the person's choice: "auto", "en" or "zh". */
export const chosenLanguage = () => recall("language", "auto");

export function chooseLanguage(choice) {
  keep("language", choice === "auto" ? null : choice);
  applyLanguage();
}

export function applyLanguage() {
  const wish = chosenLanguage();
  const browser = (navigator.languages ?? [navigator.language]).find((tag) => /^(en|zh)/i.test(tag)) ?? "en";
  language = wish === "auto" ? browser.slice(0, 2).toLowerCase() : wish;
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
}

/** Return the text of a key, with {names} filled in. */
export function t(key, values = {}) {
  let text = TEXTS[language][key] ?? TEXTS.en[key] ?? key;
  if (text.includes("|")) {
    const [one, many] = text.split("|");
    text = values.n === 1 ? one : many;
  }
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}

/** Return the text of a name, or the name itself if the page has no text for it. */
export const named = (prefix, name) => (`${prefix}.${name}` in TEXTS.en ? t(`${prefix}.${name}`) : String(name).replaceAll("_", " "));

const locale = () => (language === "zh" ? "zh-CN" : "en-GB");
export const number = (value, digits = 0) => new Intl.NumberFormat(locale(), { maximumFractionDigits: digits }).format(value);
export const percent = (value) => new Intl.NumberFormat(locale(), { style: "percent", maximumFractionDigits: 0 }).format(value);
export const clock = (when) =>
  new Intl.DateTimeFormat(locale(), { hour: "2-digit", minute: "2-digit", hourCycle: "h23" }).format(new Date(when));
export const dateTime = (when) =>
  new Intl.DateTimeFormat(locale(), { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" }).format(
    new Date(when),
  );

/** Return how long ago a time is; `style` "short" abbreviates the unit. */
export function ago(when, style = "long") {
  const seconds = Math.max(0, (Date.now() - new Date(when)) / 1000);
  if (seconds < 45) return t("time.now");
  const [value, unit] = seconds < 3600 ? [seconds / 60, "minute"] : seconds < 86400 ? [seconds / 3600, "hour"] : [seconds / 86400, "day"];
  return new Intl.RelativeTimeFormat(locale(), { numeric: "auto", style }).format(-Math.max(1, Math.round(value)), unit);
}

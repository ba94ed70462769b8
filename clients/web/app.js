// The start of the page: it builds the frame, knows the routes and mounts the screens.

import { mountChat } from "./chat.js";
import { $, h, show } from "./dom.js";
import { discoverRoutes } from "./capabilities.js";
import { follow } from "./events.js";
import { startFeedback } from "./feedback.js";
import { history } from "./history.js";
import { applyLanguage, t } from "./i18n.js";
import { icon } from "./icons.js";
import { watchForKey } from "./key_dialog.js";
import { learningScreen } from "./learning.js";
import { settingsScreen } from "./settings.js";
import { set } from "./state.js";
import { mountStrip } from "./status_strip.js";
import { versionsScreen } from "./versions.js";
import { logo } from "./logo.js";

const SCREENS = { chat: null, versions: versionsScreen, learning: learningScreen, settings: settingsScreen };
let frameLife = new AbortController();
let screenLife = new AbortController();
let chat = null;
let past = null;

/** Build everything in the chosen language; called again when the language changes. */
export function mount() {
  applyLanguage();
  chat?.stopAll();
  frameLife.abort();
  frameLife = new AbortController();
  const { signal } = frameLife;
  document.title = "Attune";
  $(".skip").textContent = t("nav.skip");
  past = history({ open: (id) => (location.hash = `#/chat/${id}`), deleted }, signal);
  show(
    $("#side"),
    h(
      "div",
      { class: "brand" },
      logo(46, 22),
      h("span", {}, "Attune"),
      h(
        "button",
        { class: "quiet icon-only drawer-close", type: "button", "aria-label": t("act.close"), onclick: closeDrawer },
        icon("close"),
      ),
    ),
    h("a", { class: "button new-chat", href: "#/chat", onclick: () => chat.startNew() }, icon("plus"), t("act.new_chat")),
    h("nav", { class: "tabs", "aria-label": t("nav.main") }, Object.keys(SCREENS).map(tab)),
    past.node,
  );
  show($("#tabbar"), Object.keys(SCREENS).map(tab));
  const opener = $("#drawer-open");
  show(opener, icon("menu", 20));
  opener.setAttribute("aria-label", t("nav.conversations"));
  opener.onclick = () => (document.body.classList.add("drawer"), $("#side .search input").focus());
  $("#veil").onclick = closeDrawer;
  const room = $("#chat");
  mountStrip($("#strip"), $("#banner"), signal);
  chat = mountChat(room, { saved: () => past.refresh(), began: (id) => (replaceAddress(`#/chat/${id}`), past.mark(id)) }, signal);
  watchForKey(signal);
  go();
}

const replaceAddress = (hash) => window.history.replaceState(null, "", hash);

function tab(name) {
  return h("a", { class: "tab", href: `#/${name}`, dataset: { tab: name } }, icon(name, 19), h("span", {}, t(`nav.${name}`)));
}

function closeDrawer() {
  if (!document.body.classList.contains("drawer")) return;
  document.body.classList.remove("drawer");
  $("#drawer-open").focus();
}

function deleted(id) {
  chat.forget(id);
  if (chat.current() === id) {
    location.hash = "#/chat";
    chat.startNew();
  }
}

/** Show the screen that the address names. */
function go() {
  const [, name = "chat", detail, part] = location.hash.split("/");
  const screen = name in SCREENS ? name : "chat";
  document.body.classList.remove("drawer");
  document.body.dataset.screen = screen;
  for (const link of document.querySelectorAll("[data-tab]")) {
    if (link.dataset.tab === screen) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
    if (link.dataset.tab === "chat") link.href = `#/chat/${chat.current()}`; // the open conversation
  }
  screenLife.abort();
  screenLife = new AbortController();
  $("#chat").hidden = screen !== "chat";
  const room = $("#screen");
  room.hidden = screen === "chat";
  if (screen === "chat") {
    show(room);
    openChat(detail);
  } else {
    SCREENS[screen](room, { detail, part, signal: screenLife.signal, mount, chatWith });
    room.scrollTop = 0;
  }
  $("#title").textContent = t(`nav.${screen}`);
  document.title = screen === "chat" ? "Attune" : `${t(`nav.${screen}`)} · Attune`;
}

function openChat(id) {
  if (id) chat.open(decodeURIComponent(id));
  else chat.startNew();
  past.mark(id ?? null);
}

/** Start a conversation with one version, whichever is live. */
function chatWith(model) {
  location.hash = "#/chat";
  setTimeout(() => chat.startNew(model));
}

addEventListener("hashchange", go);
addEventListener("keydown", (event) => {
  if (event.key === "Escape") closeDrawer();
});
set("connection", "online");
mount();
startFeedback();
follow();
discoverRoutes();

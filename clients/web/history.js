// The list of conversations, of the service and of this browser, with search and deletion.

import { ApiError, getJson, send } from "./api.js";
import { forgetChat } from "./conversation.js";
import { confirmed, notice } from "./dialog.js";
import { h, show } from "./dom.js";
import { icon } from "./icons.js";
import { t } from "./i18n.js";
import { get, has, watch } from "./state.js";
import { recall } from "./storage.js";

const RETRY_MS = [1000, 3000, 10000, 30000]; // after the first failure, the second one, ...

/** Build the list. `on` is {open(id), deleted(id)}. Returns {node, refresh(), mark(id)}. */
export function history(on, signal) {
  let rows = [];
  let current = null;
  let cursor = null;
  let problem = null;
  let loaded = false;
  let asked = 0;
  let timer = 0;
  let failures = 0;
  const field = h("input", {
    class: "field",
    type: "search",
    placeholder: t("history.search"),
    "aria-label": t("history.search"),
    oninput: () => (clearTimeout(timer), (timer = setTimeout(refresh, 180))),
  });
  const list = h("div", { class: "history-list" });
  const node = h(
    "section",
    { class: "history", "aria-label": t("history.title") },
    h("div", { class: "search" }, icon("search", 15), field),
    list,
  );

  async function refresh(more = false) {
    const turn = (asked += 1);
    clearTimeout(timer);
    const search = field.value.trim();
    const query = new URLSearchParams({ limit: "50", ...(search ? { search } : {}), ...(more === true && cursor ? { cursor } : {}) });
    try {
      if (!has("GET /v1/conversations")) throw new ApiError("", { status: 404 });
      const page = await getJson(`/v1/conversations?${query}`);
      if (turn !== asked) return;
      rows = more === true ? [...rows, ...page.data] : page.data;
      cursor = page.next_cursor;
      problem = null;
      failures = 0;
    } catch (error) {
      if (turn !== asked) return;
      problem = error.status === 404 || error.status === 501 ? null : error;
      cursor = null;
      rows = loaded && !search ? rows : [];
      if (problem?.isPassing && !signal.aborted) timer = setTimeout(refresh, RETRY_MS[Math.min(failures++, RETRY_MS.length - 1)]);
    }
    loaded = true;
    draw();
  }

  function draw() {
    const search = field.value.trim().toLowerCase();
    const here = recall("chats", []).filter((one) => !search || one.title.toLowerCase().includes(search));
    const known = new Set(rows.map((row) => row.id));
    const all = [...here.filter((one) => !known.has(one.id)), ...rows].sort((a, b) => (b.updated_at > a.updated_at ? 1 : -1));
    if (!all.length) {
      show(
        list,
        h(
          "p",
          { class: "empty" },
          !loaded ? t("state.loading") : problem ? t("history.problem") : search ? t("history.none_found") : t("history.empty"),
        ),
      );
      return;
    }
    const groups = Map.groupBy ? Map.groupBy(all, (row) => groupOf(row.updated_at)) : grouped(all);
    show(
      list,
      [...groups].map(([name, members], index) => [
        h("h3", { class: "group", id: `group-${index}` }, t(`history.${name}`)),
        h("ul", { "aria-labelledby": `group-${index}` }, members.map(item)),
      ]),
      cursor ? h("button", { class: "quiet small", type: "button", onclick: () => refresh(true) }, t("history.more")) : null,
    );
  }

  function item(row) {
    const title = row.title || t("history.untitled");
    return h(
      "li",
      {},
      h("a", { href: `#/chat/${row.id}`, class: "history-item", "aria-current": row.id === current ? "page" : null, title }, title),
      h(
        "button",
        {
          class: "quiet icon-only small",
          type: "button",
          "aria-label": t("history.delete", { title }),
          title: t("act.delete"),
          onclick: () => remove(row, title),
        },
        icon("trash", 15),
      ),
    );
  }

  async function remove(row, title) {
    if (
      !(await confirmed({
        title: t("history.delete_title"),
        text: t("history.delete_text", { title }),
        action: t("act.delete"),
        danger: true,
      }))
    )
      return;
    try {
      if (known(row.id)) await send("DELETE", `/v1/conversations/${encodeURIComponent(row.id)}`);
    } catch (error) {
      if (error.status !== 404) return notice(t("history.not_deleted", { why: error.message }), { kind: "error" });
    }
    forgetChat(row.id);
    rows = rows.filter((one) => one.id !== row.id);
    draw();
    on.deleted(row.id);
    return undefined;
  }
  const known = (id) => rows.some((row) => row.id === id);

  watch("connection", () => get("connection") === "online" && refresh(), signal);
  watch("routes", draw, signal);
  signal.addEventListener("abort", () => clearTimeout(timer), { once: true });
  return {
    node,
    refresh,
    mark(id) {
      current = id;
      draw();
    },
  };
}

function groupOf(when) {
  const midnight = new Date().setHours(0, 0, 0, 0);
  const days = (midnight - new Date(when)) / 86_400_000;
  return days <= 0 ? "today" : days <= 1 ? "yesterday" : days <= 7 ? "week" : "older";
}

function grouped(rows) {
  const groups = new Map();
  for (const row of rows) groups.set(groupOf(row.updated_at), [...(groups.get(groupOf(row.updated_at)) ?? []), row]);
  return groups;
}

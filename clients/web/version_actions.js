// Which version answers: making one live, a trial with a share of the conversations, and rolling back.

import { postJson } from "./api.js";
import { confirmed } from "./dialog.js";
import { h } from "./dom.js";
import { percent, t } from "./i18n.js";
import { icon } from "./icons.js";
import { radioGroup } from "./radio_group.js";
import { get, has, liveVersion } from "./state.js";

const SHARES = [0.05, 0.1, 0.25, 0.5];
const ALL = "1";

/** Return buttons for what a version's state and this key allow. `perform(work, done)` runs the work and shows `done`. */
export function versionActions(version, perform, chatWith) {
  const live = liveVersion();
  const { version: n, state } = version;
  const mayPromote = get("admin") && has("POST /v1/versions/{}/promote");
  const isOlder = live && n < live.version;
  const canAnswer = state !== "rejected" && state !== "withdrawn";
  const canTry = canAnswer && state !== "live";
  return h(
    "div",
    { class: "row" },
    canAnswer ? button("chat", t("versions.chat"), () => chatWith(`attune@${n}`)) : null,
    get("admin") && isOlder && canAnswer && has("POST /v1/versions/rollback")
      ? button("back", t("versions.rollback"), () => rollBack(version, live, perform))
      : null,
    mayPromote && state === "canary" ? button("close", t("versions.end_canary"), () => endCanary(version, perform)) : null,
    mayPromote && isOlder && canTry && state !== "canary"
      ? button("versions", t("versions.try"), () => promote(version, perform, { share: SHARES[1] }))
      : null,
    mayPromote && state !== "live" && state !== "rejected" && (!isOlder || state === "canary")
      ? button("up", t("versions.promote"), () => promote(version, perform, { share: 1, canTry }), "primary")
      : null,
  );
}

const button = (shape, label, onclick, kind = "") =>
  h("button", { class: `button ${kind}`, type: "button", onclick }, icon(shape, 16), label);

async function rollBack({ version: n }, live, perform) {
  const isSure = await confirmed({
    title: t("versions.rollback_title", { v: n }),
    text: t("versions.rollback_text", { v: n, from: live.version }),
    action: t("versions.rollback"),
    danger: true,
  });
  if (isSure) perform(() => postJson("/v1/versions/rollback", { to: n }), t("versions.rolled_back", { v: n }));
}

async function endCanary({ version: n }, perform) {
  const isSure = await confirmed({
    title: t("versions.end_canary_title", { v: n }),
    text: t("versions.end_canary_text", { v: n, live: liveVersion()?.version }),
    action: t("versions.end_canary"),
    danger: true,
  });
  if (isSure) perform(() => postJson(`/v1/versions/${n}/promote`, { canary: 0 }), t("versions.canary_ended", { v: n }));
}

/** Ask who gets the version's answers, everybody or a share of the conversations, and send the request. */
async function promote({ version: n, share: present, state }, perform, { share, canTry = true }) {
  let chosen = String(state === "canary" && SHARES.includes(present) ? present : share);
  const shares = SHARES.map((one) => [String(one), percent(one)]);
  const options = share === 1 ? [...shares, [ALL, t("versions.everybody")]] : shares;
  const hint = h("p", { class: "soft share-hint" });
  const drawHint = () => (hint.textContent = chosen === ALL ? t("versions.promote_text", { v: n }) : t("versions.share_text", { v: n }));
  const control = radioGroup(t("versions.who"), "share", options, chosen, (value) => ((chosen = value), drawHint()));
  drawHint();
  const isSure = await confirmed({
    title: t(share === 1 ? "versions.promote_title" : "versions.try_title", { v: n }),
    action: t(share === 1 ? "versions.promote_do" : "versions.try"),
    extra: [canTry ? control : null, hint],
  });
  if (!isSure) return;
  if (chosen === ALL) perform(() => postJson(`/v1/versions/${n}/promote`, {}), t("versions.promoted", { v: n }));
  else perform(() => postJson(`/v1/versions/${n}/promote`, { canary: Number(chosen) }), t("versions.tried", { v: n, share: percent(chosen) }));
}

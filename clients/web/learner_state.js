// The learner's state as text: one home for the strip, the learning screen and the settings.

import { named, percent, t } from "./i18n.js";

export const isLearning = (learner) => learner?.state === "running" && Boolean(learner.run);

/** Return the state's name, such as "Idle". */
export const stateName = (learner) => t(`learner.${learner.state}`);

/** Return the share of an update's steps that are done, 0 to 1. */
export function shareDone(learner) {
  const { step, steps } = learner?.run ?? {};
  return steps ? Math.min(1, step / steps) : 0;
}

/** Whether a share is known: it is unknown before the first step and after the last one, in the gate. */
export const isCounted = (share) => share > 0 && share < 1;

/** Return {text, phase} of the update under way: what it learns from, and what it does with it. */
export function updateText({ run }) {
  return {
    text: run.items ? t("learner.learning_from", { n: run.items }) : t("learner.learning"),
    phase: named("phase", run.phase || "planned"),
  };
}

/** Return one sentence for the learning screen: the update's step, or when the next update starts. */
export function stateText(learner) {
  const { state, run, trigger } = learner;
  if (isLearning(learner)) {
    const { text, phase } = updateText(learner);
    return [text, phase, run.steps ? t("learner.step", run) : ""].filter(Boolean).join(" · ");
  }
  if (state === "preparing") return t("learner.preparing_text", learner.preparation);
  if (state === "paused") return t("learner.paused_text");
  if (state === "down") return t("learner.down_text");
  return trigger ? t("learner.idle_text", { items: trigger.items, seconds: trigger.seconds, min: trigger.min_items }) : t("learner.idle_plain");
}

/** Return the short text for the strip while no update is under way. `candidate` is a version that passed the gate. */
export function waitingText(learner, candidate) {
  if (candidate) return t("learner.going_live", { v: candidate.version });
  if (learner.state === "down") return t("learner.down_short");
  if (learner.state === "paused") return t("learner.paused_short");
  const seconds = learner.next_at ? Math.ceil((new Date(learner.next_at) - Date.now()) / 1000) : null;
  if (seconds !== null && seconds > 0 && learner.waiting) return t("learner.next_in", { n: seconds });
  if (learner.waiting >= (learner.trigger?.items ?? Infinity)) return t("learner.starting");
  if (learner.state === "preparing") return t("learner.preparing_short", { share: percent(learner.preparation.done / learner.preparation.total) });
  if (!learner.waiting) return t("learner.listening");
  const missing = (learner.trigger?.min_items ?? 0) - learner.waiting;
  return missing > 0 ? t("learner.more_needed", { n: missing }) : t("learner.soon");
}

/** Return the phase with its percentage, for the strip. */
export function phaseText(learner) {
  const share = shareDone(learner);
  return ` ${updateText(learner).phase}${isCounted(share) ? ` ${percent(share)}` : ""}`;
}

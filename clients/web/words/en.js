// English. "{n} piece|{n} pieces": the first form is for n = 1.
export const en = {
  "nav.main": "Main", "nav.skip": "Skip to the content", "nav.chat": "Chat", "nav.versions": "Versions", "nav.learning": "Learning", "nav.settings": "Settings",
  "nav.conversations": "Conversations and menu",
  "act.new_chat": "New chat", "act.close": "Close", "act.cancel": "Cancel", "act.copy": "Copy", "act.copied": "Copied", "act.done": "Done", "act.send": "Send", "act.stop": "Stop",
  "act.edit": "Edit your question", "act.correct": "Correct this answer", "act.regenerate": "Answer again", "act.compare_this": "Compare two answers to this", "act.try_again": "Try again",
  "act.ask_again": "Ask again", "act.undo": "Undo", "act.delete": "Delete", "act.previous": "Previous answer", "act.next": "Next answer", "act.show_table": "Show as a table",
  "time.now": "just now", "list.comma": ", ", "state.loading": "Loading…", "state.failed": "This could not be loaded: {why}", "md.table": "Table", "md.code": "Code",

  "welcome.title": "Ask, then say what you think.", "welcome.lead": "Every thumb, correction and choice between two answers teaches the model that answers you. Within a minute you talk to a version that learned from it.",
  "welcome.examples": "Examples", "welcome.example_one": "What is the capital of Japan?", "welcome.example_two": "Sort these: pear, apple, fig.", "welcome.example_three": "Tell me a joke.", "welcome.example_four": "How many days are in a week?",

  "composer.label": "Your message", "composer.placeholder": "Write a message", "composer.hint": "Enter sends, Shift+Enter starts a new line", "composer.compare": "Compare two answers",
  "composer.compare_hint": "While this is on, each message gets two answers, and you say which is better", "composer.pinned": "Talking to {model}", "composer.unpin": "Talk to the live version again",

  "chat.log": "Conversation", "chat.exchange": "Question and answer", "chat.you": "You", "chat.attune": "Attune", "chat.writing": "Writing", "chat.answered": "Answer: {text}", "chat.stopped": "Stopped.",
  "chat.broken": "The connection broke in the middle of the answer. Your question is kept.", "chat.waiting": "The service does not answer. Your question is kept and is asked as soon as it is back.",
  "chat.busy": "The service is busy. It is asked again in a moment.", "chat.unanswered": "This question has no answer yet.", "chat.empty_answer": "The answer is empty.", "chat.by_version": "Answered by version {v}",
  "chat.answers": "Answers to this question", "chat.gone": "This conversation is not there any more.", "chat.not_loaded": "This conversation could not be loaded: {why}",

  "thumb.up": "Good answer", "thumb.down": "Bad answer", "thumb.noted": "Noted", "thumb.taken_back": "Taken back", "thumb.thanks": "Thank you, that will be learned from.",
  "reason.title": "Why", "reason.up": "What was good?", "reason.down": "What was wrong?", "reason.optional": "optional", "reason.comment": "Anything to add?",
  "reason.correct": "Correct", "reason.helpful": "Helpful", "reason.clear": "Clear", "reason.style": "Style", "reason.wrong": "Wrong", "reason.unhelpful": "Not helpful", "reason.unsafe": "Unsafe",
  "reason.too_long": "Too long", "reason.too_short": "Too short", "reason.refused": "Refused", "reason.other": "Other",
  "correct.label": "The answer as it should have been", "correct.hint": "Write the answer as it should have been. It is one of the strongest things to learn from.", "correct.save": "Save correction",
  "correct.saved": "Correction saved", "correct.mark": "Corrected by you", "feedback.refused": "The service did not take that: {why}",
  "better.ask": "Better than before?", "better.better": "Better", "better.worse": "Worse", "better.same": "About the same",

  "compare.title": "Two answers side by side", "compare.which": "Which answer is better?", "compare.blind": "You will see who wrote which after you choose.", "compare.writing": "Writing two answers…", "compare.ready": "Two answers are ready. Which is better?",
  "compare.answer": "Answer {label}", "compare.A": "A is better", "compare.B": "B is better", "compare.tie": "About the same", "compare.both_bad": "Both are bad",
  "compare.said_A": "You chose A.", "compare.said_B": "You chose B.", "compare.said_tie": "You found them about the same.", "compare.said_both_bad": "You found both bad.",
  "compare.both_by": "Version {v} wrote both.", "compare.by_each": "A was version {a}, B was version {b}.", "compare.naming": "Sending…", "compare.see_other": "See the other answer",
  "nudge.title": "Would you compare two answers?", "nudge.text": "Choosing between two answers to this question teaches more than ten thumbs.", "nudge.yes": "Compare", "nudge.no": "Not now", "nudge.never": "Do not ask again",

  "history.title": "Conversations", "history.search": "Search conversations", "history.empty": "Your conversations will be listed here.", "history.none_found": "Nothing found.", "history.problem": "The list could not be loaded.",
  "history.today": "Today", "history.yesterday": "Yesterday", "history.week": "This week", "history.older": "Older", "history.untitled": "Untitled", "history.more": "Show more", "history.delete": "Delete “{title}”",
  "history.delete_title": "Delete this conversation?", "history.delete_text": "“{title}” disappears from the list. What was learned from it stays learned.", "history.not_deleted": "It could not be deleted: {why}",

  "strip.version": "Version {v}", "strip.since": "went live {ago}", "strip.waiting": "{n} of {of} pieces of feedback until the next update", "strip.count": "{n} of {of}", "strip.progress": "Progress of the update",
  "strip.learning_from": "Learning from {n} piece of feedback|Learning from {n} pieces of feedback", "strip.learning": "Learning", "strip.down": "The learner is not running; answers go on", "strip.paused": "Learning is paused",
  "strip.next_in": "Learns in {n} second|Learns in {n} seconds", "strip.going_live": "Version {v} passed the gate and goes live", "strip.starting": "An update is about to begin", "strip.listening": "Listening for feedback", "strip.more_needed": "{n} more and it learns soon", "strip.soon": "Learns soon",
  "strip.swapped_from": "Now talking to version {v}, learned from {n} piece of feedback.|Now talking to version {v}, learned from {n} pieces of feedback.", "strip.swapped": "Now talking to version {v}.", "strip.back": "Back to version {v}.", "strip.what_changed": "What changed?",
  "phase.planned": "about to begin", "phase.load": "loading", "phase.loading": "loading", "phase.examples": "reading feedback", "phase.prepare": "reading feedback", "phase.reference": "reading feedback", "phase.rollouts": "trying answers", "phase.train": "training", "phase.training": "training", "phase.save": "saving", "phase.saving": "saving", "phase.publish": "saving", "phase.gate": "checking",

  "offline.title": "The service does not answer.", "offline.text": "What you type and say is kept, and the page connects again by itself.", "offline.now": "Try now", "offline.back": "Connected again",
  "key.title": "This service wants an API key", "key.text": "Ask whoever runs it, or make one with: attune keys create. It is kept in this browser only.", "key.label": "API key", "key.save": "Use this key", "key.refused": "This key is not known.",

  "versions.lead": "Each update makes a version. It answers people only after it passed the gate.", "versions.empty": "There are no versions yet.", "versions.list": "All versions", "versions.back": "All versions",
  "versions.base": "The base model", "versions.from": "on top of version {v}", "versions.items": "{n} piece of feedback|{n} pieces of feedback", "versions.learned_from": "Learned from {n} piece of feedback|Learned from {n} pieces of feedback",
  "versions.answers": "Answers", "versions.thumbs": "Thumbs", "versions.thumbs_value": "{up} up, {down} down", "versions.win_rate": "Win rate", "versions.compared": "{n} comparison|{n} comparisons", "versions.no_comparisons": "not compared yet", "versions.made": "Made", "versions.parent": "Parent", "versions.algorithm": "Method", "versions.digest": "Digest", "versions.time": "Time taken", "versions.seconds": "{n} s", "versions.share": "{share} of the traffic",
  "vstate.candidate": "candidate", "vstate.rejected": "rejected", "vstate.canary": "canary", "vstate.live": "live", "vstate.retired": "retired", "vstate.withdrawn": "withdrawn",
  "versions.promote": "Make it live", "versions.rollback": "Roll back to this", "versions.rollback_from": "Roll back", "versions.chat": "Chat with it",
  "versions.promote_title": "Make version {v} live?", "versions.promote_text": "New answers come from version {v}. Answers under way end on the version that they began on.", "versions.promoted": "Version {v} is live.",
  "versions.rollback_title": "Roll back to version {v}?", "versions.rollback_text": "New answers come from version {v}, and version {from} is withdrawn. Nothing is dropped.", "versions.rolled_back": "Rolled back to version {v}.", "versions.not_done": "That did not work: {why}",
  "gate.title": "Gate", "gate.passed": "Passed every check", "gate.failed": "Did not pass", "gate.none": "No report yet.", "gate.base": "The base model needs no gate.", "gate.check": "Check", "gate.value": "Value", "gate.limit": "Limit", "gate.result": "Result", "gate.ok": "passed", "gate.bad": "failed",
  "check.win_rate": "Win rate on held-out feedback", "check.heldout": "Held-out feedback", "check.held_out_accuracy": "Held-out accuracy", "check.heldout_accuracy": "Held-out accuracy", "check.kl": "Drift from the base (KL)", "check.drift": "Drift", "check.length": "Length of answers", "check.length_ratio": "Length of answers, ratio", "check.retention": "What it knew before", "check.skills": "Skills with a known truth", "check.finite": "All numbers are finite", "check.nan": "All numbers are finite", "check.kl_to_live": "Drift from the live version (KL)", "check.kl_to_base": "Drift from the base model (KL)", "check.retention_kl": "What it knew before (KL)", "check.endless_rise": "More answers without an end", "check.empty_rise": "More empty answers", "check.weights_finite": "All weights are finite", "check.held_out_gain": "Gain on held-out feedback", "check.reward": "Reward model", "check.repetition": "Repetition",
  "samples.title": "Before and after", "samples.text": "The same questions, answered by both. Differing words are marked.", "samples.against": "Compare with", "samples.version": "Version {v}", "samples.load": "Let both answer", "samples.loading": "Both versions are answering…", "samples.same": "The same answer", "samples.empty": "There is nothing to compare yet.",
  "made_by.title": "What made it", "made_by.none": "Its feedback is not listed.", "kind.thumb": "thumb|thumbs", "kind.score": "score|scores", "kind.correction": "correction|corrections", "kind.preference": "preference|preferences", "kind.choice": "choice|choices",

  "learning.lead": "What people say turns into examples, examples into a version, and the gate decides.", "learning.now": "Right now", "learning.idle": "Idle", "learning.running": "Learning", "learning.paused": "Paused", "learning.down": "Not running",
  "learning.idle_text": "Waiting for feedback: an update begins with {items} pieces, or {seconds} s after the first when there are at least {min}.", "learning.idle_plain": "Waiting for feedback.", "learning.paused_text": "Feedback is still taken and waits until learning is resumed.", "learning.down_text": "The learner does not answer. The service goes on without it and starts it again.",
  "learning.update": "Update now", "learning.pause": "Pause", "learning.resume": "Resume", "learning.asked": "The learner was told.", "learning.waiting": "Waiting", "learning.seen": "Feedback in all", "learning.versions": "Versions", "learning.live": "Live version",
  "learning.step": "step {step} of {steps}", "learning.loss_now": "Loss of this update", "learning.loss_last": "Loss of the last update", "learning.last": "Last update: {what}, {when}", "learning.last_made": "made version {v}", "learning.last_none": "made no version", "learning.last_failed": "failed: {why}",
  "chart.feedback": "Feedback over time", "chart.feedback_none": "No feedback yet. Thumbs and choices show up here as they come.", "chart.win_rate": "Win rate by version", "chart.win_rate_note": "Comparisons won against other versions, with the 95 % interval", "chart.win_rate_none": "No version has been compared with another yet.",
  "chart.metric_none": "Shown once there are updates.", "chart.by_version": "by version", "chart.step": "step", "chart.version": "Version", "chart.value": "Value", "chart.time": "Time", "chart.interval": "Interval", "chart.range": "from {low} to {high}",
  "metric.loss": "Loss", "metric.kl": "Drift from the reference (KL)", "metric.accuracy": "Held-out accuracy", "metric.reward": "Reward", "metric.seconds": "Seconds per update",

  "settings.lead": "How this page looks, and what runs behind it.", "settings.look": "This page", "settings.language": "Language", "settings.auto": "Automatic", "settings.theme": "Theme", "settings.light": "Light", "settings.dark": "Dark", "settings.nudges": "Ask me now and then to compare two answers", "settings.nudges_text": "At most four times a day.",
  "settings.key": "API key", "settings.key_set": "A key is kept in this browser.", "settings.key_none": "None is needed here, or none is set.", "settings.key_change": "Set a key", "settings.key_forget": "Forget it",
  "settings.runs": "What runs", "settings.model": "Base model", "settings.live": "Live version", "settings.versions": "Versions", "settings.device": "Device", "settings.learner": "Learner", "settings.algorithm": "Method", "settings.trigger": "Update begins", "settings.trigger_text": "with {items} pieces, or {seconds} s after the first of at least {min}", "settings.digest": "Digest", "settings.docs": "API reference", "settings.health": "Health",
  "settings.export": "Take your data with you", "settings.export_text": "All feedback as JSON Lines, as TRL reads it.", "export.preference": "Preferences", "export.unpaired": "Single ratings", "export.sft": "Corrections", "export.raw": "Everything, raw",
};

"""Who a row is about: what is taken out of versions, runs and events for callers who are no admins. Pure."""

import re
from typing import Any

from service.auth import Caller
from store.completions import Completion
from store.events import Event

OWN_KINDS = ("completion", "feedback")  # events that are about one rater, whom `data.rater` names
PUBLIC_KINDS = ("version", "run", "learner", "slot")  # the first part of the kinds of events that everybody sees
ADMIN_KINDS = ("rater",)  # the first part of the kinds that name a rater, for admins alone
# The last part of a field's name: `trust.gold_raters` is one too. `left_out` has the ids of people's feedback.
_FIELDS = {"rater", "raters", "gold_raters", "left_out"}
_BY_SOMEBODY = re.compile(r"(promoted|rolled back) by .*", re.DOTALL)


def event_for(event: Event, caller: Caller) -> Event | None:
    """Return an event as the caller sees it, None if it does not exist for them.

    An admin sees everything. Others see events of their own answers and feedback, and without names those of versions
    and runs. An event of an unknown kind, or of an unknown rater, is for admins.
    """
    if caller.may("admin"):
        return event
    is_own = event.kind in OWN_KINDS and event.data.get("rater") == caller.rater_id
    if not is_own and event.kind.partition(".")[0] not in PUBLIC_KINDS:
        return None
    return Event(event.seq, event.kind, without_names(event.data), event.created_at)


def for_caller(value: Any, caller: Caller) -> Any:
    """Return JSON as the caller may see it: without names, unless they are an admin."""
    return value if caller.may("admin") else without_names(value)


def without_names(value: Any) -> Any:
    """Return JSON without the fields that name raters or their rows, at any depth; a reason loses who gave it."""
    if isinstance(value, dict):
        return {name: without_names(inner) for name, inner in value.items() if name.split(".")[-1] not in _FIELDS}
    if isinstance(value, list):
        return [without_names(inner) for inner in value]
    by_somebody = _BY_SOMEBODY.fullmatch(value) if isinstance(value, str) else None
    return by_somebody[1] if by_somebody else value


def shown_rater(completion: Completion) -> str:
    """Return who asked for a completion, with the label that the request's `user` gave: `key:ID/user`."""
    tag = completion.settings.get("user")
    return f"{completion.rater_id}/{tag}" if tag else completion.rater_id

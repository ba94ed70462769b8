"""An answer asked for again: a weak word against the first one, kept without anybody having to say it. Pure but for the
store it looks into.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlite_utils import Database

from store.completions import Completion, get_completion
from store.errors import UnknownCompletion
from store.feedback import Feedback
from store.ids import new_id, now

REGENERATED_FROM = "regenerated_from"  # in a chat's metadata: the id of the answer that did not satisfy
REGENERATED_CHOICE = "regenerated_choice"  # which one, where `n` asked for several


def regeneration_of(db: Database, made: Completion, metadata: Mapping[str, Any]) -> Feedback | None:
    """Return the feedback that asking again is, None where `metadata` names no earlier answer of the same person to the
    same conversation.

    Metadata is the caller's own, so whatever does not fit is no error: it says nothing about an answer.
    """
    first_id, place = metadata.get(REGENERATED_FROM), str(metadata.get(REGENERATED_CHOICE, "0"))
    if not isinstance(first_id, str) or not (place.isascii() and place.isdecimal() and len(place) < 3):
        return None
    try:
        first = get_completion(db, first_id, int(place))
    except UnknownCompletion:
        return None
    if first.id == made.id or first.rater_id != made.rater_id or not _is_same_question(first.messages, made.messages):
        return None
    return Feedback(
        new_id("fb-"),
        "regenerate",
        made.rater_id,
        first.id,
        first.choice,
        now(),
        body_digest=f"regenerate {made.id}",
        other_completion_id=made.id,
        other_choice=made.choice,
    )


def _is_same_question(first: Sequence[Mapping[str, Any]], again: Sequence[Mapping[str, Any]]) -> bool:
    """Whether one conversation is the other; a long one may have lost its oldest turns in between, by the context of
    another version.
    """
    shorter = min(len(first), len(again))
    return shorter > 0 and list(first)[-shorter:] == list(again)[-shorter:]

"""An answer that was asked for again: implicit, weak feedback against the first answer.

Pure but for its reads from the store.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlite_utils import Database

from store.completions import Completion, get_completion
from store.errors import UnknownCompletion
from store.feedback import Feedback
from store.ids import new_id, now

REGENERATED_FROM = "regenerated_from"  # in a chat's metadata: the id of the answer that is replaced
REGENERATED_CHOICE = "regenerated_choice"  # which one, where `n` asked for several


def regeneration_of(db: Database, made: Completion, metadata: Mapping[str, Any]) -> Feedback | None:
    """Return the feedback that a regeneration implies, None unless `metadata` names the answer it replaces.

    That answer must be of the same rater, to the same conversation. Metadata is free, so what does not fit is no error.
    """
    first_id, choice = metadata.get(REGENERATED_FROM), str(metadata.get(REGENERATED_CHOICE, "0"))
    if not isinstance(first_id, str) or not (choice.isascii() and choice.isdecimal() and len(choice) < 3):
        return None
    try:
        first = get_completion(db, first_id, int(choice))
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
    """Whether both conversations end alike; another version's context may have dropped oldest turns of one of them."""
    shorter = min(len(first), len(again))
    return shorter > 0 and list(first)[-shorter:] == list(again)[-shorter:]

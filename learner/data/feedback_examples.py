"""Examples from feedback rows: what each kind of feedback becomes."""

import contextlib
import math
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from learner.data.examples import ASKED_AGAIN, CompletionTokens, Example, Kind, RenderCompletion, is_informative
from policy.thoughts import ThoughtMarks
from store.completions import Completion
from store.errors import UnknownCompletion
from store.feedback import Feedback

SAME_PROMPT_PAIR = 0.5  # share of a pair that two thumbs make, against a pair that somebody chose
ONE_SIDED_CHOICE = 0.5  # share of a thumb that a choice against another model's completion makes


class Examples(NamedTuple):
    """Examples, and by feedback id why a row is left out because something in it is damaged."""

    found: list[Example]
    left_out: dict[str, str]


def examples_of(
    feedback: Iterable[Feedback],
    completion_of: Callable[[str, int], Completion],
    render_completion: RenderCompletion,
    *,
    max_tokens: int,
    vocab_size: int | None = None,
    thoughts: ThoughtMarks | None = None,
) -> Examples:
    """Return the examples of feedback rows (each rater's latest, oldest first) in their order.

    Pairs that two thumbs make come last. Left out are equal or empty completions, completions of other models without
    token ids, and rows longer than `max_tokens`: a shortened completion is another completion.
    `render_completion(messages, text)` returns (prompt_ids, completion_ids). A damaged row, also one with a token id
    from `vocab_size` on, is left out and named: it must not keep others' feedback from being learned.
    What a reasoning model thinks between the marks `thoughts` is no part of what is rated (see `_rated_part`).
    """
    examples: list[Example] = []
    left_out: dict[str, str] = {}
    for row in feedback:
        try:
            with contextlib.suppress(UnknownCompletion):  # the other side of a choice was erased with its person
                rated = _rated_part(row, completion_of, render_completion, thoughts)
                ones = _of_row(row, rated, render_completion)
                if reason := next(filter(None, (_damage(example, vocab_size) for example in ones)), None):
                    left_out[row.id] = reason
                else:
                    examples += ones
        except sqlite3.Error:
            raise
        except Exception as error:  # whatever is wrong with one row; its message may hold a person's text
            left_out[row.id] = f"its row cannot be read ({type(error).__name__})"
    examples += _pairs_of_thumbs(examples)
    found = [example for example in examples if is_informative(example) and _fits(example, max_tokens)]
    return Examples(found, left_out)


def _damage(example: Example, vocab_size: int | None) -> str | None:
    """Return what is wrong with the values of an example, None where nothing is."""
    for ids in (example.prompt_ids, *(completion.ids for completion in example.completions)):
        if ids and vocab_size is not None and max(ids) >= vocab_size:
            return f"the token id {max(ids)} is past the model's vocabulary of {vocab_size}"
    for logps in (completion.logps for completion in example.completions if completion.logps is not None):
        if not all(map(math.isfinite, logps)):
            return "a recorded log-probability is no finite number"
    if any(one.logps is not None and len(one.logps) != len(one.ids) for one in example.completions):
        return "it has not one log-probability for each token"
    return None if math.isfinite(example.share) else "its value is no finite number"


def _of_row(
    row: Feedback, completion_of: Callable[[str, int], Completion], render_completion: RenderCompletion
) -> list[Example]:
    completion = completion_of(row.completion_id, row.choice)
    if row.kind == "thumb":
        return [_thumb(row, completion, up=row.value == 1.0)]
    if row.kind == "score" and row.value is not None:
        return [_thumb(row, completion, up=row.value > 0.5, share=abs(2.0 * row.value - 1.0))]
    if row.kind == "regenerate":
        return [replace(_thumb(row, completion, up=False, share=ASKED_AGAIN), is_implicit=True)]
    if row.kind == "correction" and row.text is not None:
        if not completion.messages:
            raise ValueError("the conversation before the correction cannot be read")
        _, corrected_ids = render_completion(completion.messages, row.text)
        return [
            _two(row, "correction", completion, good=CompletionTokens(tuple(corrected_ids)), bad=_tokens_of(completion))
        ]
    if row.other_completion_id is None or row.kind not in ("preference", "choice"):
        return []
    other = completion_of(row.other_completion_id, row.other_choice or 0)
    if row.winner == "both_bad":
        return [_thumb(row, side, up=False) for side in (completion, other) if _is_ours(side)]
    if row.winner == "tie" and not (
        _is_ours(completion) and _is_ours(other) and completion.prompt_ids == other.prompt_ids
    ):
        return []
    won, lost = (other, completion) if row.winner == "B" else (completion, other)
    if _is_ours(won) and _is_ours(lost) and won.prompt_ids == lost.prompt_ids:
        return [
            replace(
                _two(row, "pair", completion, good=_tokens_of(won), bad=_tokens_of(lost)), is_tie=row.winner == "tie"
            )
        ]
    return [
        _thumb(row, side, up=up, share=ONE_SIDED_CHOICE) for side, up in ((won, True), (lost, False)) if _is_ours(side)
    ]


def _rated_part(
    row: Feedback,
    completion_of: Callable[[str, int], Completion],
    render_completion: RenderCompletion,
    thoughts: ThoughtMarks | None,
) -> Callable[[str, int], Completion]:
    """Return `completion_of` without thoughts: the answer alone, after the prompt as it is without thinking.

    So both sides of a pair have one prompt. The recorded log-probabilities are those of an answer after thoughts, so
    they are left out. Feedback whose metadata has `thoughts` = `rated` is about the whole completion.
    """
    if thoughts is None or row.metadata.get("thoughts") == "rated":
        return completion_of

    def rated(completion_id: str, choice: int) -> Completion:
        completion = completion_of(completion_id, choice)
        answer = thoughts.answer_of(completion.prompt_ids, completion.completion_ids)
        if answer is None:
            return completion
        if not completion.messages:
            raise ValueError("the conversation before the answer cannot be read")
        prompt_ids, _ = render_completion(completion.messages, completion.text)
        return replace(completion, prompt_ids=prompt_ids, completion_ids=answer, logps=[])

    return rated


def _is_ours(completion: Completion) -> bool:
    return bool(completion.prompt_ids) and bool(completion.completion_ids)


def _tokens_of(completion: Completion) -> CompletionTokens:
    return CompletionTokens(tuple(completion.completion_ids), tuple(completion.logps) or None, completion.version)


def _thumb(row: Feedback, completion: Completion, *, up: bool, share: float = 1.0) -> Example:
    tokens = _tokens_of(completion)
    good, bad = (tokens, None) if up else (None, tokens)
    return Example("thumb", tuple(completion.prompt_ids), good, bad, row.rater_id, (row.id,), row.seq or 0, share)


def _two(
    row: Feedback, kind: Kind, completion: Completion, *, good: CompletionTokens, bad: CompletionTokens
) -> Example:
    return Example(kind, tuple(completion.prompt_ids), good, bad, row.rater_id, (row.id,), row.seq or 0)


def _pairs_of_thumbs(examples: Sequence[Example]) -> list[Example]:
    """Pair each thumb up with a thumb down of the same rater on the same prompt, in order."""
    sides: dict[tuple[str, tuple[int, ...]], tuple[list[Example], list[Example]]] = defaultdict(lambda: ([], []))
    for example in examples:
        if example.kind == "thumb" and not example.is_implicit:
            sides[(example.rater_id, example.prompt_ids)][0 if example.up else 1].append(example)
    pairs = []
    for ups, downs in sides.values():
        for up, down in zip(ups, downs, strict=False):
            ids = tuple(dict.fromkeys((*up.feedback_ids, *down.feedback_ids)))
            share = SAME_PROMPT_PAIR * min(up.share, down.share)
            pairs.append(
                Example("pair", up.prompt_ids, up.good, down.bad, up.rater_id, ids, max(up.seq, down.seq), share)
            )
    return pairs


def _fits(example: Example, max_tokens: int) -> bool:
    return all(len(example.prompt_ids) + len(completion.ids) <= max_tokens for completion in example.completions)

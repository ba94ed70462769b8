"""Training examples from feedback rows: pairs, thumbs and corrections, as stored token ids.

Nothing here has a weight yet (`weighting.py`), and nothing needs torch. Completions are used as they were sampled: one
that was cut off at its length limit gets no end-of-turn token.
"""

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import zip_longest
from typing import Any, Literal

from learner.algorithms.example_weights import KIND_WEIGHTS
from store.blobs import pack_ids
from store.completions import Completion
from store.errors import UnknownCompletion
from store.feedback import Feedback

Kind = Literal["pair", "thumb", "correction"]
RenderCompletion = Callable[[Sequence[Mapping[str, Any]], str], tuple[list[int], list[int]]]
SAME_PROMPT_PAIR = 0.5  # share of a pair that two thumbs make, against a pair that somebody chose
ONE_SIDED_CHOICE = 0.5  # share of a thumb that a choice against another model's completion makes
ASKED_AGAIN = KIND_WEIGHTS["implicit"] / KIND_WEIGHTS["thumb"]  # share of the thumb down of a regenerated answer


@dataclass(frozen=True)
class CompletionTokens:
    """Token ids of one completion of an example.

    `logps` are nats, one per id, recorded when version `version` sampled it. They are at temperature 1, whatever the
    sampling temperature. Both are None for text that a person wrote.
    """

    ids: tuple[int, ...]
    logps: tuple[float, ...] | None = None
    version: int | None = None


@dataclass(frozen=True)
class Example:
    """One training example: a prompt and feedback on one or two completions of it.

    pair: `good` was preferred to `bad`. correction: a person corrected `bad` to `good`. thumb: only the rated side is
    there.
    """

    kind: Kind
    prompt_ids: tuple[int, ...]
    good: CompletionTokens | None
    bad: CompletionTokens | None
    rater_id: str
    feedback_ids: tuple[str, ...]
    """The feedback rows that it comes from."""
    seq: int
    """Sequence number of the newest of those rows."""
    share: float = 1.0
    """How much it counts against a plain example of its kind."""
    example_weight: float = 1.0
    """How much it counts in this update, all factors included."""
    flip_rate: float = 0.0
    """Chance in [0, 0.5) that the label is wrong."""
    is_implicit: bool = False
    """Nobody rated the completion: somebody asked for another one. It is trained on, but never held out."""
    is_tie: bool = False
    """Of a pair: neither completion was better. Only a reward model learns from it."""

    @property
    def up(self) -> bool:
        """Whether a thumb points up."""
        return self.good is not None

    @property
    def completions(self) -> tuple[CompletionTokens, ...]:
        """The completions that are there, good before bad."""
        return tuple(side for side in (self.good, self.bad) if side is not None)

    @property
    def num_tokens(self) -> int:
        """Tokens of the packed row: the prompt once, and each completion."""
        return len(self.prompt_ids) + sum(len(completion.ids) for completion in self.completions)

    @property
    def key(self) -> str:
        """Digest of content and label: the same whenever the example is built."""
        digest = sha256(f"{self.kind} {self.up} {self.rater_id} {self.feedback_ids}".encode())
        for ids in (self.prompt_ids, *(completion.ids for completion in self.completions)):
            digest.update(len(ids).to_bytes(4, "little") + pack_ids(ids))
        return digest.hexdigest()


def examples_of(
    feedback: Iterable[Feedback],
    completion_of: Callable[[str, int], Completion],
    render_completion: RenderCompletion,
    *,
    max_tokens: int,
) -> list[Example]:
    """Return the examples of feedback rows (each rater's latest, oldest first) in their order.

    Pairs that two thumbs make come last. Left out are equal or empty completions, completions of other models without
    token ids, and rows longer than `max_tokens`: a shortened completion is another completion.
    `render_completion(messages, text)` returns (prompt_ids, completion_ids).
    """
    examples: list[Example] = []
    for row in feedback:
        with contextlib.suppress(UnknownCompletion):  # the other side of a choice was erased with its person
            examples += _of_row(row, completion_of, render_completion)
    examples += _pairs_of_thumbs(examples)
    return [example for example in examples if is_informative(example) and _fits(example, max_tokens)]


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


def is_informative(example: Example) -> bool:
    """Whether there is anything to learn: a prompt, no empty completion, and two sides that differ."""
    if not example.prompt_ids or any(not completion.ids for completion in example.completions) or example.share <= 0.0:
        return False
    return example.good is None or example.bad is None or example.good.ids != example.bad.ids


def _fits(example: Example, max_tokens: int) -> bool:
    return all(len(example.prompt_ids) + len(completion.ids) <= max_tokens for completion in example.completions)


READ_ALL = ("mixed", "grpo", "rloo", "ppo", "ilql")  # algorithms that read every example as it is


def for_algorithm(examples: Sequence[Example], algorithm: str) -> list[Example]:
    """Return the examples in the form that an algorithm reads.

    dpo: pairs, and corrections as pairs. kto: everything as thumbs; a pair is two of half share. sft: all with a good
    completion; of pairs that side alone, while corrections keep their original, which shows what changed. The others
    read all examples as they are.
    """
    if algorithm in READ_ALL:
        return list(examples)
    if algorithm == "dpo":
        return [replace(example, kind="pair") for example in examples if example.kind != "thumb"]
    if algorithm == "sft":
        good = [example for example in examples if example.good is not None]
        return [replace(example, kind="thumb", bad=None) if example.kind == "pair" else example for example in good]
    if algorithm == "kto":
        return [single for example in examples for single in _singles(example)]
    raise ValueError(f"unknown algorithm {algorithm!r}; use mixed, dpo, kto, sft, grpo, rloo, ppo or ilql")


def _singles(example: Example) -> list[Example]:
    if example.kind == "thumb":
        return [example]
    half = replace(example, kind="thumb", share=example.share / 2)
    return [replace(half, bad=None), replace(half, good=None)]


def interleaved(groups: Iterable[Sequence[Example]]) -> list[Example]:
    """Return the groups' examples in turns, so that any prefix holds a bit of each."""
    return [example for turn in zip_longest(*groups) for example in turn if example is not None]

"""From what people said to what the losses read: pairs, thumbs and corrections, on the token ids that were fed and
sampled.

Nothing here is weighed yet (`weighing.py`) and nothing needs torch. Replies are used as they were sampled: one that was
cut off at its
length limit has no end-of-turn token, and none is added.
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
SAME_PROMPT_PAIR = 0.5  # weight of a pair that two thumbs make, against a pair that somebody chose
ONE_SIDED_CHOICE = 0.5  # weight of a thumb that a choice against another model's reply makes
ASKED_AGAIN = (
    KIND_WEIGHTS["implicit"] / KIND_WEIGHTS["thumb"]
)  # weight of the thumb down that asking for another answer makes


@dataclass(frozen=True)
class CompletionTokens:
    """One reply of a training row. `logps` (nats, one per id) were recorded when version `version` sampled it; both
    None for people's own text.

    They are the model's own, whatever the temperature that the reply was drawn at.
    """

    ids: tuple[int, ...]
    logps: tuple[float, ...] | None = None
    version: int | None = None


@dataclass(frozen=True)
class Example:
    """One item to learn from: a prompt and what somebody thinks of one or two replies to it.

    pair: `good` was preferred to `bad`. edit: `good` is a person's correction of `bad`. thumb: only the side that was
    judged is there.
    `share` is how much the item says against a plain one of its kind, `weight` what the update makes of that,
    `flip_rate` in [0, 0.5)
    the chance that the label is wrong. `feedback_ids` are the rows that it came from. `is_implicit`: nobody said so,
    they only asked for
    another answer; such an item is trained on, but nothing is judged by it. `is_tie`: of a pair, neither reply was
    better; only a reward model
    learns from it.
    """

    kind: Kind
    prompt_ids: tuple[int, ...]
    good: CompletionTokens | None
    bad: CompletionTokens | None
    rater_id: str
    feedback_ids: tuple[str, ...]
    seq: int
    share: float = 1.0
    example_weight: float = 1.0
    flip_rate: float = 0.0
    is_implicit: bool = False
    is_tie: bool = False

    @property
    def up(self) -> bool:
        """Whether a thumb points up."""
        return self.good is not None

    @property
    def completions(self) -> tuple[CompletionTokens, ...]:
        """The replies that are there, good before bad."""
        return tuple(reply for reply in (self.good, self.bad) if reply is not None)

    @property
    def num_tokens(self) -> int:
        """Tokens of the packed row: the prompt once and each reply."""
        return len(self.prompt_ids) + sum(len(reply.ids) for reply in self.completions)

    @property
    def key(self) -> str:
        """Content and label as a digest: the same for the same item, whenever it is built."""
        digest = sha256(f"{self.kind} {self.up} {self.rater_id} {self.feedback_ids}".encode())
        for ids in (self.prompt_ids, *(reply.ids for reply in self.completions)):
            digest.update(len(ids).to_bytes(4, "little") + pack_ids(ids))
        return digest.hexdigest()


def examples_of(
    feedback: Iterable[Feedback],
    completion_of: Callable[[str, int], Completion],
    render_completion: RenderCompletion,
    *,
    max_tokens: int,
) -> list[Example]:
    """Return what `feedback` (each rater's last word, oldest first) teaches, in its order; pairs that two thumbs make
    come last.

    Items that teach nothing are left out: equal replies, replies of other models without token ids, rows longer than
    `max_tokens`
    (cutting inside an answer would judge another answer). `render_completion(messages, text)` gives (prompt_ids,
    completion_ids).
    """
    found: list[Example] = []
    for row in feedback:
        with contextlib.suppress(UnknownCompletion):  # the other side of a choice was erased with its person
            found += _of_row(row, completion_of, render_completion)
    found += _pairs_of_thumbs(found)
    return [example for example in found if _teaches(example, max_tokens)]


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
        _, edited_ids = render_completion(completion.messages, row.text)
        return [_two(row, "correction", completion, good=CompletionTokens(tuple(edited_ids)), bad=_reply(completion))]
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
        return [replace(_two(row, "pair", completion, good=_reply(won), bad=_reply(lost)), is_tie=row.winner == "tie")]
    return [
        _thumb(row, side, up=up, share=ONE_SIDED_CHOICE) for side, up in ((won, True), (lost, False)) if _is_ours(side)
    ]


def _is_ours(completion: Completion) -> bool:
    return bool(completion.prompt_ids) and bool(completion.completion_ids)


def _reply(completion: Completion) -> CompletionTokens:
    return CompletionTokens(tuple(completion.completion_ids), tuple(completion.logps) or None, completion.version)


def _thumb(row: Feedback, completion: Completion, *, up: bool, share: float = 1.0) -> Example:
    reply = _reply(completion)
    good, bad = (reply, None) if up else (None, reply)
    return Example("thumb", tuple(completion.prompt_ids), good, bad, row.rater_id, (row.id,), row.seq or 0, share)


def _two(
    row: Feedback, kind: Kind, completion: Completion, *, good: CompletionTokens, bad: CompletionTokens
) -> Example:
    return Example(kind, tuple(completion.prompt_ids), good, bad, row.rater_id, (row.id,), row.seq or 0)


def _pairs_of_thumbs(examples: Sequence[Example]) -> list[Example]:
    """Pair each thumb up with a thumb down that the same rater gave to another reply to the same prompt, in order."""
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
    """Whether there is anything to learn: a prompt, replies that are not empty, and two sides that differ."""
    if not example.prompt_ids or any(not reply.ids for reply in example.completions) or example.share <= 0.0:
        return False
    return example.good is None or example.bad is None or example.good.ids != example.bad.ids


def _teaches(example: Example, max_tokens: int) -> bool:
    if not is_informative(example):
        return False
    return all(len(example.prompt_ids) + len(reply.ids) <= max_tokens for reply in example.completions)


def for_algorithm(examples: Sequence[Example], algorithm: str) -> list[Example]:
    """Return the examples as one algorithm alone reads them.

    mixed: all. dpo: pairs, and corrections as pairs. kto: everything as thumbs; a pair is two of half weight. sft:
    whatever has a good
    reply; of pairs that alone, while a correction keeps its original, which tells what changed. Those that learn by way
    of a reward or
    of values (grpo, rloo, ppo, ilql) read all.
    """
    if algorithm in ("mixed", "grpo", "rloo", "ppo", "ilql"):
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

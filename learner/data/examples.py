"""Training examples: pairs, thumbs and corrections, as stored token ids. Nothing here needs torch.

Completions are used as they were sampled: one that was cut off at its length limit gets no end-of-turn token.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import zip_longest
from typing import Any, Literal

from learner.algorithms.example_weights import KIND_WEIGHTS
from store.blobs import pack_ids

Kind = Literal["pair", "thumb", "correction"]
RenderCompletion = Callable[[Sequence[Mapping[str, Any]], str], tuple[list[int], list[int]]]
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


def is_informative(example: Example) -> bool:
    """Whether there is anything to learn: a prompt, no empty completion, and two sides that differ."""
    if not example.prompt_ids or any(not completion.ids for completion in example.completions) or example.share <= 0.0:
        return False
    return example.good is None or example.bad is None or example.good.ids != example.bad.ids


def interleaved(groups: Iterable[Sequence[Example]]) -> list[Example]:
    """Return the groups' examples in turns, so that any prefix holds a bit of each."""
    return [example for turn in zip_longest(*groups) for example in turn if example is not None]

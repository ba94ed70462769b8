"""Continuous batching over one context of llama.cpp: which generation has which sequence, and what a batch holds.

A finished generation's keys and values stay until their room is needed. A prompt that begins with the same tokens
continues them: the next turn of a conversation, or the other answers to the same question.
"""

import itertools
import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from policy.array_sampler import sampled_token
from policy.errors import RunnerFailed, first_line
from policy.runners.base import Finish, SamplingSettings, TokenDelta
from policy.runners.llamacpp_library import Llama
from policy.weights import Array

ROWS = 512  # tokens of prompts in a step
BESIDE = 128  # tokens of prompts in a step that others wait for
WORTH = 32  # tokens of a prompt that are worth waiting a step for, or copying
GAP = 3  # idle sequences that are computed too, since llama.cpp batches neighbours only

Row = tuple[int, int, int, bool]  # token, position, sequence, whether its logits are wanted


@dataclass
class Generation:
    """One open generation."""

    request_id: str
    prompt: list[int]
    settings: SamplingSettings
    ids: list[int] = field(default_factory=list)
    known: list[int] = field(default_factory=list)  # the tokens before the next one that it samples, at its start

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Go on in another context, where its keys and values are computed again."""
        self.known = [*self.prompt, *self.ids]

    @property
    def need(self) -> int:
        """The most tokens that it comes to hold."""
        return len(self.prompt) + self.settings.max_tokens


@dataclass
class _Sequence:
    """One sequence of the context: `tokens` are those whose keys and values it holds."""

    number: int
    tokens: list[int] = field(default_factory=list)
    generation: Generation | None = None
    used: int = 0  # the step that used it last

    @property
    def room(self) -> int:
        """The cells that it takes or may come to take; shared ones count in full."""
        return len(self.tokens) if self.generation is None else self.generation.need


class Schedule:
    """The generations of one context. The last sequence is for `logits`."""

    def __init__(self, llama: Llama) -> None:
        self._llama, self._shared = llama, llama.shape.is_shared
        *self._sequences, self._scratch = (_Sequence(number) for number in range(llama.shape.sequences))
        self.length = llama.shape.cells // (1 if self._shared else llama.shape.sequences)
        self.waiting: deque[Generation] = deque()
        self.outgrown: list[Generation] = []  # open ones that no sequence here can hold any longer
        self._steps = 0
        self.reused = 0  # prompt tokens that were not computed again

    @property
    def active(self) -> int:
        """Number of open generations."""
        return len(self.waiting) + sum(one.generation is not None for one in self._sequences)

    @property
    def is_full(self) -> bool:
        """Whether one more generation would wait for a sequence."""
        return self.active >= len(self._sequences)

    def cancel(self, request_id: str) -> bool:
        """Close a generation; return whether it was open."""
        for sequence in self._sequences:
            if sequence.generation is not None and sequence.generation.request_id == request_id:
                sequence.generation = None
                return True
        found = next((one for one in self.waiting if one.request_id == request_id), None)
        if found is not None:
            self.waiting.remove(found)
        return found is not None

    def step(self, *, admits: bool = True) -> list[TokenDelta]:
        """Compute one batch: a token of each generation under way, and parts of prompts; return the new deltas."""
        self._steps += 1
        if admits:
            self._admit()
        rows, last = self._batch()
        if not rows:
            return []
        fill = self._between({row[2] for row in rows})
        try:
            logits = self._llama.decode(sorted([*rows, *fill], key=lambda row: row[2]))
        except RunnerFailed as error:
            return self._give_up(first_line(error))
        for _, position, number, _ in fill:
            self._llama.cut(number, position)
        return [
            self._sampled(one, row) for one, row in zip(sorted(last, key=lambda one: one.number), logits, strict=True)
        ]

    def logits(
        self, prompt: Sequence[int], completion: Sequence[int]
    ) -> Iterator[tuple[Array | None, list[TokenDelta]]]:
        """Yield the logits (n, V) of the completion's tokens, in parts that the next one overwrites.

        While there is no room, it yields None with the deltas of a step that lets open generations go on.
        """
        ids, first = [*prompt, *completion][:-1], len(prompt) - 1
        while not self._make_room(len(ids), set(), self._scratch):
            yield None, self.step(admits=False)
        begin = _shared(self._scratch.tokens, ids[:first])
        like, length = self._like(ids[: first + 1])
        if length >= begin + WORTH:  # such as the generation that is asked about
            self._forget(self._scratch)
            begin = length
            self._llama.copy(like.number, self._scratch.number, begin)
        self._llama.cut(self._scratch.number, begin)
        self._scratch.tokens, self._scratch.used = ids[:begin], self._steps
        number = self._scratch.number
        while begin < len(ids):
            part = ids[begin : min(begin + ROWS, max(begin, first) + self._llama.shape.outputs)]
            found = self._llama.decode([(token, at, number, at >= first) for at, token in enumerate(part, begin)])
            self._scratch.tokens += part
            begin += len(part)
            if len(found):
                yield found, []

    def _batch(self) -> tuple[list[Row], list[_Sequence]]:
        """Return the next batch, and the sequences of which it wants logits."""
        rows: list[Row] = []
        last: list[_Sequence] = []
        prompts: list[_Sequence] = []
        for sequence in self._sequences:
            if (generation := sequence.generation) is None:
                continue
            if len(sequence.tokens) < len(generation.known):
                prompts.append(sequence)
                continue
            rows.append((generation.ids[-1], len(sequence.tokens), sequence.number, True))
            sequence.tokens.append(generation.ids[-1])
            last.append(sequence)
        room = BESIDE if rows else ROWS
        for sequence in sorted(prompts, key=lambda one: one.used):
            assert sequence.generation is not None
            begin, known = len(sequence.tokens), sequence.generation.known
            part = known[begin : begin + room]
            rows += [(token, at, sequence.number, at + 1 == len(known)) for at, token in enumerate(part, begin)]
            sequence.tokens += part
            room -= len(part)
            if part and len(sequence.tokens) == len(known):
                last.append(sequence)
        return rows, last

    def _between(self, numbers: set[int]) -> list[Row]:
        """Return rows for idle sequences between those of a batch, so that it is not computed in several parts."""
        if self._shared:
            return []
        pairs = itertools.pairwise(sorted(numbers))
        gaps = [range(low + 1, high) for low, high in pairs if 1 < high - low <= GAP + 1]
        between = [self._sequences[number] for gap in gaps for number in gap]
        return [(0, len(one.tokens), one.number, False) for one in between if len(one.tokens) < self.length]

    def _sampled(self, sequence: _Sequence, logits: Array) -> TokenDelta:
        generation = sequence.generation
        assert generation is not None
        settings, sequence.used = generation.settings, self._steps
        token, logp = sampled_token(logits, settings, generation.ids, generation.prompt)
        if not math.isfinite(logp):
            sequence.generation = None
            return TokenDelta(generation.request_id, finish="error", error="the model's logits are not finite")
        generation.ids.append(token)
        finish: Finish = ""
        if token in settings.end_ids:
            finish = "stop"
        elif len(generation.ids) >= settings.max_tokens:
            finish = "length"
        if not finish and len(sequence.tokens) >= self.length:
            self.outgrown.append(generation)
        if finish or len(sequence.tokens) >= self.length:
            sequence.generation = None
        return TokenDelta(generation.request_id, (token,), (logp,), finish)

    def _admit(self) -> None:
        """Give waiting generations a sequence, in their order, while there is room for all that they may come to."""
        for generation in list(self.waiting):
            like, begin = self._like(generation.known)
            if self._is_coming(generation.known, begin):
                continue
            target = self._target(generation.need, like, begin)
            if target is None:
                return
            self.waiting.remove(generation)
            if target is like:
                self._llama.cut(target.number, begin)
            else:
                self._forget(target)
                begin = begin if self._shared or begin >= WORTH else 0
                if begin:
                    self._llama.copy(like.number, target.number, begin)
            target.tokens, target.generation, target.used = generation.known[:begin], generation, self._steps
            self.reused += begin

    def _like(self, prompt: list[int]) -> tuple[_Sequence, int]:
        """Return the sequence that shares most first tokens with the prompt, and how many; its last one never."""
        found = [(_shared(one.tokens, prompt[:-1]), one.generation is None, one) for one in self._sequences]
        length, _, sequence = max(found, key=lambda entry: entry[:2])
        return sequence, length

    def _is_coming(self, prompt: list[int], begin: int) -> bool:
        """Whether a prompt under way is about to hold more of this one's first tokens, such as that of a twin."""
        under_way = (
            one.generation.known
            for one in self._sequences
            if one.generation is not None and len(one.tokens) < len(one.generation.known)
        )
        return any(_shared(other, prompt[:-1]) >= begin + WORTH for other in under_way)

    def _target(self, need: int, like: _Sequence, begin: int) -> _Sequence | None:
        """Return an idle sequence with room for `need` tokens, None without; idle ones are forgotten, oldest first.

        It is `like` itself where that holds nothing else, or where there is no room for both.
        """
        idle = [one for one in self._sequences if one.generation is None]
        others = sorted((one for one in idle if one is not like), key=lambda one: (bool(one.tokens), one.used))
        taken = like if like in idle and (begin == len(like.tokens) or not others) else None
        if self._make_room(need, {like.number} if taken is None else set(), taken):
            return taken or (others[0] if others else None)
        if taken is None and like in idle and self._make_room(need, set(), like):
            return like
        return None

    def _make_room(self, need: int, kept: set[int], taken: _Sequence | None) -> bool:
        """Forget idle sequences but those `kept`, oldest first, until `need` cells are free; return whether they are.

        The cells of `taken` count as free. Sequences with cells of their own need none of others.
        """
        if not self._shared:
            return True
        everyone = [one for one in (*self._sequences, self._scratch) if one is not taken]
        left = self._llama.shape.cells - need - sum(one.room for one in everyone)
        idle = (one for one in everyone if one.generation is None and one.tokens and one.number not in kept)
        for sequence in sorted(idle, key=lambda one: one.used):
            if left >= 0:
                break
            left += len(sequence.tokens)
            self._forget(sequence)
        return left >= 0

    def _forget(self, sequence: _Sequence) -> None:
        self._llama.cut(sequence.number, 0)
        sequence.tokens = []

    def _give_up(self, why: str) -> list[TokenDelta]:
        """End all generations that have a sequence, and forget every key and value."""
        deltas = []
        for sequence in [*self._sequences, self._scratch]:
            if sequence.generation is not None:
                deltas.append(TokenDelta(sequence.generation.request_id, finish="error", error=why))
            sequence.generation, sequence.tokens = None, []
        self._llama.clear()
        return deltas


def _shared(tokens: Sequence[int], prompt: Sequence[int]) -> int:
    """Return how many first tokens two lists share."""
    low, high = 0, min(len(tokens), len(prompt))
    if tokens[:high] == prompt[:high]:
        return high
    while low < high:  # the first `low` are equal, the first `high` + 1 are not
        middle = (low + high + 1) // 2
        if tokens[low:middle] == prompt[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low

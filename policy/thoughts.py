"""Thoughts of reasoning models: what a completion has between <think> and </think>, before the answer itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

BEGIN, END = "<think>", "</think>"  # Qwen 3, SmolLM3, DeepSeek R1 and those that learned from them


@dataclass(frozen=True)
class ThoughtMarks:
    """The token ids that begin and end thoughts. `is_space(id)`: whether a token is nothing but white space."""

    begin: int
    end: int
    is_space: Callable[[int], bool]

    def answer_of(self, prompt_ids: Sequence[int], completion_ids: Sequence[int]) -> list[int] | None:
        """Return the token ids of the answer after the thoughts; None where there are no thoughts.

        Of thoughts that were cut off there is no answer: the list is empty.
        """
        ids = list(completion_ids)
        if self.end in ids:
            answer = ids[len(ids) - ids[::-1].index(self.end) :]
            first = next((index for index, token in enumerate(answer) if not self.is_space(token)), len(answer))
            return answer[first:]
        marks = [token for token in prompt_ids if token in (self.begin, self.end)]
        is_thinking = self.begin in ids or marks[-1:] == [self.begin]  # some templates begin the thoughts themselves
        return [] if is_thinking else None


def thought_marks(tokenizer: Any) -> ThoughtMarks | None:
    """Return the marks of a tokenizer, None where it has no such tokens."""
    known = tokenizer.get_added_vocab()
    if BEGIN not in known or END not in known:
        return None
    return ThoughtMarks(known[BEGIN], known[END], lambda token: not tokenizer.decode([token]).strip())

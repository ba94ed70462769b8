"""Fitting conversations into the context: as the simple way would, with little more tokenized than fits."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.chat import ChatEncoder
from service.context_fit import fit_prompt
from service.errors import ContextLengthExceeded
from tests.service.parrot import ParrotEncoder, ParrotModel
from tests.tokenizer_shapes import shaped_tokenizer

MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "system"]), "content": st.text(alphabet="a ", max_size=60)}
    ),
    min_size=1,
    max_size=12,
).filter(lambda messages: any(message["role"] == "user" for message in messages))


def simply_kept(messages: Sequence[dict[str, Any]], limit: int) -> list[dict[str, Any]] | None:
    """The simple way: leave out the oldest turn and render everything again, until it fits."""
    kept = list(messages)
    while len(ParrotModel().prompt_ids(kept)) > limit:
        users = [index for index, message in enumerate(kept) if message["role"] == "user"]
        if len(users) < 2:
            return None
        kept = [one for index, one in enumerate(kept) if index >= users[1] or one["role"] == "system"]
    return kept


@given(MESSAGES, st.integers(20, 300))
@settings(max_examples=200, deadline=None)
def test_as_many_turns_stay_as_fit(messages: list[dict[str, Any]], context: int) -> None:
    encoder, kept = ParrotEncoder(ParrotModel(), lambda: False), simply_kept(messages, context - 10)
    if kept is None:
        with pytest.raises(ContextLengthExceeded):
            fit_prompt(encoder, messages, context, 10, 512, may_drop_turns=True)
        return
    prompt = fit_prompt(encoder, messages, context, 10, 512, may_drop_turns=True)
    assert (list(prompt.messages), prompt.dropped) == (kept, len(messages) - len(kept))
    assert prompt.ids == ParrotModel().prompt_ids(kept)


class CountingEncoder(ChatEncoder):
    """Counts what is tokenized, and how often a conversation is rendered."""

    def __init__(self) -> None:
        super().__init__(shaped_tokenizer("llama3"))
        self.texts: list[str] = []
        self.rendered = 0

    def _encoded(self, text: str) -> list[int]:
        self.texts.append(text)
        return super()._encoded(text)

    def _text(self, messages: Sequence[dict[str, Any]], *, opened: bool) -> str:
        self.rendered += len(messages)
        return super()._text(messages, opened=opened)


def test_of_a_long_conversation_each_turn_is_tokenized_once_and_most_are_not() -> None:
    line = "hello there, how are you today? " * 60
    turns = [{"role": "assistant" if index % 2 else "user", "content": f"{index} {line}"} for index in range(1999)]
    encoder, context = CountingEncoder(), 4096
    prompt = fit_prompt(encoder, turns, context, 64, 512, may_drop_turns=True)
    assert 0 < len(prompt.ids) <= context - 64
    assert prompt.messages == tuple(turns[prompt.dropped :])
    assert len(encoder.texts) == len(set(encoder.texts))
    assert sum(map(len, encoder.texts)) < 8 * context * 2  # characters, of 3.8 million
    assert encoder.rendered < 100  # messages, of 1,999 and as many drops
    more = fit_prompt(CountingEncoder(), turns[prompt.dropped - 2 :], context, 64, 512, may_drop_turns=True)
    assert more.ids == prompt.ids


def test_a_usual_conversation_is_rendered_once() -> None:
    encoder = CountingEncoder()
    turns = [{"role": "assistant" if index % 2 else "user", "content": "how are you?"} for index in range(21)]
    assert fit_prompt(encoder, turns, 4096, None, 512, may_drop_turns=True).dropped == 0
    assert encoder.rendered == 21


def test_one_message_that_is_far_too_long_is_refused_before_it_is_tokenized() -> None:
    encoder = CountingEncoder()
    with pytest.raises(ContextLengthExceeded, match="the messages take more than 448"):
        fit_prompt(encoder, [{"role": "user", "content": "a" * 4_000_000}], 512, 64, 512, may_drop_turns=True)
    assert (encoder.texts, encoder.rendered) == ([], 0)

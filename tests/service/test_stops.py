"""Stop strings, and generations as they grow."""

import codecs
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from policy.runners.base import TokenDelta
from service.engine.generation import Generation
from service.engine.stops import StopFilter
from tests.service.parrot import END, ByteStream, logp_of

TEXT = st.text(alphabet="ab你🦜 \n", max_size=40)
STOPS = st.lists(st.text(alphabet="ab你🦜 \n", min_size=1, max_size=5), max_size=4)


def cut(text: str, stops: list[str]) -> str:
    """The simple way: everything before the first stop string."""
    starts = [start for stop in stops if (start := text.find(stop)) >= 0]
    return text[: min(starts)] if starts else text


@given(TEXT, STOPS, st.randoms(use_true_random=False))
@settings(max_examples=500)
def test_deltas_are_the_text_before_the_first_stop_however_it_is_cut(
    text: str, stops: list[str], rng: random.Random
) -> None:
    filtered, shown, start = StopFilter(stops), "", 0
    while start < len(text):
        size = rng.randint(1, 4)
        shown += filtered.feed(text[start : start + size])
        assert not any(stop in shown for stop in stops)
        start += size
        if filtered.found:
            break
    shown += filtered.finish()
    # two stops may begin in one delta: what counts is the text at the moment when the first was complete
    seen = text[:start]
    assert shown == cut(seen, stops)
    assert filtered.found == any(stop in seen for stop in stops)


@given(TEXT, STOPS)
def test_nothing_is_held_back_that_could_be_shown(text: str, stops: list[str]) -> None:
    filtered, shown = StopFilter(stops), ""
    for char in text:
        shown += filtered.feed(char)
    if not filtered.found:
        held = text[len(shown) :]
        assert not held or any(stop.startswith(held) for stop in stops)


@given(TEXT, STOPS, st.randoms(use_true_random=False))
@settings(max_examples=500)
def test_a_generation_shows_whole_characters_and_keeps_what_was_sampled(
    text: str, stops: list[str], rng: random.Random
) -> None:
    ids = [*text.encode(), END]
    generation, deltas, start = Generation(0, ByteStream(), tuple(stops), (END,)), [], 0
    while generation.finish_reason is None:
        size = rng.randint(1, 5)
        part = tuple(ids[start : start + size])
        start += size
        deltas.append(
            generation.add(TokenDelta("r", part, tuple(map(logp_of, part)), "stop" if start >= len(ids) else ""))
        )
    shown = "".join(delta.text for delta in deltas)
    assert shown == generation.text
    assert text.startswith(shown)
    assert "\ufffd" not in shown
    assert not any(stop in shown for stop in stops)
    assert generation.finish_reason == "stop"
    assert generation.ids == ids[: len(generation.ids)]
    assert generation.logps == [logp_of(token) for token in generation.ids]
    tokens = bytes(token.id for delta in deltas for token in delta.tokens)
    assert tokens.startswith(shown.encode())
    if not any(stop in text for stop in stops):
        assert shown == text
        assert tokens == text.encode()
        assert generation.ids == ids


def test_half_a_character_at_the_end_shows_as_the_replacement_character() -> None:
    half = "🦜".encode()[:2]
    generation = Generation(0, ByteStream(), (), (END,))
    last = generation.add(TokenDelta("r", tuple(b"ok" + half), (0.0,) * 4, "length"))
    assert last.text == "ok" + codecs.decode(half, errors="replace")
    assert last.finish_reason == "length"

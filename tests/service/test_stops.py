"""Stop strings, and replies as they grow."""

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
    """The plain way: everything before the stop string that comes first."""
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    return text[: min(places)] if places else text


@given(TEXT, STOPS, st.randoms(use_true_random=False))
@settings(max_examples=500)
def test_pieces_are_the_text_before_the_first_stop_however_it_is_cut(
    text: str, stops: list[str], rng: random.Random
) -> None:
    filtered, shown, place = StopFilter(stops), "", 0
    while place < len(text):
        size = rng.randint(1, 4)
        shown += filtered.feed(text[place : place + size])
        assert not any(stop in shown for stop in stops)
        place += size
        if filtered.found:
            break
    shown += filtered.finish()
    # two stops may begin at different places of one piece: what counts is the text at the moment when the first was
    # complete
    seen = text[:place]
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
def test_a_reply_shows_whole_characters_and_keeps_what_was_sampled(
    text: str, stops: list[str], rng: random.Random
) -> None:
    ids = [*text.encode(), END]
    reply, pieces, place = Generation(0, ByteStream(), tuple(stops), (END,)), [], 0
    while reply.finish_reason is None:
        size = rng.randint(1, 5)
        part = tuple(ids[place : place + size])
        place += size
        pieces.append(reply.add(TokenDelta("r", part, tuple(map(logp_of, part)), "stop" if place >= len(ids) else "")))
    shown = "".join(piece.text for piece in pieces)
    assert shown == reply.text
    assert text.startswith(shown)
    assert "\ufffd" not in shown
    assert not any(stop in shown for stop in stops)
    assert reply.finish_reason == "stop"
    assert reply.ids == ids[: len(reply.ids)]
    assert reply.logps == [logp_of(token) for token in reply.ids]
    tokens = bytes(token.id for piece in pieces for token in piece.tokens)
    assert tokens.startswith(shown.encode())
    if not any(stop in text for stop in stops):
        assert shown == text
        assert tokens == text.encode()
        assert reply.ids == ids


def test_half_a_character_at_the_end_shows_as_the_replacement_character() -> None:
    half = "🦜".encode()[:2]
    reply = Generation(0, ByteStream(), (), (END,))
    last = reply.add(TokenDelta("r", tuple(b"ok" + half), (0.0,) * 4, "length"))
    assert last.text == "ok" + codecs.decode(half, errors="replace")
    assert last.finish_reason == "length"

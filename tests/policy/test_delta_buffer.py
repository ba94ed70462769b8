"""Tokens that come faster than a screen shows them travel together."""

from policy.runners.base import TokenDelta
from policy.runners.delta_buffer import DeltaBuffer


def token(name: str, number: int, **more: str) -> TokenDelta:
    return TokenDelta(name, (number,), (-float(number),), **more)  # type: ignore[arg-type]


def test_steps_within_a_frame_leave_as_one_delta() -> None:
    buffer = DeltaBuffer(frame_s=1.0)
    assert buffer.add([token("a", 0), token("b", 0)], now=100.0) == [token("a", 0), token("b", 0)]
    messages = [buffer.add([token("a", step), token("b", step)], now=100.0 + step / 10) for step in range(1, 11)]
    assert messages[:9] == [[]] * 9
    assert messages[9] == [
        TokenDelta(name, tuple(range(1, 11)), tuple(-float(step) for step in range(1, 11))) for name in ("a", "b")
    ]


def test_the_first_and_the_last_tokens_of_a_generation_leave_at_once_and_others_wait() -> None:
    buffer = DeltaBuffer(frame_s=1.0)
    buffer.add([token("a", 0)], now=100.0)
    assert buffer.add([token("a", 1)], now=100.1) == []
    assert buffer.add([token("a", 2), token("b", 0)], now=100.2) == [token("b", 0)]
    assert buffer.add([token("b", 1, finish="stop")], now=100.3) == [token("b", 1, finish="stop")]
    ended = TokenDelta("a", (1, 2, 3), (-1.0, -2.0, -3.0), "length")
    assert buffer.add([token("a", 3, finish="length")], now=100.4) == [ended]
    assert buffer.add([], now=102.0) == []
    assert buffer.add([token("a", 7)], now=102.1) == [token("a", 7)]  # another generation of the same name


def test_slow_steps_are_not_held_back_and_nothing_is_before_long_work() -> None:
    buffer = DeltaBuffer(frame_s=1.0)
    steps = [buffer.add([token("a", step)], now=100.0 + 2 * step) for step in range(3)]
    assert steps == [[token("a", step)] for step in range(3)]
    assert buffer.add([token("a", 3)], now=104.5) == []
    assert buffer.take() == [token("a", 3)]
    assert buffer.take() == []


def test_a_cancelled_generation_takes_its_tokens_along() -> None:
    buffer = DeltaBuffer(frame_s=1.0)
    buffer.add([token("a", 0)], now=100.0)
    buffer.add([token("a", 1)], now=100.1)
    last = buffer.add([TokenDelta("a", finish="cancelled")], now=100.2)
    assert last == [TokenDelta("a", (1,), (-1.0,), "cancelled")]

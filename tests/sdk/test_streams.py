"""Streamed answers: the deltas, the finished answer at the end, and every other way to end."""

import time
from typing import Any

import pytest

import attune
from attune._server_events import EventReader, ServerEvent
from tests.sdk.conftest import Either
from tests.sdk.fake_service import FakeService


def test_deltas_then_the_answer(either: Either, client: Any) -> None:
    stream = either.get(client.chat("Hello!", stream=True, logprobs=True))
    assert either.take(stream) == ["Hello", " to", " you!"]
    answer = stream.answer
    assert (answer.text, answer.version, answer.conversation_id, answer.finish_reason) == (
        "Hello to you!",
        1,
        "c1",
        "stop",
    )
    assert [token.token for token in answer.tokens] == ["Hello", " to", " you!"]
    assert answer.usage.completion_tokens == 3
    assert either.get(answer.rate("up")).completion_id == answer.id


def test_a_stream_equals_a_whole_answer(either: Either, client: Any) -> None:
    whole = either.get(client.chat("Tell me a joke.", n=2, logprobs=True))
    streamed = either.get(either.get(client.chat("Tell me a joke.", n=2, logprobs=True, stream=True)).finish())
    for name in ("text", "model", "version", "finish_reason", "usage", "messages", "tokens", "settings"):
        assert getattr(streamed, name) == getattr(whole, name), name
    assert [choice.text for choice in streamed.choices] == [choice.text for choice in whole.choices]


def test_the_answer_is_not_there_before_the_end(either: Either, client: Any) -> None:
    stream = either.get(client.chat("Hello!", stream=True))
    either.take(stream, 1)
    assert stream.text == "Hello"
    with pytest.raises(attune.AttuneError, match="not finished"):
        _ = stream.answer
    either.get(stream.close())


def test_a_cut_connection_is_an_error_not_a_short_answer(either: Either, client: Any, fake: FakeService) -> None:
    fake.cut_stream_after = 2
    stream = either.get(client.chat("Hello!", stream=True))
    assert either.take(stream, 2) == ["Hello", " to"]
    with pytest.raises(attune.ServiceUnreachable, match="middle of an answer"):
        either.take(stream, 1)


def test_an_error_in_the_middle_is_raised(either: Either, client: Any) -> None:
    stream = either.get(client.chat("Please fail in the middle", stream=True))
    with pytest.raises(attune.ServerError, match="The engine fell over") as caught:
        either.take(stream)
    assert (caught.value.code, caught.value.request_id) == ("engine_failed", "req-7")
    assert either.take(stream) == []


def test_leaving_early_stops_the_service(either: Either, client: Any, fake: FakeService) -> None:
    stream = either.get(client.chat("Talk on and on", stream=True))
    either.take(stream, 2)
    either.get(stream.close())
    deadline = time.monotonic() + 5
    while not fake.cancelled and time.monotonic() < deadline:
        time.sleep(0.01)
    assert fake.cancelled == 1
    assert either.take(stream) == []


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_are_read_whatever_way_the_bytes_are_cut(size: int) -> None:
    first = ': hello\r\n\r\nid: 7\r\nevent: a.b\r\ndata: {"x": "ä\u2028 \x85 中"}\r\n\r\n'
    data = (first + "data:one\ndata: two\n\nretry: 5\n\ndata: late").encode()
    reader = EventReader()
    found = [event for i in range(0, len(data), size) for event in reader.feed(data[i : i + size])]
    assert found == [ServerEvent('{"x": "ä\u2028 \x85 中"}', "a.b", "7"), ServerEvent("one\ntwo", "", "7")]


def test_text_with_odd_line_ends_survives_the_stream(either: Either, client: Any) -> None:
    prompt = "a\u2028b\u0085c\x0bd\r\ne"
    stream = either.get(client.chat(prompt, stream=True))
    assert either.get(stream.finish()).text == f"[1] {prompt}"

"""Which requests are retried, how long the client waits, and that nothing is sent twice."""

import time
from typing import Any

import pytest

import attune
from attune._requests import Request
from attune._retry import is_worth_another_try
from tests.sdk.conftest import QUICK, Either
from tests.sdk.fake_service import FakeService


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_reading_is_tried_again(either: Either, client: Any, fake: FakeService, status: int) -> None:
    fake.fault("/v1/versions", status=status, times=2)
    assert len(either.get(client.versions())) == 3
    assert len(fake.requests("/v1/versions")) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422, 501])
def test_what_would_fail_again_is_not_tried_again(either: Either, client: Any, fake: FakeService, status: int) -> None:
    fake.fault("/v1/versions", status=status)
    with pytest.raises(attune.APIError):
        either.get(client.versions())
    assert len(fake.requests("/v1/versions")) == 1


def test_tries_come_to_an_end(either: Either, client: Any, fake: FakeService) -> None:
    fake.fault("/v1/versions", status=500, times=9)
    with pytest.raises(attune.ServerError, match=r"Fault 500\."):
        either.get(client.versions())
    assert len(fake.requests("/v1/versions")) == 1 + QUICK.times


@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 500}, {"breaks": "before"}, {"breaks": "after"}])
def test_a_thumb_is_tried_again_under_one_key_and_kept_once(
    either: Either, client: Any, fake: FakeService, fault: dict[str, Any]
) -> None:
    answer = either.get(client.chat("Hello!"))
    fake.fault("/v1/feedback", **fault)
    feedback = either.get(answer.rate("up"))
    keys = {seen.headers["idempotency-key"] for seen in fake.requests("/v1/feedback")}
    assert len(fake.requests("/v1/feedback")) == 2
    assert len(keys) == 1
    assert [row["id"] for row in fake.feedback] == [feedback.id]


def test_a_choice_is_tried_again_under_one_key(either: Either, client: Any, fake: FakeService) -> None:
    comparison = either.get(client.compare("Hello!"))
    fake.fault("/choice", breaks="after")
    assert either.get(comparison.choose("A")).winner == "A"
    assert len({seen.headers["idempotency-key"] for seen in fake.requests("/choice")}) == 1


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 502}, {"status": 503}, {"breaks": "after"}])
def test_a_chat_that_may_have_begun_is_not_repeated(
    either: Either, client: Any, fake: FakeService, fault: dict[str, Any]
) -> None:
    fake.fault("/v1/chat/completions", **fault)
    with pytest.raises(attune.AttuneError):
        either.get(client.chat("Hello!"))
    assert len(fake.requests("/v1/chat/completions")) == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [429, 503])
def test_a_refused_chat_is_retried_after_the_time_it_was_given(
    either: Either, client: Any, fake: FakeService, status: int, stream: bool
) -> None:
    fake.fault("/v1/chat/completions", status=status, headers={"Retry-After": "0.3"})
    began = time.monotonic()
    answer = either.get(client.chat("Hello!", stream=stream))
    assert time.monotonic() - began >= 0.3
    assert (either.get(answer.finish()) if stream else answer).text == "Hello to you!"


def test_a_wait_that_is_too_long_is_for_the_caller_to_decide(either: Either, client: Any, fake: FakeService) -> None:
    fake.fault("/v1/versions", status=429, headers={"Retry-After": "3600"})
    began = time.monotonic()
    with pytest.raises(attune.TooManyRequests) as caught:
        either.get(client.versions())
    assert caught.value.retry_after_s == 3600
    assert time.monotonic() - began < 1


def test_orders_are_not_repeated_once_sent(either: Either, client: Any, fake: FakeService) -> None:
    fake.fault("/promote", status=500)
    with pytest.raises(attune.ServerError):
        either.get(client.promote(0))
    assert len(fake.requests("/promote")) == 1


def test_nobody_there_is_one_sentence(either: Either, fake: FakeService) -> None:
    client = either.client("http://127.0.0.1:9")
    with pytest.raises(attune.ServiceUnreachable, match="attune serve"):
        either.get(client.chat("Hello!"))


def test_any_request_that_never_left_may_be_tried_again() -> None:
    chat = Request("POST", "/v1/chat/completions")
    lost = attune.ServiceUnreachable("gone")
    assert not is_worth_another_try(chat, lost, attune.Retry(), 1)
    lost.never_sent = True  # type: ignore[attr-defined]
    assert is_worth_another_try(chat, lost, attune.Retry(), 1)


def test_too_late_is_a_timeout_and_a_read_is_tried_again(either: Either, fake: FakeService) -> None:
    client = either.client(timeout=0.3)
    began = time.monotonic()
    with pytest.raises(attune.Timeout, match="in time"):
        either.get(client.chat("Think for a long time."))
    assert time.monotonic() - began < 1.2
    assert len(fake.requests("/v1/chat/completions")) == 1


def test_waits_double_up_to_a_limit_and_differ() -> None:
    retry = attune.Retry(first_s=1.0, longest_s=4.0)
    for tried, most in ((1, 1.0), (2, 2.0), (3, 4.0), (9, 4.0)):
        waits = [retry.wait_s(tried) for _ in range(200)]
        assert all(most / 2 <= wait <= most for wait in waits)
        assert len(set(waits)) > 100


def test_the_wait_that_the_service_asks_for_is_kept() -> None:
    assert all(3.0 <= attune.Retry().wait_s(1, asked_s=3.0) <= 3.2 for _ in range(50))

"""The sync and the async client: its address and key, its connections, health, and ids in paths."""

from typing import Any

import httpx
import pytest

import attune
from tests.sdk.conftest import QUICK, Either
from tests.sdk.fake_service import FakeService


def test_raters_speak_through_the_header(either: Either, fake: FakeService) -> None:
    client = either.client(api_key="at-act-as", rater="alice")
    answer = either.get(client.chat("Hello!"))
    assert either.get(answer.rate("up")).rater == "alice"
    with pytest.raises(attune.Forbidden, match="speak for others"):
        either.get(either.client(api_key="at-other", rater="alice").versions())


def test_ids_of_any_characters_stay_one_segment_of_the_path(either: Either, client: Any) -> None:
    with pytest.raises(attune.NotFound, match=r"'a \.\.\?b#c'"):
        either.get(client.conversation("a ..?b#c"))
    with pytest.raises(ValueError, match="cannot be empty"):
        either.get(client.delete_conversation(""))


def test_the_release_of_the_service_is_known(either: Either, client: Any) -> None:
    assert either.get(client.service_version()) == attune.ServiceVersion("0.1.0", "m003_readiness", "3.13.1")


def test_health_distinguishes_starting_from_ready(either: Either, client: Any, fake: FakeService) -> None:
    assert either.get(client.health()).detail["version"] == 1
    fake.fault("/readyz", status=503, headers={"Retry-After": "1"})
    health = either.get(client.health())
    assert (health.alive, health.ready) == (True, False)


def test_the_address_comes_from_the_argument_the_environment_or_this_machine(
    either: Either, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert either.client("http://example.org/v1/").address.url == "http://example.org"
    monkeypatch.setenv("ATTUNE_BASE_URL", "http://example.org:1")
    assert either.client().address.url == "http://example.org:1"
    monkeypatch.delenv("ATTUNE_BASE_URL")
    assert either.client().address.url == "http://127.0.0.1:8000"
    with pytest.raises(ValueError, match="http://"):
        either.client("example.org")


def test_the_key_is_sent_and_never_shown(either: Either, fake: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTUNE_API_KEY", "at-secret")
    client = either.client()
    either.get(client.versions())
    assert fake.seen[-1].headers["authorization"] == "Bearer at-secret"
    assert "secret" not in repr(client) + repr(client.address)


def test_an_httpx_client_of_ones_own_stays_open(either: Either, fake: FakeService) -> None:
    http: Any = (httpx.AsyncClient if either.is_async else httpx.Client)(headers={"X-Mine": "yes"})
    client = either.client(http=http)
    either.get(client.versions())
    assert fake.seen[-1].headers["x-mine"] == "yes"
    either.get(client.close())
    assert not http.is_closed
    either.get(http.aclose() if either.is_async else http.close())


def test_a_with_block_closes_the_connections(fake: FakeService) -> None:
    with attune.Client(retry=QUICK) as client:
        client.versions()
    with pytest.raises(RuntimeError, match="closed"):
        client.versions()


def test_one_client_is_shared_by_many_threads(fake: FakeService) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with attune.Client(retry=QUICK) as client, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: client.chat(f"prompt {i}").text, range(32)))
    assert answers == [f"[1] prompt {i}" for i in range(32)]

"""The service's events: each once and in order, whatever happens to the connection."""

import threading
from typing import Any

import pytest

import attune
from tests.sdk.conftest import QUICK, Either
from tests.sdk.fake_service import FakeService, fake_service


def test_events_come_in_order_and_go_on(either: Either, client: Any, fake: FakeService) -> None:
    events = client.events(after=0)
    assert [event.seq for event in either.take(events, 3)] == [1, 2, 3]
    fake.events.append((4, "version.rolled_back", {"version": 0}))
    assert either.take(events, 1) == [attune.Event(4, "version.rolled_back", {"version": 0})]
    either.get(events.close())
    assert either.take(events) == []


def test_a_broken_connection_is_taken_up_where_it_broke(either: Either, client: Any, fake: FakeService) -> None:
    fake.break_events_after = 1
    events = client.events(after=1)
    assert [event.seq for event in either.take(events, 2)] == [2, 3]
    first, second = fake.requests("/v1/events")[:2]
    assert (first.query, first.headers["last-event-id"]) == ({"after": "1"}, "1")
    assert second.headers["last-event-id"] == "2"
    either.get(events.close())


def test_without_a_number_it_begins_now(either: Either, client: Any, fake: FakeService) -> None:
    late_event = threading.Timer(0.3, lambda: fake.events.append((4, "version.live", {"version": 2})))
    late_event.start()
    events = client.events()
    assert either.take(events, 1)[0].seq == 4
    assert "last-event-id" not in fake.requests("/v1/events")[0].headers
    either.get(events.close())
    late_event.join()


def test_a_refusal_while_coming_back_is_waited_out(either: Either, client: Any, fake: FakeService) -> None:
    fake.break_events_after = 1
    events = client.events(after=1)
    assert either.take(events, 1)[0].seq == 2
    fake.fault("/v1/events", status=503, times=4)
    assert either.take(events, 1)[0].seq == 3
    either.get(events.close())


def test_nobody_there_at_first_is_an_error(either: Either) -> None:
    with pytest.raises(attune.ServiceUnreachable):
        either.take(either.client("http://127.0.0.1:9").events(), 1)


def test_no_permission_is_an_error(either: Either, fake: FakeService) -> None:
    with pytest.raises(attune.Unauthorized):
        either.take(either.client(api_key="at-unknown").events(), 1)


def test_a_restart_of_the_service_is_survived() -> None:
    with fake_service() as first:
        client = attune.Client(first.url, retry=QUICK)
        events = client.events(after=0)
        assert [next(events).seq for _ in range(3)] == [1, 2, 3]
        port = int(first.url.rpartition(":")[2])
    with fake_service(port) as second:
        second.events.append((4, "version.live", {"version": 2}))
        assert next(events).seq == 4
    events.close()
    client.close()

"""Event streams: one reader of the store for all of them, a bound per key, and an end for the slow."""

import asyncio
import contextlib
import json
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.auth import Caller
from service.errors import TooManyRequests
from service.event_feed import EventFeed, StreamCounts
from service.lifecycle import Service
from service.routes import events
from store.api_keys import make_key, revoke_key
from store.events import Event
from tests.service.running import Running, running, serve_settings, wait_until


class Store:
    """Events in a list, and how often they were read."""

    def __init__(self, num: int = 0) -> None:
        self.events = [self._event(seq) for seq in range(1, num + 1)]
        self.reads: list[int] = []
        self.fails = 0

    def _event(self, seq: int) -> Event:
        return Event(seq, "noise", {"n": seq}, "2026")

    def add(self, num: int = 1) -> int:
        for _ in range(num):
            self.events.append(self._event(len(self.events) + 1))
        return len(self.events)

    async def read(self, after: int, limit: int) -> list[Event]:
        self.reads.append(after)
        await asyncio.sleep(0)
        if self.fails:
            self.fails -= 1
            raise sqlite3.OperationalError("disk I/O error")
        return [event for event in self.events if event.seq > after][:limit]


async def in_time(check: Coroutine[Any, Any, None]) -> None:
    """Fail instead of hanging."""
    await asyncio.wait_for(check, 20)


async def take(stream: AsyncIterator[list[Event]], num: int) -> list[int]:
    """Return the sequence numbers of the next `num` events."""
    seqs: list[int] = []
    while len(seqs) < num:
        seqs += [event.seq for event in await anext(stream)]
    return seqs


def test_one_read_serves_all_streams() -> None:
    async def check() -> None:
        store = Store(5)
        feed = EventFeed(store.read, latest=5)
        streams = [feed.follow(5, quiet_s=60) for _ in range(200)]
        waiting = [asyncio.create_task(take(stream, 3)) for stream in streams]
        await asyncio.sleep(0)
        feed.publish(store.add(3))
        assert await asyncio.gather(*waiting) == [[6, 7, 8]] * 200
        assert store.reads == [5]

    asyncio.run(in_time(check()))


def test_who_resumes_gets_what_was_missed_and_then_what_comes() -> None:
    async def check() -> None:
        store = Store(1200)
        feed = EventFeed(store.read, latest=1200)
        early, late = feed.follow(0, 60), feed.follow(1199, 60)
        assert await take(early, 1200) == list(range(1, 1201))
        assert await take(late, 1) == [1200]
        reads = len(store.reads)
        feed.publish(store.add(2))
        assert await take(early, 2) == await take(late, 2) == [1201, 1202]
        assert await take(feed.follow(1200, 60), 2) == [1201, 1202]  # from memory
        assert len(store.reads) == reads + 1

    asyncio.run(in_time(check()))


def test_what_is_forgotten_comes_from_the_store_as_it_is_there_now() -> None:
    """An erased person is still named by the events in memory."""

    async def check() -> None:
        store = Store(3)
        feed = EventFeed(store.read, latest=3)
        follower = feed.follow(3, 60)
        feed.publish(store.add(2))
        assert await take(follower, 2) == [4, 5]
        reads = len(store.reads)
        feed.forget()
        assert await take(feed.follow(3, 60), 2) == [4, 5]
        assert len(store.reads) == reads + 1
        feed.publish(store.add())
        assert await take(follower, 1) == [6]  # who had them goes on

    asyncio.run(in_time(check()))


def test_a_number_from_the_future_means_from_now_on() -> None:
    async def check() -> None:
        store = Store(3)
        feed = EventFeed(store.read, latest=3)
        waiting = asyncio.create_task(take(feed.follow(10**30, 60), 1))
        await asyncio.sleep(0)
        feed.publish(store.add())
        assert await waiting == [4]

    asyncio.run(in_time(check()))


def test_who_is_ahead_of_the_feed_gets_no_event_twice() -> None:
    """Another process has written events that the service has not read yet."""

    async def check() -> None:
        store = Store(5)
        feed = EventFeed(store.read, latest=5)
        store.add(3)
        waiting = asyncio.create_task(take(feed.follow(7, quiet_s=60), 1))
        await asyncio.sleep(0.01)
        feed.publish(8)
        assert await waiting == [8]

    asyncio.run(in_time(check()))


def test_a_reader_that_falls_behind_is_ended_and_resumes_without_a_gap() -> None:
    async def check() -> None:
        store = Store(0)
        feed = EventFeed(store.read, latest=0, kept=10)
        slow, quick = feed.follow(0, 60), feed.follow(0, 60)
        feed.publish(store.add(5))
        seen = await take(slow, 5)
        for _ in range(4):
            feed.publish(store.add(5))
            await take(quick, 5 if store.events[-1].seq > 10 else 10)
        rest = [event.seq async for found in slow for event in found]
        assert rest == []  # ended
        again = feed.follow(seen[-1], 60)
        assert seen + await take(again, 20) == list(range(1, 26))

    asyncio.run(in_time(check()))


def test_a_store_that_fails_once_is_read_again_and_an_erased_row_is_not_waited_for() -> None:
    async def check() -> None:
        store = Store(0)
        feed = EventFeed(store.read, latest=0)
        stream = feed.follow(0, 60)
        store.fails = 1
        waiting = asyncio.create_task(take(stream, 2))
        seq = store.add(3)
        del store.events[-1]
        while not waiting.done():
            feed.publish(seq)
            await asyncio.sleep(0)
        assert await waiting == [1, 2]
        while feed.latest < seq:
            await asyncio.sleep(0)
        reads = len(store.reads)
        feed.publish(seq)
        await asyncio.sleep(0)
        assert len(store.reads) == reads

    asyncio.run(in_time(check()))


def test_a_quiet_stream_sends_comments_and_every_stream_ends_with_the_service() -> None:
    async def check() -> None:
        feed = EventFeed(Store().read, latest=0)
        stream = feed.follow(0, quiet_s=0.01)
        assert await anext(stream) == []
        waiting = asyncio.create_task(anext(feed.follow(0, 60), None))
        await asyncio.sleep(0)
        feed.close()
        assert await waiting is None
        assert await anext(stream, None) is None

    asyncio.run(in_time(check()))


@pytest.mark.parametrize(("quiet_s", "comments"), [(0.0, 3), (60.0, 0)])
def test_a_stream_on_which_only_others_events_happen_sends_comments_too(
    quiet_s: float, comments: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class BusyFeed(EventFeed):
        async def follow(self, after: int, quiet_s: float) -> AsyncIterator[list[Event]]:
            for seq in range(3):
                yield [Event(seq, "completion", {"rater": "somebody else"}, "")]

    monkeypatch.setattr(events, "QUIET_S", quiet_s)

    async def check() -> None:
        caller = Caller("key", "me", ("chat",))
        feed = BusyFeed(Store().read, latest=0)
        sent = [part async for part in events._events(feed, caller, 0, lambda: asyncio.sleep(0, True))]
        assert sent == [b"retry: 1000\n\n"] + comments * [b": nothing new\n\n"]

    asyncio.run(in_time(check()))


def test_streams_are_counted_by_key() -> None:
    counts = StreamCounts(2)
    for key in ("one", "one", "other"):
        counts.take(key)
    with pytest.raises(TooManyRequests, match="limits.event_streams"):
        counts.take("one")
    counts.give_back("one")
    counts.take("one")
    for key in ("one", "one", "other"):
        counts.give_back(key)
    assert not counts.open


@contextlib.contextmanager
def following(served: Running, num: int, **how: Any) -> Any:
    """Open event streams, and return their responses."""
    with httpx.Client(base_url=served.url, timeout=20, limits=httpx.Limits(max_connections=None)) as http:
        with contextlib.ExitStack() as stack:
            yield [stack.enter_context(http.stream("GET", "/v1/events", **how)) for _ in range(num)]


def first_event(response: httpx.Response) -> dict[str, Any]:
    """Return the data of the next event."""
    line = next(line for line in response.iter_lines() if line.startswith("data: "))
    data: dict[str, Any] = json.loads(line.removeprefix("data: "))
    return data


def test_a_key_has_so_many_streams_and_others_have_theirs(tmp_path: Path) -> None:
    with running(tmp_path / "data", limits__event_streams=3) as served:
        with served.db() as db:
            keys = [make_key(db, name, ("chat",))[1] for name in ("one", "other")]
        one, other = ({"Authorization": f"Bearer {secret}"} for secret in keys)
        with following(served, 3, headers=one) as streams:
            assert [stream.status_code for stream in streams] == [200] * 3
            refused = served.http.get("/v1/events", headers=one)
            assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_streams")
            assert int(refused.headers["Retry-After"]) >= 1
            with following(served, 1, headers=other) as others:
                assert others[0].status_code == 200
        wait_until(lambda: not served.service.event_streams.open)
        with following(served, 3, headers=one) as streams:
            assert [stream.status_code for stream in streams] == [200] * 3


def test_the_stream_of_a_revoked_key_ends(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "KNOWN_S", 0.0)
    monkeypatch.setattr(events, "QUIET_S", 0.05)
    with following(served, 1) as streams:
        with served.db() as db:
            key, secret = make_key(db, "somebody", ("admin",))
        streams[0].read()  # to its end, since without a key nobody is let in now
    with following(served, 1, headers={"Authorization": f"Bearer {secret}"}) as streams:
        assert streams[0].status_code == 200
        with served.db() as db:
            revoke_key(db, key.id)
        streams[0].read()


def test_many_streams_read_the_store_once(served: Running) -> None:
    reads: list[int] = []
    feed = served.service.event_feed
    read = feed._read

    async def counted(after: int, limit: int) -> list[Event]:
        reads.append(after)
        return await read(after, limit)

    feed._read = counted
    with following(served, 60) as streams:
        wait_until(lambda: served.service.event_streams.open.total() == 60)
        answer = served.chat()
        assert {first_event(stream)["completion_id"] for stream in streams} == {answer["id"]}
    assert len(reads) <= 3


def test_streams_end_with_a_service_that_never_began(tmp_path: Path) -> None:
    def never(settings: Any) -> Any:
        raise RuntimeError("no model")

    service = Service(serve_settings(data=tmp_path / "data", model="parrot", no_learner=True), never, None)

    async def check() -> None:
        service.open()
        waiting = asyncio.create_task(anext(service.event_feed.follow(0, 60), None))
        await asyncio.sleep(0)
        service.begin_stop()
        assert await waiting is None

    asyncio.run(in_time(check()))
    service.records.close()


FOLLOWERS = """
import asyncio, sys, httpx

async def follow(http, secret):
    async with http.stream("GET", "/v1/events", headers={"Authorization": f"Bearer {secret}"}) as stream:
        async for _ in stream.aiter_raw():
            pass

async def main(url, num, *secrets):
    async with httpx.AsyncClient(base_url=url, timeout=None, limits=httpx.Limits(max_connections=None)) as http:
        await asyncio.gather(*(follow(http, secrets[index % len(secrets)]) for index in range(int(num))))

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.fire
def test_chat_goes_on_beside_900_streams(tmp_path: Path) -> None:
    """Its median stays within five times of that without them; it was sixteen times when each stream read the store."""
    with running(tmp_path / "data", engine__poll_s=0.2, limits__connections_per_address=0) as served:
        with served.db() as db:
            secrets = [make_key(db, f"key {number}", ("chat",))[1] for number in range(16)]
        served.http.headers["Authorization"] = f"Bearer {secrets[0]}"

        def median_s() -> float:
            took = []
            for _ in range(50):
                began = time.perf_counter()
                served.chat()
                took.append(time.perf_counter() - began)
            return statistics.median(took)

        alone = median_s()
        followers = subprocess.Popen([sys.executable, "-c", FOLLOWERS, served.url, "900", *secrets])
        try:
            wait_until(lambda: served.service.event_streams.open.total() == 900, 60)
            assert median_s() < 5 * alone
        finally:
            followers.kill()
            followers.wait()

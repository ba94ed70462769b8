"""A soak test: clients read, cancel and hang while versions change. Is memory flat, and does anything remain?

    python -m bench.soak [--model pocket-nano] [--minutes 30] [--clients 10] [--swap-every 30]

It starts a service with the learner off. Every few seconds it records the service's memory (alone and with its
runners), threads, open files, tasks and leases. At the end all clients leave; anything that the service still holds is
a leak. At most 200 swaps and 20,000 answers.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import socket
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
from sqlite_utils import Database

from bench.record import record
from bench.swap import ASKED, SETTINGS, Publisher, ask, service
from bench.swap import Seen as Answers
from store.database import connect
from store.versions import live_version

MAX_SWAPS, MAX_ANSWERS = 200, 20_000
SAMPLE_S = 10.0
WAIT_S = 360.0  # for all tasks to end after the stop: a version that is loading takes long
WARM_UP = 0.2  # share of the time in which caches fill and arenas grow
LIMIT = 0.10  # largest growth of memory after that which counts as flat
NUMBERS = ("attune_tasks", "attune_leases", "attune_replies_active", "attune_requests_queued", "attune_slots_loaded")


class Soak:
    """One service under load, with its samples."""

    def __init__(self, url: str, pid: int, db: Database, publisher: Publisher) -> None:
        self.url, self.process, self.db, self.publisher = url, psutil.Process(pid), db, publisher
        self.http = httpx.AsyncClient(base_url=url, timeout=180, limits=httpx.Limits(max_connections=100))
        self.stop = asyncio.Event()
        self.did: Counter[str] = Counter()
        self.failed: list[str] = []
        self.samples: list[dict[str, float]] = []
        self.began, self.lasted_s = time.monotonic(), 0.0
        self.swaps = 0

    async def client(self, index: int) -> None:
        """Ask, read, rate, leave or hang, until the stop."""
        rng = random.Random(index)
        acts = [
            self.read,
            self.read,
            self.read,
            self.cancel,
            self.cancel,
            self.hang,
            self.compare,
            self.ask_an_old_version,
        ]
        while not self.stop.is_set() and self.did.total() < MAX_ANSWERS:
            act = rng.choice(acts)
            try:
                await act(rng)
                self.did[act.__name__] += 1
            except (httpx.HTTPError, RuntimeError, ValueError, IndexError, KeyError, OSError) as error:
                self.failed.append(f"{act.__name__}: {type(error).__name__}: {error}")
            await asyncio.sleep(rng.uniform(0.2, 1.0))

    async def read(self, rng: random.Random) -> None:
        """Read one answer to its end and rate it, sometimes with alternatives."""
        seen, settings = Answers(), dict(rng.choice(SETTINGS))
        if rng.random() < 0.05:
            settings |= {"logprobs": True, "top_logprobs": 3, "max_tokens": 24}
        async for _ in ask(self.http, self.body(rng, **settings), seen):
            pass
        if rng.random() < 0.5:
            rated = await self.http.post(
                "/v1/feedback", json={"completion_id": seen.ids[0], "thumb": rng.choice(["up", "up", "down"])}
            )
            rated.raise_for_status()

    async def cancel(self, rng: random.Random) -> None:
        """Leave in the middle of a stream, or while waiting for a whole answer."""
        body = self.body(rng, max_tokens=128, stream=rng.random() < 0.7)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(rng.uniform(0.05, 0.6)):
                async with self.http.stream("POST", "/v1/chat/completions", json=body) as stream:
                    chunks = rng.randrange(1, 20)
                    async for _ in stream.aiter_lines():
                        chunks -= 1
                        if not chunks:
                            return

    async def hang(self, rng: random.Random) -> None:
        """Ask, read nothing for seconds, and close the connection; or send half a request."""
        address = urlsplit(self.url)
        payload = json.dumps(self.body(rng, n=4, max_tokens=128, stream=True, logprobs=True)).encode()
        lines = [
            "POST /v1/chat/completions HTTP/1.1",
            f"Host: {address.netloc}",
            "Content-Type: application/json",
            f"Content-Length: {len(payload)}",
        ]
        with socket.socket() as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            raw.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(raw, (address.hostname, address.port))
            whole = "\r\n".join([*lines, "", ""]).encode() + payload
            await loop.sock_sendall(raw, whole[: len(whole) // 2] if rng.random() < 0.3 else whole)
            await asyncio.sleep(rng.uniform(2, 12))

    async def compare(self, rng: random.Random) -> None:
        """Start a comparison and choose."""
        asked = await self.http.post("/v1/comparisons", json={"messages": self.body(rng)["messages"], "max_tokens": 32})
        asked.raise_for_status()
        chosen = await self.http.post(
            f"/v1/comparisons/{asked.json()['id']}/choice", json={"winner": rng.choice(["A", "B", "tie"])}
        )
        chosen.raise_for_status()

    async def ask_an_old_version(self, rng: random.Random) -> None:
        """Ask a version by its name; it is loaded for that and unloaded again."""
        number = max(0, self.swaps - rng.randrange(3)) if rng.random() < 0.3 else self.swaps
        async for _ in ask(self.http, {**self.body(rng, max_tokens=24), "model": f"attune@{number}"}, Answers()):
            pass

    def body(self, rng: random.Random, **settings: Any) -> dict[str, Any]:
        """Return one request."""
        return {"model": "attune", "messages": [{"role": "user", "content": rng.choice(ASKED)}], **settings}

    async def swap(self, every_s: float) -> None:
        """Make one version after the other live."""
        while not self.stop.is_set() and self.swaps < MAX_SWAPS:
            await asyncio.sleep(every_s)
            number = self.swaps + 1
            digest = await asyncio.to_thread(self.publisher.write, number)
            self.publisher.announce(self.db, number, digest)
            began = time.monotonic()
            while live_version(self.db).number != number:
                await asyncio.sleep(0.1)
                if time.monotonic() - began > 300:
                    self.failed.append(f"version {number} was not live after 300 s")
                    return
            self.swaps = number

    async def watch(self) -> None:
        """Record samples until the stop."""
        while not self.stop.is_set():
            self.samples.append(await self.sample())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stop.wait(), SAMPLE_S)

    async def sample(self) -> dict[str, float]:
        """Return a sample of what the service holds; memory in MiB."""
        text = (await self.http.get("/metrics")).text
        numbers = {
            name.removeprefix("attune_"): float(line.split()[1])
            for line in text.splitlines()
            for name in NUMBERS
            if line.startswith(name + " ")
        }
        children = self.process.children(recursive=True)
        rss = [0.0]
        for child in children:
            with contextlib.suppress(psutil.Error):
                rss.append(child.memory_info().rss / 2**20)
        own = self.process.memory_info().rss / 2**20
        return {
            "s": round(time.monotonic() - self.began, 1),
            "service_mib": round(own, 1),
            "all_mib": round(own + sum(rss), 1),
            "runner_mib": round(sum(rss) / max(1, len(children)), 1),
            "processes": 1 + len(children),
            "threads": self.process.num_threads(),
            "files": self.process.num_fds(),
            **numbers,
        }

    async def run(self, minutes: float, clients: int, swap_every: float) -> dict[str, Any]:
        """Run the whole soak test and return its result."""
        before = await self.sample()
        tasks = [asyncio.create_task(self.client(index), name=f"client {index}") for index in range(clients)]
        tasks += [
            asyncio.create_task(self.swap(swap_every), name="swap"),
            asyncio.create_task(self.watch(), name="watch"),
        ]
        await asyncio.sleep(minutes * 60)
        self.lasted_s = time.monotonic() - self.began
        self.stop.set()
        await self.ended(tasks, WAIT_S)
        after: dict[str, float] = {}
        for _ in range(60):  # idle connections and drained versions take a moment to close
            after = await self.sample()
            if after["leases"] == after["replies_active"] == 0 and after["tasks"] <= before["tasks"]:
                break
            await asyncio.sleep(2)
        await self.http.aclose()
        return self.result(before, after)

    async def ended(self, tasks: list[asyncio.Task[None]], wait_s: float) -> None:
        """Wait for the tasks; one that raised or hangs comes first in the list of failures."""
        done, pending = await asyncio.wait(tasks, timeout=wait_s)
        broken = [
            f"{task.get_name()}: {type(error).__name__}: {error}"
            for task in tasks
            if task in done and (error := task.exception())
        ]
        hanging = [f"{task.get_name()} had not ended after {wait_s:g} s" for task in tasks if task in pending]
        self.failed[:0] = broken + hanging
        for task in pending:
            task.cancel()

    def result(self, before: dict[str, float], after: dict[str, float]) -> dict[str, Any]:
        """Return the verdicts with their numbers. Memory is not flat without samples until the end."""
        samples = self.samples or [before]
        warm = samples[int(len(samples) * WARM_UP) :]
        is_watched = samples[-1]["s"] >= self.lasted_s - max(0.1 * self.lasted_s, 2 * SAMPLE_S)
        third = max(1, len(warm) // 3)

        def growth(name: str) -> dict[str, float]:
            first, last = (
                sorted(sample[name] for sample in part)[len(part) // 2] for part in (warm[:third], warm[-third:])
            )
            return {"first_third": first, "last_third": last, "growth": round(last / first - 1, 4)}

        memory = {name: growth(name) for name in ("service_mib", "runner_mib", "all_mib", "threads", "files")}
        held = ("tasks", "leases", "replies_active", "requests_queued")
        return {
            "swaps": self.swaps,
            "did": dict(self.did),
            "failed": len(self.failed),
            "failures": self.failed[:5],
            "medians": memory,
            "memory_is_flat": is_watched
            and all(memory[name]["growth"] <= LIMIT for name in ("service_mib", "runner_mib", "all_mib")),
            "before": before,
            "after": after,
            "left_behind": {name: after[name] - before[name] for name in held},
            "samples": samples[:: max(1, len(samples) // 40)],
            "load_average": os.getloadavg()[1],
        }


def main() -> None:
    """Soak once, print, and write bench/results/soak.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="pocket-nano")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument(
        "--swap-every", type=float, default=30.0, help="seconds from one version's going live to the next version"
    )
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        publisher = Publisher(data, asked.model, scale=0.2)
        with service(data, asked.model) as (url, pid):
            db = connect(data)
            soak = Soak(url, pid, db, publisher)
            numbers = asyncio.run(soak.run(asked.minutes, asked.clients, asked.swap_every))
            db.close()
    numbers = {"model": asked.model, "minutes": asked.minutes, "clients": asked.clients, **numbers}
    print(json.dumps({name: value for name, value in numbers.items() if name != "samples"}, indent=1))
    record("soak", numbers)


if __name__ == "__main__":
    main()

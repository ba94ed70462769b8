"""The soak's verdict: unwatched memory is not flat, and who breaks off or hangs has failed."""

import asyncio
import os
from typing import Any

import pytest

from bench.soak import SAMPLE_S, Soak

SIZE = {
    "service_mib": 100.0,
    "runner_mib": 50.0,
    "all_mib": 150.0,
    "threads": 9,
    "files": 20,
    "tasks": 3,
    "leases": 0,
    "replies_active": 0,
}


def soak_of(samples_until_s: float) -> Soak:
    unused: Any = None
    soak = Soak("http://127.0.0.1:9", os.getpid(), unused, unused)
    soak.lasted_s = 1800.0
    soak.samples = [at(second) for second in range(0, int(samples_until_s), int(SAMPLE_S))]
    return soak


def at(second: float) -> dict[str, float]:
    return {**SIZE, "requests_queued": 0, "s": float(second)}


@pytest.mark.parametrize(("until", "flat"), [(1800.0, True), (900.0, False), (0.0, False)])
def test_memory_is_flat_only_where_somebody_looked_to_the_end(until: float, flat: bool) -> None:
    assert soak_of(until).result(at(0), at(1810))["memory_is_flat"] is flat


def test_who_breaks_off_and_who_hangs_has_failed() -> None:
    async def breaks_off() -> None:
        raise LookupError("no answer")

    async def hangs() -> None:
        await asyncio.sleep(3600)

    async def fine() -> None:
        pass

    async def play(soak: Soak) -> None:
        named = {"watch": breaks_off(), "client 1": hangs(), "client 2": fine()}
        await soak.ended([asyncio.create_task(work, name=name) for name, work in named.items()], 0.2)

    soak = soak_of(1800.0)
    soak.failed = ["read: an earlier one"]
    asyncio.run(play(soak))
    assert soak.failed == [
        "watch: LookupError: no answer",
        "client 1 had not ended after 0.2 s",
        "read: an earlier one",
    ]

"""One simulation, from the first question to the last measurement."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import attune
from clients.simulated.measurement import Point, measure_versions
from clients.simulated.populations import population
from clients.simulated.questions import held_out
from clients.simulated.rounds import Progress, Report, clients_for, run_rounds, wait_until_learned


@dataclass(frozen=True)
class Settings:
    """The settings of a simulation. `taste` may mix: "short+polite", "correct*2+short", or "short,long" for two kinds.

    `noisy`, `lazy` and `contrarian` are shares of the users, 0..1. `wait_s` is the longest wait for the learner at the
    end; None never waits for it. Each version answers `prompts` held-out questions `samples` times.
    """

    taste: str = "short"
    users: int = 8
    rounds: int = 48
    seed: int = 0
    noisy: float = 0.0
    lazy: float = 0.0
    contrarian: float = 0.0
    wait_s: float | None = 300.0
    prompts: int = 64
    samples: int = 4


@dataclass(frozen=True)
class Outcome:
    """The results of a simulation. `settled` is False when the learner was still at work when the wait ended."""

    settings: Settings
    feedback_given: dict[str, int]
    live: int
    settled: bool
    seconds: float
    points: list[Point]


async def simulate(
    settings: Settings, url: str | None, key: str | None, on_round: Report, on_measure: Callable[[int, int], None]
) -> Outcome:
    """Run one simulation against a service. Raises AttuneError, UnknownTaste, LearnerAway."""
    began = time.monotonic()
    people = population(
        settings.taste,
        settings.users,
        settings.seed,
        noisy=settings.noisy,
        lazy=settings.lazy,
        contrarian=settings.contrarian,
    )
    settled = True
    async with attune.AsyncClient(url, key) as first:  # fails at once without a service; later clients are patient
        await first.learner()
    async with clients_for((url, key), people.users) as clients:
        progress: Progress = await run_rounds(
            people, clients, settings.rounds, settings.seed, on_round, keep_pace=settings.wait_s is not None
        )
        if settings.wait_s is not None:
            settled = await wait_until_learned(clients[0], progress, on_round, settings.wait_s)
        points = await measure_versions(clients[0], people, held_out(settings.prompts), settings.samples, on_measure)
        live = (await clients[0].learner()).live or 0
    return Outcome(settings, dict(progress.feedback_given), live, settled, time.monotonic() - began, points)

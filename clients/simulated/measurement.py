"""Each version's win rate against version 0 on held-out questions, by the population's tastes."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

import attune
from clients.simulated.populations import Population
from clients.simulated.questions import Question
from clients.simulated.rounds import MAX_TOKENS

RESAMPLES = 2000
AT_ONCE = 16  # requests under way at the same time
MAX_VERSIONS = 12  # measured, spread evenly from the first to the live one
ANSWERING = ("live", "retired", "canary")


@dataclass(frozen=True)
class Point:
    """One version on the curve, with rates against version 0.

    `items` counts the feedback that made it and its ancestors.
    """

    version: int
    state: str
    items: int
    win_rate: float
    interval: tuple[float, float]
    mean_length: float  # characters
    mean_taste: float
    right: float  # share of right answers, by the skills' checkers


@dataclass(frozen=True)
class Answers:
    """All answers of one version: `texts[q][i]` is sample i of question q."""

    texts: list[list[str]]


async def measure_versions(
    client: attune.AsyncClient,
    people: Population,
    questions: Sequence[Question],
    samples: int,
    report: Callable[[int, int], None],
) -> list[Point]:
    """Return a point for each version that can answer, oldest first. `report(done, total)` counts requests."""
    known = {version.version: version for version in await client.versions()}
    chosen = spread([number for number, version in known.items() if version.state in ANSWERING], MAX_VERSIONS)
    done, total, gate = 0, len(chosen) * len(questions), asyncio.Semaphore(AT_ONCE)

    async def ask(model: str, index: int) -> list[str]:
        nonlocal done
        async with gate:  # one seed a question, so that versions differ by their weights and not by luck
            answer = await client.chat(
                questions[index].messages, model=model, n=samples, max_tokens=MAX_TOKENS, temperature=1.0, seed=index
            )
        done += 1
        report(done, total)
        return [choice.text for choice in answer.choices]

    answers = {}
    for number in chosen:  # one version after the other: each may have to be loaded
        asking = (ask(f"attune@{number}", index) for index in range(len(questions)))
        answers[number] = Answers(list(await asyncio.gather(*asking)))
    return [_point(known, number, answers[number], answers[chosen[0]], people, questions) for number in chosen]


def spread(numbers: Sequence[int], most: int) -> list[int]:
    """Return at most `most` of the numbers in order: the first, the last, and others evenly between them."""
    ordered = sorted(numbers)
    if len(ordered) <= most:
        return ordered
    return [ordered[round(index * (len(ordered) - 1) / (most - 1))] for index in range(most)]


def _point(
    known: dict[int, attune.Version],
    number: int,
    mine: Answers,
    base: Answers,
    people: Population,
    questions: Sequence[Question],
) -> Point:
    liked = taste_table(people, questions, mine)
    wins = win_table(liked, taste_table(people, questions, base))
    texts = [text for row in mine.texts for text in row]
    right = [question.is_right(text) for question, row in zip(questions, mine.texts, strict=True) for text in row]
    return Point(
        version=number,
        state=known[number].state,
        items=items_behind(known, number),
        win_rate=float(wins.mean()),
        interval=bootstrap_interval(wins),
        mean_length=float(np.mean([len(text) for text in texts])),
        mean_taste=float(liked.mean()),
        right=float(np.mean(right)),
    )


def taste_table(people: Population, questions: Sequence[Question], answers: Answers) -> np.ndarray:
    """Return each taste's value of each answer: (questions, samples, tastes)."""
    return np.array(
        [[people.like(question, text) for text in row] for question, row in zip(questions, answers.texts, strict=True)]
    )


def win_table(mine: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Return each question's share of won pairs, where a tie counts half.

    Every sample of `mine` meets every sample of `base`, and each taste counts alike. Both are (questions, samples,
    tastes); the result is (questions,).
    """
    gap = mine[:, :, None, :] - base[:, None, :, :]
    return np.asarray(((gap > 0) + 0.5 * (gap == 0)).mean(axis=(1, 2, 3)))


def bootstrap_interval(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Return the 95 % interval of a mean by resampling questions (percentile bootstrap, Efron 1979).

    Questions are the unit, since answers to one question are not independent.
    """
    rng = np.random.default_rng(seed)
    means = values[rng.integers(0, len(values), (RESAMPLES, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def items_behind(known: dict[int, attune.Version], number: int) -> int:
    """Return the count of feedback that made a version and its ancestors."""
    total, version = 0, known.get(number)
    while version is not None:
        total += version.items
        version = known.get(version.parent) if version.parent is not None else None
    return total

"""A real service after some use: several versions with comparisons between them, and conversations."""

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import attune
from tests.served import serve

PEOPLE = ("anna", "ben", "chen", "dora")
QUESTIONS = (
    "What is the capital of Italy?",
    "Sort these words: pear, apple, fig.",
    "How many minutes are in 3 hours?",
    "Name three animals.",
    "What is the opposite of cold?",
    "What is 12 + 7?",
    "Hello!",
    "What is a map?",
    "日本的首都是哪里？",
    "请问3米等于多少厘米？",
)
TALKS = (
    ("Good morning!", "What can you do?"),
    ("What is the plural of mouse?",),
    ("What is 9 + 8?", "And what is 20 - 4?"),
    ("你好！", "请问8公斤等于多少克？"),
    ("Name four colours.",),
    ("Tell me a joke.",),
)


@contextlib.contextmanager
def lived_in(model: str) -> Iterator[str]:
    """Yield the address of such a service; stop it and delete its data afterwards."""
    with tempfile.TemporaryDirectory() as folder, serve(Path(folder) / "data", model=model) as served:
        live(served.url, Path(folder))
        yield served.url


def live(url: str, folder: Path) -> None:
    """Let simulated users teach it, with one rollback between, and let people compare the versions."""
    for seed, taste in ((1, "plain+correct"), (2, "polite+correct"), (3, "plain+correct")):
        simulate(url, folder, seed, taste)
        with attune.Client(url) as client:
            print("now:", [(version.version, version.state) for version in client.versions()], flush=True)
            if seed == 2 and sum(version.state == "retired" for version in client.versions()) > 1:
                client.rollback()
    with attune.Client(url) as client:
        while client.learner().state == "running":
            time.sleep(0.5)
        client.pause()  # so that feedback is waiting in the pictures
        compare_versions(url, [version for version in client.versions() if version.state in ("live", "retired")])
        for questions in TALKS:
            answer = client.chat(questions[0])
            for question in questions[1:]:
                answer = answer.ask(question)
            answer.rate("up" if len(answer.text) < 60 else "down", reason=None if len(answer.text) < 60 else "too_long")


def simulate(url: str, folder: Path, seed: int, taste: str) -> None:
    """Run `attune simulate` with a few people of one taste."""
    command = [
        Path(sys.executable).parent / "attune",
        "simulate",
        "--url",
        url,
        "--taste",
        taste,
        "--users",
        "4",
        "--seed",
        str(seed),
    ]
    subprocess.run(
        [*command, "--rounds", "8", "--prompts", "8", "--samples", "1", "--png", str(folder / "curve.png")], check=True
    )


def compare_versions(url: str, versions: list[attune.Version]) -> None:
    """Compare each version with the one before it on ten questions, and choose the shorter answer."""
    for index, (before, after) in enumerate(pairwise(versions)):
        with attune.Client(url, rater=PEOPLE[index % len(PEOPLE)]) as client:
            for question in QUESTIONS:
                comparison = client.compare(question, models=(before.model, after.model))
                a, b = len(comparison.a.content), len(comparison.b.content)
                comparison.choose("tie" if a == b else "A" if a < b else "B")

"""SIGKILL of the learner during an update: the update runs again on the same feedback, and serving goes on."""

import time
from pathlib import Path

import httpx
import psutil

from store.database import connect
from store.runs import runs
from store.versions import feedback_of_version, get_version
from tests.served import serve

ASKED = [
    "Hello!",
    "Who are you?",
    "What is 7 + 5?",
    "Tell me a joke.",
    "Name three animals.",
    "What is the capital of France?",
]


def teach(http: httpx.Client, items: int) -> None:
    """Prefer the shorter of two answers until `items` choices were worth something."""
    useful = 0
    while useful < items:
        question = {"messages": [{"role": "user", "content": ASKED[useful % len(ASKED)]}]}
        shown = http.post("/v1/comparisons", json=question).raise_for_status().json()
        a, b = (len(candidate["content"]) for candidate in shown["candidates"])
        http.post(
            f"/v1/comparisons/{shown['id']}/choice", json={"winner": "tie" if a == b else "A" if a < b else "B"}
        ).raise_for_status()
        useful += a != b


def kill_learner_of(service: int) -> None:
    (learner,) = (child for child in psutil.Process(service).children() if "learner" in child.cmdline())
    learner.kill()


def test_a_killed_update_is_made_again_with_the_same_items_and_nobody_is_turned_away(tmp_path: Path) -> None:
    flags = ("--config", str(tmp_path / "attune.toml"))
    # long enough to be killed in it
    (tmp_path / "attune.toml").write_text("[learner]\nsteps = 120\npasses = 400\nmax_kl = 50\n")
    with serve(tmp_path / "data", *flags) as served, httpx.Client(base_url=served.url, timeout=60) as http:
        while http.get("/v1/learner").json()["state"] != "idle":
            time.sleep(0.1)
        teach(http, 16)
        begun = _wait_for(http, lambda run: run["phase"] == "train" and run["step"] >= 2)
        kill_learner_of(served.process.pid)
        (killed,) = runs(connect(served.data))
        assert (killed.state, killed.attempt, killed.id) == ("running", 1, begun["id"])
        deadline = time.monotonic() + 300
        while (again := runs(connect(served.data))[-1]).state == "running" and time.monotonic() < deadline:
            answer = http.post(
                "/v1/chat/completions",
                json={"model": "attune", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 8},
            )
            assert answer.status_code == 200, answer.text
            time.sleep(0.2)
    assert again.state == "finished", again.error
    assert (again.id, again.attempt, again.seed, again.items, again.upto_seq) == (
        killed.id,
        2,
        killed.seed,
        killed.items,
        killed.upto_seq,
    )
    assert again.version is not None
    db = connect(served.data)
    assert len(set(feedback_of_version(db, again.version))) == again.items
    assert get_version(db, again.version).watermark == again.upto_seq


def _wait_for(http: httpx.Client, holds: object) -> dict[str, object]:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        run = http.get("/v1/learner").json()["run"]
        if run is not None and holds(run):  # type: ignore[operator]
            return run  # type: ignore[no-any-return]
        time.sleep(0.02)
    raise AssertionError(http.get("/v1/learner").json())

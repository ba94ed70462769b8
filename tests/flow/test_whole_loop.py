"""From choices to a version that fits them better, through the real command, the real engine and the real learner."""

import statistics
import threading
import time
from pathlib import Path

import httpx

from tests.served import serve

ASKED = [
    "Hello!",
    "Who are you?",
    "What is 7 + 5?",
    "What is the capital of France?",
    "Tell me a joke.",
    "Spell the word house.",
    "你好",
    "Name three animals.",
]
HELD_OUT = ["Good morning!", "What can you do?", "What is 9 + 6?", "Name three fruits."]


def lengths(http: httpx.Client, model: str) -> list[int]:
    responses = [
        http.post(
            "/v1/chat/completions",
            json={"model": model, "messages": [{"role": "user", "content": prompt}], "n": 8, "max_tokens": 64},
        ).raise_for_status()
        for prompt in HELD_OUT
        for _ in range(2)
    ]
    return [len(choice["message"]["content"]) for response in responses for choice in response.json()["choices"]]


def test_choices_for_short_answers_make_a_version_that_answers_shorter_while_nobody_is_turned_away(
    tmp_path: Path,
) -> None:
    with serve(tmp_path / "data") as served, httpx.Client(base_url=served.url, timeout=60) as http:
        stop, models, failures = threading.Event(), [], []

        def traffic() -> None:
            with httpx.Client(base_url=served.url, timeout=60) as own:
                while not stop.is_set():
                    body = {
                        "model": "attune",
                        "messages": [{"role": "user", "content": "Name three animals."}],
                        "max_tokens": 24,
                    }
                    answer = own.post("/v1/chat/completions", json=body)
                    if answer.status_code == 200:
                        models.append(answer.json()["model"])
                    else:
                        failures.append(answer.text)
                    time.sleep(0.2)

        thread = threading.Thread(target=traffic)
        thread.start()
        try:
            for turn in range(32):
                question = {"messages": [{"role": "user", "content": ASKED[turn % len(ASKED)]}]}
                shown = http.post("/v1/comparisons", json=question).raise_for_status().json()
                a, b = (len(candidate["content"]) for candidate in shown["candidates"])
                winner = "tie" if a == b else "A" if a < b else "B"
                http.post(f"/v1/comparisons/{shown['id']}/choice", json={"winner": winner}).raise_for_status()
            deadline, live = time.monotonic() + 240, 0
            while time.monotonic() < deadline:
                learner = http.get("/v1/learner").json()
                live = max(row["version"] for row in http.get("/v1/versions").json()["data"] if row["state"] == "live")
                if live > 0 and learner["state"] == "idle" and learner["waiting"] < 4:
                    break
                time.sleep(0.3)
            assert live > 0, http.get("/v1/versions").json()
            waited = time.monotonic() + 20
            while models[-1:] != [f"attune@{live}"] and time.monotonic() < waited:
                time.sleep(0.1)
        finally:
            stop.set()
            thread.join()
        assert not failures
        assert models[0] == "attune@0"
        assert models[-1] == f"attune@{live}"
        made_of = http.get(f"/v1/versions/{live}/feedback").json()["data"]
        assert made_of
        before, after = lengths(http, "attune@0"), lengths(http, f"attune@{live}")
        assert statistics.mean(after) < statistics.mean(before) - 0.1 * statistics.pstdev(before), (before, after)

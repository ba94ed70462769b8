"""Side-by-side questions: blind, on random sides, with the probability recorded."""

import random
from collections import Counter

import pytest

from service.comparisons import choose_pair
from store.comparisons import get_comparison
from store.completions import get_completion
from tests.service.running import Running

ASK = {"messages": [{"role": "user", "content": "Hello!"}]}


def test_a_question_shows_two_different_texts_without_names(served: Running) -> None:
    asked = served.http.post("/v1/comparisons", json=ASK)
    assert asked.status_code == 201
    body = asked.json()
    a, b = body["candidates"]
    assert (a["label"], b["label"]) == ("A", "B")
    assert a["content"] != b["content"]
    assert "attune" not in asked.text
    assert set(a) == {"label", "completion_id", "content"}
    with served.db() as db:
        kept, left = get_comparison(db, body["id"]), get_completion(db, a["completion_id"])
    assert (kept.a_completion_id, kept.b_completion_id, kept.reason) == (
        a["completion_id"],
        b["completion_id"],
        "different",
    )
    assert kept.propensity == pytest.approx(1 / 12)  # one of six pairs, on one of two orders
    assert (left.text, left.version, left.kind) == (a["content"], 0, "comparison")
    assert len(left.logps) == len(left.completion_ids) > 0


def test_a_choice_names_the_models_and_a_second_one_is_another_row(served: Running) -> None:
    asked = served.http.post("/v1/comparisons", json=ASK).json()
    first = served.http.post(f"/v1/comparisons/{asked['id']}/choice", json={"winner": "A", "reason": "clear"})
    assert first.status_code == 201
    assert first.json()["models"] == {"A": "attune@0", "B": "attune@0"}
    assert (first.json()["kind"], first.json()["winner"], first.json()["reason"]) == ("choice", "A", "clear")
    assert served.http.post(f"/v1/comparisons/{asked['id']}/choice", json={"winner": "B"}).status_code == 201
    with served.db() as db:
        assert [row["winner"] for row in db.query("SELECT winner FROM feedback ORDER BY seq")] == ["A", "B"]


def test_choices_are_checked(served: Running) -> None:
    asked = served.http.post("/v1/comparisons", json=ASK).json()
    assert served.http.post(f"/v1/comparisons/{asked['id']}/choice", json={"winner": "C"}).status_code == 400
    assert served.http.post("/v1/comparisons/nothing/choice", json={"winner": "A"}).status_code == 404
    assert served.http.post("/v1/comparisons", json={**ASK, "models": ["attune"]}).status_code == 400
    assert served.http.post("/v1/comparisons", json={**ASK, "models": ["attune", "attune@9"]}).status_code == 404


def test_a_choice_with_a_key_is_one_row(served: Running) -> None:
    asked = served.http.post("/v1/comparisons", json=ASK).json()
    url, key = f"/v1/comparisons/{asked['id']}/choice", {"Idempotency-Key": "once"}
    statuses = [
        served.http.post(url, json={"winner": winner}, headers=key).status_code for winner in ("tie", "tie", "A")
    ]
    assert statuses == [201, 200, 409]


def test_two_named_versions_are_compared_and_counted(served: Running) -> None:
    number = served.add_candidate()
    served.wait_for_state(number, "live")
    asked = served.http.post("/v1/comparisons", json={**ASK, "models": ["attune@0", f"attune@{number}"]}).json()
    winner = next(side["label"] for side in asked["candidates"] if f"w{number}-" in side["content"])
    chosen = served.http.post(f"/v1/comparisons/{asked['id']}/choice", json={"winner": winner}).json()
    assert chosen["models"][winner] == f"attune@{number}"
    rows = served.versions()
    assert (rows[number]["comparisons"]["wins"], rows[0]["comparisons"]["losses"]) == (1, 1)
    assert rows[number]["win_rate"] == 1.0
    low, high = rows[number]["win_rate_interval"]
    assert 0 < low < high <= 1


def test_while_there_is_a_canary_it_is_compared_with_live(served: Running) -> None:
    number = served.add_candidate()
    served.wait_for_state(number, "live")
    assert served.http.post("/v1/versions/0/promote", json={"canary": 0.5}).status_code == 200
    asked = served.http.post("/v1/comparisons", json=ASK).json()
    versions = {side["content"].split("-")[0] for side in asked["candidates"]}
    assert versions == {"w0", f"w{number}"}


def test_pairs_of_different_texts_are_equally_likely_on_both_sides() -> None:
    rng = random.Random(0)
    seen = Counter((pair.a, pair.b) for pair in (choose_pair(["x", "y", "x", "z"], [1] * 4, rng) for _ in range(5000)))
    assert set(seen) == {(i, j) for i in range(4) for j in range(4) if i != j} - {(0, 2), (2, 0)}
    assert min(seen.values()) > 0.8 * 5000 / 10
    assert choose_pair(["x", "y", "x", "z"], [1] * 4, rng).propensity == pytest.approx(1 / 10)
    assert choose_pair(["x", "x"], [1, 1], rng).reason == "same"

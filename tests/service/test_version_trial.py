"""A version on trial: the bet against it, the canary, and the rollback when people like it less."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlite_utils import Database

from service.settings import CanarySettings
from service.version_trial import HELD, PASSED, TrialMonitor, Verdict, greatest_wealth
from store.api_keys import make_key
from store.database import open_store, transaction
from store.ids import now
from store.traffic import current_traffic, end_canary, set_canary
from store.versions import Version, add_version, ensure_base_version, set_live
from tests.service.running import Running, running, wait_until

DAY = datetime(2030, 1, 1, tzinfo=UTC)


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, 0.25]), max_size=60))
def test_wealth_never_falls_and_better_answers_never_raise_it(seen: list[float]) -> None:
    assert greatest_wealth(seen) >= greatest_wealth(seen[:-1]) >= 1.0
    assert greatest_wealth([min(1.0, outcome + 0.25) for outcome in seen]) <= greatest_wealth(seen) + 1e-9


def test_a_version_as_good_is_rarely_taken_back_and_a_worse_one_soon() -> None:
    rng = random.Random(1)

    def taken_back(win: float, items: int) -> float:
        return sum(greatest_wealth(float(rng.random() < win) for _ in range(items)) >= 20 for _ in range(400)) / 400

    assert taken_back(0.5, 400) <= 0.05 + 0.03
    assert taken_back(0.6, 400) <= 0.01
    assert taken_back(0.25, 60) > 0.9
    assert greatest_wealth([0.0] * 8) < 20 <= greatest_wealth([0.0] * 9)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """A store of its own, with a base version."""
    opened = open_store(tmp_path / "data")
    with transaction(opened):
        ensure_base_version(opened, "base-digest")
    yield opened
    opened.close()


def rate(served: Running, model: str, thumb: str, times: int = 1) -> None:
    """Ask without naming a version, and rate the answers that `model` gives, or all with "attune"."""
    for _ in range(times):
        answer = served.chat()
        while model not in ("attune", answer["model"]):
            answer = served.chat()
        body = {"completion_id": answer["id"], "thumb": thumb}
        response = served.http.post("/v1/feedback", json=body)
        assert response.status_code == 201


def events(served: Running, kind: str) -> list[dict[str, Any]]:
    """Return the data of all events of a kind."""
    import json

    with served.db() as db:
        return [
            json.loads(row["data"]) for row in db.query("SELECT data FROM events WHERE kind = ? ORDER BY seq", [kind])
        ]


def decision(served: Running) -> str | None:
    """Return the decision on the trial now, at once: the service's own monitor looks every half a second."""
    with served.db() as db:
        verdict = TrialMonitor(served.service.settings.canary).verdict(db)
    return verdict.decision if verdict is not None else None


def test_a_live_version_that_people_like_less_is_taken_back(served: Running) -> None:
    rate(served, "attune", "up", 10)
    number = served.add_candidate()
    served.wait_for_state(number, "live")
    rate(served, "attune", "down", 8)
    assert decision(served) == "open"  # eight are not enough evidence
    assert served.versions()[number]["state"] == "live"
    rate(served, "attune", "down")
    served.wait_for_state(number, "withdrawn")
    wait_until(lambda: served.chat()["model"] == "attune@0", what="the version before answers again")
    (back,) = events(served, "version.rolled_back")
    assert (back["version"], back["previous"]) == (0, number)
    assert "9 outcomes, 0.00 in its favor" in back["reason"]
    assert "attune_rollbacks_total 1.0" in served.http.get("/metrics").text


def test_the_same_preference_and_answers_asked_for_by_version_take_nothing_back(served: Running) -> None:
    rate(served, "attune", "up", 9)
    number = served.add_candidate()
    served.wait_for_state(number, "live")
    pairs = [(served.chat(model="attune@0"), served.chat(model=f"attune@{number}")) for _ in range(10)]
    for better, worse in [*pairs, *[(pairs[0][0], served.chat())] * 10]:
        body = {"completion_id": better["id"], "preferred_over": {"completion_id": worse["id"]}}
        served.http.post("/v1/feedback", json=body).raise_for_status()
    for better, worse in pairs:
        for answer, thumb in ((better, "up"), (worse, "down")):
            body = {"completion_id": answer["id"], "thumb": thumb}
            served.http.post("/v1/feedback", json=body).raise_for_status()
    assert decision(served) == "open"
    assert served.versions()[number]["state"] == "live"


def test_where_a_team_rates_one_key_takes_nothing_back_and_two_do(
    served: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served.db() as db:
        keys = {name: make_key(db, name, ("chat", "feedback"))[1] for name in ("ann", "bob", "eve")}
    days = iter(range(1, 999))
    monkeypatch.setattr("service.routes.feedback.now", lambda: (DAY + timedelta(next(days))).isoformat())

    def rate_as(name: str, thumb: str, times: int) -> None:
        """Rate on as many days."""
        for _ in range(times):
            served.http.headers["Authorization"] = f"Bearer {keys[name]}"
            rate(served, "attune", thumb)

    for name in keys:
        rate_as(name, "up", 12)
    number = served.add_candidate()
    wait_until(lambda: served.chat()["model"] == f"attune@{number}", what="the candidate answers")
    rate_as("eve", "down", 12)
    assert decision(served) == "open"
    rate_as("bob", "down", 1)
    assert decision(served) == "worse"


def test_what_an_operator_made_live_stays(served: Running) -> None:
    rate(served, "attune", "up", 9)
    number = served.add_candidate()
    served.wait_for_state(number, "live")
    served.http.post("/v1/versions/rollback", json={}).raise_for_status()
    served.http.post(f"/v1/versions/{number}/promote").raise_for_status()
    assert decision(served) is None
    rate(served, "attune", "down", 9)
    assert decision(served) is None
    assert served.versions()[number]["state"] == "live"


def test_without_the_test_nothing_is_taken_back(tmp_path: Path) -> None:
    with running(tmp_path / "data", canary__rollback_alpha=0) as served:
        rate(served, "attune", "up", 9)
        number = served.add_candidate()
        served.wait_for_state(number, "live")
        rate(served, "attune", "down", 9)
        assert decision(served) == "open"
        assert served.versions()[number]["state"] == "live"


def test_a_canary_that_holds_becomes_live(tmp_path: Path) -> None:
    with running(tmp_path / "data", canary__share=0.5, canary__seconds=0.2, canary__feedback=3) as served:
        number = served.add_candidate()
        served.wait_for_state(number, "canary")
        wait_until(lambda: served.versions()[number]["share"] == 0.5, what="it has its share")
        later = served.add_candidate()
        models = {served.chat()["model"] for _ in range(40)}
        assert models == {"attune@0", f"attune@{number}"}
        rate(served, "attune@0", "up", 3)
        rate(served, f"attune@{number}", "up", 2)
        assert decision(served) == "open"  # two outcomes are too few
        assert served.versions()[number]["state"] == "canary"
        assert served.versions()[later]["state"] == "candidate"
        rate(served, f"attune@{number}", "up")
        served.wait_for_state(number, "live")
        served.wait_for_state(later, "withdrawn")  # it was made from a version that is no longer live


def test_a_canary_that_people_like_less_is_taken_out(tmp_path: Path) -> None:
    with running(tmp_path / "data", canary__share=0.3, canary__seconds=0.0, canary__feedback=50) as served:
        number = served.add_candidate()
        served.wait_for_state(number, "canary")
        rate(served, "attune@0", "up", 9)
        rate(served, f"attune@{number}", "down", 9)
        served.wait_for_state(number, "withdrawn")
        with served.db() as db:
            assert current_traffic(db).canary is None
        assert [(back["version"], back["previous"]) for back in events(served, "version.rolled_back")] == [(0, number)]


def test_a_candidate_waits_while_an_operators_canary_is_on_trial(served: Running) -> None:
    first = served.add_candidate()
    served.wait_for_state(first, "live")
    served.http.post("/v1/versions/0/promote", json={"canary": 0.5}).raise_for_status()
    late = served.add_candidate()
    looked = served.service.traffic.trial_checked_at
    wait_until(
        lambda: served.service.traffic.trial_checked_at > looked + 0.1,
        what="the trial was checked after the candidate came",
    )
    wait_until(lambda: not served.service.traffic.is_reacting, what="the reaction is over")
    assert [served.versions()[number]["state"] for number in (0, first, late)] == ["canary", "live", "candidate"]
    served.http.post("/v1/versions/0/promote", json={"canary": 0}).raise_for_status()
    served.wait_for_state(late, "live")


def test_a_verdict_is_void_once_an_operator_has_moved_traffic(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        rate(served, "attune", "up", 9)
        number = served.add_candidate()
        served.wait_for_state(number, "live")
    monitor, decisions = served.service.traffic.trial_monitor, []
    verdict_of = monitor.verdict

    def slow_verdict(db: Database) -> Verdict | None:
        verdict = verdict_of(db)
        decisions.append(verdict.decision if verdict is not None else "")
        if verdict is not None and verdict.decision == "worse":
            served.http.post("/v1/versions/0/promote").raise_for_status()
        return verdict

    monkeypatch.setattr(monitor, "verdict", slow_verdict)
    rate(served, f"attune@{number}", "down", 9)
    wait_until(lambda: "worse" in decisions[:-2], 30, "the trial was checked again, twice")
    assert [row["state"] for row in served.versions().values()] == ["live", "retired", "retired"]
    assert events(served, "version.rolled_back") == []


@pytest.mark.parametrize("by_operator", [False, True])
def test_a_live_version_stays_on_trial_after_a_canary_that_failed(by_operator: bool, db: Database) -> None:
    """Version 1 held as a canary and went live; 2 was its canary and was taken out: feedback on 1 counts as before."""
    monitor = TrialMonitor(CanarySettings(rollback_alpha=0.05))
    with transaction(db):
        for number in (1, 2):
            add_version(db, Version(number, number - 1, "candidate", f"digest{number}", "", 0, "mixed", now()), ())
        set_canary(db, 1, 0.1, PASSED)
        set_live(db, 1, "asked" if by_operator else HELD)
    before = monitor.verdict(db)
    with transaction(db):
        set_canary(db, 2, 0.1, PASSED)
    during = monitor.verdict(db)
    assert during is not None
    assert (during.trial.number, during.trial.rival, during.trial.is_canary) == (2, 1, True)
    with transaction(db):
        end_canary(db, 2, "people prefer the version before")
    after = monitor.verdict(db)
    assert before == after
    assert (after is None) == by_operator
    if after is not None:
        assert (after.trial.number, after.trial.rival, after.trial.is_canary) == (1, 0, False)


@pytest.mark.parametrize("share", [1.0, -0.1])
def test_a_canarys_share_is_below_one(share: float, tmp_path: Path) -> None:
    from service.errors import CannotStart
    from service.settings import load_settings

    with pytest.raises(CannotStart, match="--canary.share"):
        load_settings({"canary.share": share})

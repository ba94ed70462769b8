"""`attune simulate` against the fake service: who gives feedback, when it waits, and what it shows."""

import json
import threading
from collections import Counter
from pathlib import Path

import pytest

from attune.cli.app import run
from clients.simulated import rounds
from clients.simulated.curve import draw_curve
from clients.simulated.measurement import Point
from tests.sdk.fake_service import FakeService

SMALL = ("--users", "4", "--rounds", "6", "--prompts", "8", "--samples", "2")


@pytest.fixture
def learned(fake: FakeService, monkeypatch: pytest.MonkeyPatch) -> FakeService:
    """A service whose version 1 is brief, with an idle learner."""
    fake.is_verbose, fake.is_obeyed, fake.learner_state, fake.waiting = True, False, "idle", 0
    monkeypatch.setattr(rounds, "POLL_S", 0.02)
    monkeypatch.setattr(rounds, "AWAY_S", 0.2)
    return fake


def test_the_users_give_feedback_by_name_and_the_curve_is_measured(
    learned: FakeService, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    picture = tmp_path / "curve.png"
    assert run(["simulate", "--taste", "short", *SMALL, "--png", str(picture), "--json"]) == 0
    outcome = json.loads(capsys.readouterr().out)
    assert [(point["version"], point["win_rate"]) for point in outcome["points"]] == [(0, 0.5), (1, 1.0)]
    assert outcome["points"][1]["mean_length"] < outcome["points"][0]["mean_length"]
    assert outcome["settled"]
    assert sum(outcome["said"].values()) == 24
    raters = Counter(
        seen.headers["x-attune-rater"] for seen in learned.requests("/v1/feedback") + learned.requests("/choice")
    )
    assert set(raters) == {f"sim-0-{number}" for number in range(4)}
    assert all(
        seen.body["winner"] == "A" for seen in learned.requests("/choice")
    )  # the fake puts the brief version on side A
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 20_000


def test_the_same_seed_asks_the_same(learned: FakeService, tmp_path: Path) -> None:
    def questions(seed: str) -> list[str]:
        learned.seen.clear()
        assert run(["simulate", *SMALL, "--seed", seed, "--png", str(tmp_path / "x.png"), "--json"]) == 0
        asked = [seen for seen in learned.seen if seen.method == "POST" and seen.body and "messages" in seen.body]
        return sorted(json.dumps(seen.body["messages"]) for seen in asked)

    first = questions("4")
    assert questions("4") == first
    assert questions("5") != first


def test_a_table_for_people(learned: FakeService, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(["simulate", "--taste", "long", *SMALL, "--png", str(tmp_path / "x.png")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [
        "version",
        "state",
        "feedback",
        "win",
        "rate",
        "95",
        "%",
        "interval",
        "length",
        "taste",
        "right",
    ]
    assert lines[2].split()[:4] == ["1", "live", "16", "0.000"]
    assert "8 held-out questions" in lines[-1]


@pytest.mark.parametrize("state", ["down", "paused"])
def test_a_learner_that_is_away_ends_it_at_once(
    learned: FakeService, capsys: pytest.CaptureFixture[str], state: str, tmp_path: Path
) -> None:
    learned.learner_state = state
    assert run(["simulate", *SMALL, "--png", str(tmp_path / "x.png")]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert f"the learner is {state}" in err
    assert run(["simulate", *SMALL, "--no-wait", "--png", str(tmp_path / "x.png")]) == 0


def test_a_learner_that_is_silent_for_a_moment_is_waited_for(learned: FakeService, tmp_path: Path) -> None:
    learned.learner_state = "down"
    back = threading.Timer(0.15, lambda: setattr(learned, "learner_state", "idle"))
    back.start()
    assert run(["simulate", *SMALL, "--png", str(tmp_path / "x.png"), "--json"]) == 0
    back.join()


def test_it_reports_a_learner_that_was_not_done(
    learned: FakeService, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    learned.waiting = 9
    assert run(["simulate", *SMALL, "--wait", "1", "--png", str(tmp_path / "x.png")]) == 0
    assert "still at work" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--taste", "shrt"), "there is no taste 'shrt'"),
        (("--noisy", "0.7", "--lazy", "0.7"), "no population"),
        (("--url", "http://127.0.0.1:9"), "serve"),
    ],
)
def test_an_error_is_one_line(
    learned: FakeService, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    assert run(["simulate", *arguments]) == 1
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_a_curve_of_many_versions_is_drawn(tmp_path: Path) -> None:
    points = [
        Point(i, "retired", 16 * i, 0.5 + 0.03 * i, (0.45 + 0.03 * i, 0.55 + 0.03 * i), 60.0 - 3 * i, -5.0, 0.7)
        for i in range(12)
    ]
    draw_curve(points, "twelve versions", tmp_path / "deep" / "curve.png")
    assert (tmp_path / "deep" / "curve.png").stat().st_size > 20_000

"""When an update starts, as a table."""

from datetime import UTC, datetime, timedelta

import pytest

from learner.schedule import Decision, Situation, back_off_s, decision
from learner.settings import TriggerSettings

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
TRIGGER = TriggerSettings(feedback=16, seconds=20.0, min_feedback=4)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("situation", "expected"),
    [
        (Situation(0, None, 0), Decision("")),
        (Situation(16, ago(1), 16), Decision("feedback")),
        (Situation(15, ago(1), 15), Decision("", ago(-19))),
        (Situation(4, ago(20), 4), Decision("time", NOW)),
        (Situation(4, ago(19.9), 4), Decision("", ago(-0.1))),
        (Situation(3, ago(500), 3), Decision("")),
        (Situation(1, ago(1), 1, ordered=True), Decision("order")),
        (Situation(0, None, 5, ordered=True), Decision("order")),
        (Situation(0, None, 0, ordered=True), Decision("")),
        (Situation(99, ago(99), 99, paused=True), Decision("")),
        (Situation(1, ago(1), 1, paused=True, ordered=True), Decision("order")),
        (Situation(99, ago(99), 99, candidate_waits=True), Decision("")),
        (Situation(99, ago(99), 99, ordered=True, candidate_waits=True), Decision("")),
        (Situation(0, None, 0, retry_due=True), Decision("retry")),
        (Situation(0, None, 0, retry_due=True, paused=True), Decision("")),
        (Situation(99, ago(99), 99, not_before=ago(-5)), Decision("", ago(-5))),
        (Situation(99, ago(99), 99, not_before=ago(5)), Decision("feedback")),
        (Situation(1, ago(1), 1, ordered=True, not_before=ago(-5)), Decision("order")),
    ],
)
def test_when_an_update_starts(situation: Situation, expected: Decision) -> None:
    assert decision(situation, TRIGGER, NOW) == expected


def test_failures_wait_longer_and_longer_but_never_for_ever() -> None:
    waits = [back_off_s(failures) for failures in range(12)]
    assert waits[:4] == [0.0, 5.0, 10.0, 20.0]
    assert waits == sorted(waits)
    assert waits[-1] == 300.0

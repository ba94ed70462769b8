"""What the last runs mean for the next one: retries, and the wait after failures."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from learner.run_history import failures_in_a_row, may_retry, not_before
from store.runs import Run

END = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
DONE = Run("run-1", "mixed", "finished", {}, 7, 3, 16, 0, 16, END.isoformat(), version=4, finished_at=END.isoformat())
FAILED = replace(DONE, state="failed", version=None)


@pytest.mark.parametrize(
    ("run", "live", "may"),
    [
        (DONE, 3, True),
        (DONE, 4, False),
        (FAILED, 3, False),
        (replace(DONE, version=None), 3, False),
        (replace(DONE, settings={"retry_of": "run-0"}), 3, False),
    ],
)
def test_a_version_is_retried_once_from_the_version_it_started_on(run: Run, live: int, may: bool) -> None:
    assert may_retry([run, DONE], live) == may
    assert not may_retry([], live)


def test_failures_count_back_to_the_last_success() -> None:
    going_on = replace(DONE, state="running")
    assert failures_in_a_row([]) == 0
    assert failures_in_a_row([FAILED, going_on, FAILED, DONE, FAILED]) == 2


def test_the_wait_begins_when_the_last_run_failed() -> None:
    assert not_before([DONE, FAILED]) is None
    assert not_before([FAILED, FAILED, DONE]) == END + timedelta(seconds=10)
    assert not_before([replace(FAILED, finished_at=None)]) is None

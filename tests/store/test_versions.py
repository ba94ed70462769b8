"""The states of versions, the live one, and the rows of runs."""

from collections.abc import Callable

import pytest
from sqlite_utils import Database

from store.completions import Completion
from store.errors import UnknownVersion, WrongState
from store.events import events_after
from store.feedback import Feedback, add_feedback
from store.ids import now
from store.runs import Run, add_run, fail_run, finish_run, get_run, note_run, restart_run, unfinished_run
from store.traffic import current_traffic, set_canary
from store.versions import (
    Version,
    add_version,
    ensure_base_version,
    feedback_of_version,
    get_version,
    live_version,
    next_version_number,
    passed_candidate,
    roll_back,
    set_live,
    set_verdict,
    versions,
    withdraw,
)


def candidate(db: Database, number: int, passed: bool | None = True, parent: int = 0) -> None:
    add_version(
        db, Version(number, parent, "candidate", f"digest{number}", f"versions/{number:06d}", 0, "mixed", now()), ()
    )
    if passed is not None:
        set_verdict(db, number, passed, {"passed": passed, "reasons": [] if passed else ["drift"]})


def states(db: Database) -> list[str]:
    return [version.state for version in versions(db)]


def test_a_candidate_that_passed_waits_then_goes_live_and_the_old_one_retires(db: Database) -> None:
    candidate(db, 1)
    assert passed_candidate(db) == get_version(db, 1)
    previous = set_live(db, 1, "gate")
    assert previous is not None
    assert previous.number == 0
    assert states(db) == ["retired", "live"]
    assert passed_candidate(db) is None
    assert current_traffic(db).live == 1
    assert events_after(db, 0)[-1].data == {"version": 1, "previous": 0, "reason": "gate"}


def test_a_rejected_candidate_never_goes_live(db: Database) -> None:
    candidate(db, 1, passed=False)
    assert get_version(db, 1).gate == {"passed": False, "reasons": ["drift"]}
    with pytest.raises(WrongState, match="version 1 is rejected"):
        set_live(db, 1, "please")
    assert live_version(db).number == 0


def test_the_database_itself_refuses_two_live_versions(db: Database) -> None:
    with pytest.raises(Exception, match="UNIQUE"):
        add_version(db, Version(1, 0, "live", "d", "", 0, "mixed", now()), ())


def test_rolling_back_withdraws_the_present_one_and_skips_withdrawn_ones(db: Database) -> None:
    for number in (1, 2):
        candidate(db, number, parent=number - 1)
        set_live(db, number, "gate")
    assert roll_back(db, None, "asked").number == 1
    assert states(db) == ["retired", "live", "withdrawn"]
    assert roll_back(db, None, "asked").number == 0
    with pytest.raises(WrongState, match="no earlier version"):
        roll_back(db, None, "asked")
    set_live(db, 2, "asked after all")
    assert live_version(db).number == 2


def test_what_cannot_be_done_raises_an_error_with_the_reason(db: Database) -> None:
    with pytest.raises(UnknownVersion, match="9"):
        get_version(db, 9)
    with pytest.raises(WrongState, match="roll back before"):
        withdraw(db, 0, "bad")
    with pytest.raises(WrongState, match="only one that is candidate"):
        set_verdict(db, 0, True, {})
    with pytest.raises(WrongState, match="between 0 and 1, not"):
        set_canary(db, 0, 1.5, "")


def test_a_canary_is_retired_when_another_version_goes_live(db: Database) -> None:
    for number in (1, 2):
        candidate(db, number)
    set_canary(db, 1, 0.1, "gate")
    set_live(db, 2, "promoted")
    assert (get_version(db, 1).state, get_version(db, 2).state) == ("retired", "live")
    assert current_traffic(db).canary is None


def test_a_canary_gets_its_share_and_then_all(db: Database) -> None:
    candidate(db, 1)
    set_canary(db, 1, 0.1, "gate")
    assert (current_traffic(db).canary, current_traffic(db).share) == (1, 0.1)
    set_live(db, 1, "canary held")
    assert (current_traffic(db).live, current_traffic(db).canary) == (1, None)


def test_another_base_model_on_the_same_data_is_refused(db: Database) -> None:
    ensure_base_version(db, "base-digest")
    with pytest.raises(WrongState, match="base-digest"):
        ensure_base_version(db, "other")


def test_numbers_are_never_used_again(db: Database) -> None:
    assert next_version_number(db) == 1
    candidate(db, 1)
    withdraw(db, 1, "bad")
    assert next_version_number(db) == 2


def test_a_version_knows_what_made_it(
    db: Database, make_completion: Callable[..., Completion], make_feedback: Callable[..., Feedback]
) -> None:
    rows = [add_feedback(db, make_feedback(make_completion()))[0] for _ in range(3)]
    add_version(
        db, Version(1, 0, "candidate", "d", "versions/000001", 3, "mixed", now()), [row.id for row in reversed(rows)]
    )
    assert feedback_of_version(db, 1) == [row.id for row in rows]


def test_a_run_that_a_crash_left_is_found_and_counted(db: Database) -> None:
    add_run(db, Run("r", "mixed", "running", {"lr": 1e-3}, 7, 0, 4, 0, 4, now()))
    assert unfinished_run(db) is not None
    assert restart_run(db, "r").attempt == 2
    finish_run(db, "r", 1, {"loss": 0.5})
    assert unfinished_run(db) is None
    assert get_run(db, "r").metrics == {"loss": 0.5}
    add_run(db, Run("s", "mixed", "running", {}, 7, 0, 4, 0, 4, now()))
    note_run(db, "s", {"curve": [{"step": 1.0}]})
    fail_run(db, "s", "NaN")
    note_run(db, "s", {"curve": []})  # too late: the run has ended
    assert get_run(db, "s").metrics == {"curve": [{"step": 1.0}]}
    assert (get_run(db, "s").state, get_run(db, "s").error) == ("failed", "NaN")

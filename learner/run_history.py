"""What the last runs mean for the next one: whether a retry is due, and how long to wait after failures."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from learner.schedule import back_off_s
from store.runs import Run

RETRY_OF = "retry_of"  # in a run's settings: the run whose version the gate rejected
REWARDS_FROM = "reward_model_from"  # and the number of the reward model that it begins from, where there is one
BESIDE_SETTINGS = (RETRY_OF, REWARDS_FROM)


def may_retry(last: Sequence[Run], live: int) -> bool:
    """Whether the newest run made a version from `live` and was not itself a retry; `last` has the newest run first.

    A retry is due if the gate rejected that version.
    """
    return (
        bool(last)
        and last[0].state == "finished"
        and last[0].version is not None
        and last[0].parent == live
        and RETRY_OF not in last[0].settings
    )


def failures_in_a_row(last: Sequence[Run]) -> int:
    """Return how many of the newest runs failed without a success between them; a run that goes on does not count."""
    count = 0
    for run in last:
        if run.state == "failed":
            count += 1
        elif run.state != "running":
            break
    return count


def not_before(last: Sequence[Run]) -> datetime | None:
    """Return the end of the wait after failures, None if there is none."""
    failures = failures_in_a_row(last)
    if not failures or last[0].finished_at is None:
        return None
    return datetime.fromisoformat(last[0].finished_at) + timedelta(seconds=back_off_s(failures))

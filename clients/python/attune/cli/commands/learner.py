"""`attune update`."""

from __future__ import annotations

from attune.cli.options import Json, Key, Url, connect
from attune.cli.printing import feedback_count, print_json


def update(url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """Start an update now, with the feedback that is waiting."""
    with connect(url, key) as client:
        learner = client.update()
    if as_json:
        print_json(learner)
    else:
        waiting = f"{feedback_count(learner.waiting)} waiting"
        state = learner.state
        if learner.preparation is not None:
            state += f", {learner.preparation.done} of {learner.preparation.total}"
        print(f"the learner is {state}; {waiting}; `attune events` shows the progress")

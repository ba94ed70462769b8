"""The learner's state, its present run, and when the next one starts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Run:
    """One update of the model, under way or done: `step` of `steps` in `phase`, and the learner's `metrics`.

    >>> run = client.learner().run
    >>> run.phase, run.step, run.steps
    ('train', 3, 8)
    """

    id: str
    algorithm: str = ""
    phase: str = ""
    step: int = 0
    steps: int = 0
    loss: float | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    started_at: str = ""
    items: int = 0
    parent: int | None = None


@dataclass(frozen=True)
class Trigger:
    """When an update starts: at `items` waiting, or `seconds` after the first of at least `min_items`.

    >>> client.learner().trigger
    Trigger(items=16, seconds=20.0, min_items=4)
    """

    items: int = 0
    seconds: float = 0.0
    min_items: int = 0


@dataclass(frozen=True)
class Preparation:
    """What the learner makes before it needs it, while no update is due: `done` of `total` samples.

    >>> attune.Preparation(done=16, total=64).done
    16
    """

    done: int = 0
    total: int = 0


@dataclass(frozen=True)
class Learner:
    """The learner's state.

    `state` is idle, preparing, running, paused or down. `preparation` is there while it prepares. `waiting` counts the
    feedback that no update has used yet. `reward_model` has the number of its labels, and how many new labels it
    predicted: `pairs`, pairs of `equal_length`, `thumbs`. `detail` describes the learner's setup.

    >>> learner = client.learner()
    >>> learner.state, learner.live, learner.waiting
    ('running', 1, 5)
    """

    state: str
    paused: bool = False
    waiting: int = 0
    first_waiting_at: str | None = None
    live: int | None = None
    run: Run | None = None
    preparation: Preparation | None = None
    trigger: Trigger | None = None
    next_at: str | None = None
    last_run: dict[str, Any] | None = None
    heartbeat_at: str | None = None
    seen: int = 0
    reward_model: dict[str, Any] | None = None
    detail: dict[str, Any] = field(default_factory=dict)

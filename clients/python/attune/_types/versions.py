"""Versions of the model, the gate's reports on them, and samples of their answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from attune._types.chat import Message
from attune._types.comparisons import Record
from attune._types.feedback import Tally


@dataclass(frozen=True)
class Check:
    """One line of a gate report: the measured value, its limit (such as ">= 0" or "0.2 .. 5"), and whether it passed.

    >>> client.version(1).gate.checks[0]
    Check(name='held_out_gain', value=0.71, limit='>= 0', passed=True)
    """

    name: str
    value: float | None = None
    limit: str = ""
    passed: bool = False


@dataclass(frozen=True)
class Gate:
    """The gate's report on a version; `reasons` says why it was rejected.

    >>> client.version(2).gate.reasons
    ('held_out_gain is -0.41, wanted >= 0',)
    """

    passed: bool = False
    checks: tuple[Check, ...] = ()
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Version:
    """One version of the model and its record.

    `state` is candidate, rejected, canary, live, retired or withdrawn. `items` counts the feedback that made it.
    `share` is its share of the traffic (0..1), and `win_rate` its share of won comparisons, with a 95 % interval. Only
    `client.version(n)` fills `run`, `gate` and `manifest`.

    >>> [(version.version, version.state) for version in client.versions()]
    [(0, 'retired'), (1, 'live'), (2, 'rejected')]
    """

    version: int
    state: str = ""
    parent: int | None = None
    digest: str = ""
    created_at: str = ""
    live_at: str | None = None
    retired_at: str | None = None
    items: int = 0
    algorithm: str = ""
    passed: bool | None = None
    loaded: bool = False
    serving: bool = False
    share: float = 0.0
    answers: int = 0
    thumbs: Tally = Tally()
    comparisons: Record = Record()
    win_rate: float | None = None
    win_rate_interval: tuple[float, ...] | None = None
    run: dict[str, Any] | None = None
    gate: Gate | None = None
    manifest: dict[str, Any] | None = None
    metrics: dict[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> str:
        """The name of this version for `chat(model=...)`.

        >>> client.chat("Hello!", model=client.version(0).model).version
        0
        """
        return f"attune@{self.version}"


@dataclass(frozen=True)
class Sample:
    """Answers of two versions to the same messages: `text` by the version asked for, `against` by the other.

    >>> sample = client.samples(1, against=0)[0]
    >>> sample.prompt, sample.text, sample.against
    ('Hello!', 'Hello to you!', 'Well, hello to you, my dear friend!')
    """

    messages: tuple[Message, ...]
    text: str
    against: str = ""

    @property
    def prompt(self) -> str:
        """The content of the last message before the answers.

        >>> client.samples(1, against=0)[0].prompt
        'Hello!'
        """
        return self.messages[-1].content if self.messages else ""

"""What the service reports about itself: events and health."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Event:
    """One event of the service: `kind` is its name (`version.live`, `run.progress`, ...), `seq` its number.

    >>> with client.events(after=0) as events:
    ...     next(events).kind
    'feedback'
    """

    seq: int
    kind: str
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ServiceVersion:
    """Which release of the service answers, the last migration of its store, and its Python.

    >>> client.service_version().schema
    'm003_readiness'
    """

    version: str = ""
    schema: str = ""
    python: str = ""


@dataclass(frozen=True)
class Health:
    """Whether the service is alive (it answers) and ready (a version is loaded, the store is writable).

    `detail` is the body of the readiness check.

    >>> client.health().ready
    True
    """

    alive: bool
    ready: bool
    detail: dict[str, Any] = field(default_factory=dict)

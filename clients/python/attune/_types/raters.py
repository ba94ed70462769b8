"""Raters, and what erasing one removed."""

from __future__ import annotations

from dataclasses import dataclass

from attune._types.feedback import Tally


@dataclass(frozen=True)
class Proposal:
    """What the service proposes for a rater who is not trusted: to withdraw these versions; `live` would answer then.

    >>> client.raters()[1].proposal
    Proposal(withdraw=(2,), live=1)
    """

    withdraw: tuple[int, ...] = ()
    live: int = 0


@dataclass(frozen=True)
class Rater:
    """One person or program that gives feedback; `trust` is the learner's trust in them (0..1).

    >>> [(rater.id, rater.quarantined) for rater in client.raters()]
    [('alice', False), ('spammer', True)]
    """

    id: str
    name: str = ""
    created_at: str = ""
    answers: int = 0
    feedback: int = 0
    retracted: int = 0
    thumbs: Tally = Tally()
    choices: int = 0
    agreement: float | None = None
    trust: float | None = None
    quarantined: bool = False
    quarantined_at: str | None = None
    quarantine_reason: str = ""
    proposal: Proposal | None = None


@dataclass(frozen=True)
class Withdrawn:
    """The versions that were withdrawn since they had learned from a rater, and the version that is live now.

    >>> client.withdraw("spammer").live
    1
    """

    rater: str = ""
    versions: tuple[int, ...] = ()
    live: int = 0


@dataclass(frozen=True)
class Erased:
    """What erasing a rater removed; `versions` lists the withdrawn versions, which had learned from them.

    `rewritten`: the service's database was written anew, so that none of its files holds the deleted rows.

    >>> client.erase("spammer").rater
    'spammer'
    """

    rater: str = ""
    versions: tuple[int, ...] = ()
    feedback: int = 0
    completions: int = 0
    conversations: int = 0
    rewritten: bool = True

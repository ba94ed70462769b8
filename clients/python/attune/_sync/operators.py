# Written by make_sync.py from attune/_async/operators.py.
# Change that file, then run `python clients/python/make_sync.py`.
"""Operators' methods: versions, the learner, raters. Reading needs any key, acting one with the scope `admin`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attune._transport import Request, get, post, segment
from attune._types.feedback import Feedback
from attune._types.learner import Learner
from attune._types.raters import Erased, Rater
from attune._types.reading import read
from attune._types.versions import Sample, Version

if TYPE_CHECKING:
    from collections.abc import Iterator

    from attune._sync.connection import Connection


class OperatorMethods:
    """The operators' methods of `Client`."""

    _connection: Connection

    def versions(self) -> list[Version]:
        """All versions with their records, oldest first.

        >>> [(version.version, version.state) for version in client.versions()]
        [(0, 'retired'), (1, 'live'), (2, 'rejected')]
        """
        found = [version for version in self._connection.pages(get("/v1/versions"), Version)]
        return sorted(found, key=lambda version: version.version)

    def version(self, number: int) -> Version:
        """One version with its run, gate report and manifest. Raises NotFound for an unknown number.

        >>> version = client.version(1)
        >>> version.gate.passed
        True
        """
        return read(Version, self._connection.json(get(f"/v1/versions/{number}")))

    def version_feedback(self, number: int) -> Iterator[Feedback]:
        """The feedback from which a version was trained; pages load as you iterate. Raises NotFound.

        >>> [feedback.kind for feedback in client.version_feedback(1)]
        ['thumb', 'choice']
        """
        for one in self._connection.pages(get(f"/v1/versions/{number}/feedback"), Feedback):
            yield one

    def samples(self, number: int, against: int | None = None) -> list[Sample]:
        """Answers of a version and of `against` (default: its parent) to the same prompts. Raises NotFound.

        >>> samples = client.samples(1, against=0)
        >>> samples[0].text
        'Hello to you!'
        """
        return [one for one in self._connection.pages(get(f"/v1/versions/{number}/samples", against=against), Sample)]

    def promote(self, number: int, *, canary: float | None = None) -> Version:
        """Make a version live; `canary` (0.0-1.0) gives it that share of the traffic instead.

        Raises NotFound, Conflict, Forbidden.

        >>> version = client.promote(0)
        >>> version.state
        'live'
        """
        return self._version_after(post(f"/v1/versions/{number}/promote", canary=canary))

    def rollback(self, to: int | None = None) -> Version:
        """Go back to an older version: `to`, or the last good one. Raises NotFound, Conflict, Forbidden.

        >>> version = client.rollback()
        >>> version.version, version.state
        (0, 'live')
        """
        return self._version_after(post("/v1/versions/rollback", to=to))

    def _version_after(self, request: Request) -> Version:
        return read(Version, self._connection.json(request))

    def learner(self) -> Learner:
        """The state of the learner, and how much feedback is waiting.

        >>> learner = client.learner()
        >>> learner.state, learner.waiting
        ('running', 5)
        """
        return read(Learner, self._connection.json(get("/v1/learner")))

    def update(self) -> Learner:
        """Start an update now, with the feedback that is waiting.

        >>> learner = client.update()
        >>> learner.state
        'running'
        """
        return self._learner_after("update")

    def pause(self) -> Learner:
        """Stop the learner from starting updates; the service still accepts feedback.

        >>> learner = client.pause()
        >>> learner.state
        'paused'
        """
        return self._learner_after("pause")

    def resume(self) -> Learner:
        """Let the learner start updates again.

        >>> learner = client.resume()
        >>> learner.state
        'running'
        """
        return self._learner_after("resume")

    def _learner_after(self, order: str) -> Learner:
        return read(Learner, self._connection.json(post(f"/v1/learner/{order}")))

    def raters(self) -> list[Rater]:
        """All raters with their counts, agreement and trust. Needs an admin key.

        >>> [rater.id for rater in client.raters()]
        ['alice', 'spammer']
        """
        return [rater for rater in self._connection.pages(get("/v1/raters"), Rater)]

    def quarantine(self, rater_id: str, *, reason: str | None = None) -> Rater:
        """Exclude a rater's feedback from learning until `release`. Raises NotFound.

        >>> rater = client.quarantine("alice", reason="rates everything up")
        >>> rater.quarantined
        True
        """
        return read(Rater, self._connection.json(post(f"/v1/raters/{segment(rater_id)}/quarantine", reason=reason)))

    def release(self, rater_id: str) -> Rater:
        """Include a quarantined rater's feedback in learning again. Raises NotFound.

        >>> rater = client.release("spammer")
        >>> rater.quarantined
        False
        """
        return read(Rater, self._connection.json(post(f"/v1/raters/{segment(rater_id)}/release")))

    def erase(self, rater_id: str) -> Erased:
        """Erase a person: their rows, and the versions that learned from them. Cannot be undone. Raises NotFound.

        >>> erased = client.erase("spammer")
        >>> erased.feedback
        3
        """
        body = self._connection.json(Request("DELETE", f"/v1/raters/{segment(rater_id)}", timeout_s=600.0))
        return read(Erased, {"rater": rater_id, **(body or {})})

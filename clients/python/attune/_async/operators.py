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
    from collections.abc import AsyncIterator

    from attune._async.connection import AsyncConnection


class AsyncOperatorMethods:
    """The operators' methods of `AsyncClient`."""

    _connection: AsyncConnection

    async def versions(self) -> list[Version]:
        """All versions with their records, oldest first.

        >>> [(version.version, version.state) for version in await client.versions()]
        [(0, 'retired'), (1, 'live'), (2, 'rejected')]
        """
        found = [version async for version in self._connection.pages(get("/v1/versions"), Version)]
        return sorted(found, key=lambda version: version.version)

    async def version(self, number: int) -> Version:
        """One version with its run, gate report and manifest. Raises NotFound for an unknown number.

        >>> version = await client.version(1)
        >>> version.gate.passed
        True
        """
        return read(Version, await self._connection.json(get(f"/v1/versions/{number}")))

    async def version_feedback(self, number: int) -> AsyncIterator[Feedback]:
        """The feedback from which a version was trained; pages load as you iterate. Raises NotFound.

        >>> [feedback.kind async for feedback in client.version_feedback(1)]
        ['thumb', 'choice']
        """
        async for one in self._connection.pages(get(f"/v1/versions/{number}/feedback"), Feedback):
            yield one

    async def samples(self, number: int, against: int | None = None) -> list[Sample]:
        """Answers of a version and of `against` (default: its parent) to the same prompts. Raises NotFound.

        >>> samples = await client.samples(1, against=0)
        >>> samples[0].text
        'Hello to you!'
        """
        return [
            one async for one in self._connection.pages(get(f"/v1/versions/{number}/samples", against=against), Sample)
        ]

    async def promote(self, number: int, *, canary: float | None = None) -> Version:
        """Make a version live; `canary` (0.0-1.0) gives it that share of the traffic instead.

        Raises NotFound, Conflict, Forbidden.

        >>> version = await client.promote(0)
        >>> version.state
        'live'
        """
        return await self._version_after(post(f"/v1/versions/{number}/promote", canary=canary))

    async def rollback(self, to: int | None = None) -> Version:
        """Go back to an older version: `to`, or the last good one. Raises NotFound, Conflict, Forbidden.

        >>> version = await client.rollback()
        >>> version.version, version.state
        (0, 'live')
        """
        return await self._version_after(post("/v1/versions/rollback", to=to))

    async def _version_after(self, request: Request) -> Version:
        return read(Version, await self._connection.json(request))

    async def learner(self) -> Learner:
        """The state of the learner, and how much feedback is waiting.

        >>> learner = await client.learner()
        >>> learner.state, learner.waiting
        ('running', 5)
        """
        return read(Learner, await self._connection.json(get("/v1/learner")))

    async def update(self) -> Learner:
        """Start an update now, with the feedback that is waiting.

        >>> learner = await client.update()
        >>> learner.state
        'running'
        """
        return await self._learner_after("update")

    async def pause(self) -> Learner:
        """Stop the learner from starting updates; the service still accepts feedback.

        >>> learner = await client.pause()
        >>> learner.state
        'paused'
        """
        return await self._learner_after("pause")

    async def resume(self) -> Learner:
        """Let the learner start updates again.

        >>> learner = await client.resume()
        >>> learner.state
        'running'
        """
        return await self._learner_after("resume")

    async def _learner_after(self, order: str) -> Learner:
        return read(Learner, await self._connection.json(post(f"/v1/learner/{order}")))

    async def raters(self) -> list[Rater]:
        """All raters with their counts, agreement and trust. Needs an admin key.

        >>> [rater.id for rater in await client.raters()]
        ['alice', 'spammer']
        """
        return [rater async for rater in self._connection.pages(get("/v1/raters"), Rater)]

    async def quarantine(self, rater_id: str, *, reason: str | None = None) -> Rater:
        """Exclude a rater's feedback from learning until `release`. Raises NotFound.

        >>> rater = await client.quarantine("alice", reason="rates everything up")
        >>> rater.quarantined
        True
        """
        return read(
            Rater, await self._connection.json(post(f"/v1/raters/{segment(rater_id)}/quarantine", reason=reason))
        )

    async def release(self, rater_id: str) -> Rater:
        """Include a quarantined rater's feedback in learning again. Raises NotFound.

        >>> rater = await client.release("spammer")
        >>> rater.quarantined
        False
        """
        return read(Rater, await self._connection.json(post(f"/v1/raters/{segment(rater_id)}/release")))

    async def erase(self, rater_id: str) -> Erased:
        """Erase a person: their rows, and the versions that learned from them. Cannot be undone. Raises NotFound.

        >>> erased = await client.erase("spammer")
        >>> erased.feedback
        3
        """
        body = await self._connection.json(Request("DELETE", f"/v1/raters/{segment(rater_id)}", timeout_s=600.0))
        return read(Erased, {"rater": rater_id, **(body or {})})

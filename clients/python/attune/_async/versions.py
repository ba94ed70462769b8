"""Methods on versions of the model. Promoting and rolling back need the scope `admin`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from attune._requests import Request, get, post
from attune._types.feedback import Feedback
from attune._types.reading import read
from attune._types.versions import Sample, Version

if TYPE_CHECKING:
    from attune._async.connection import AsyncConnection


class AsyncVersionMethods:
    """The methods of `AsyncClient` on versions."""

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

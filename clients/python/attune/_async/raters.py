"""Methods on raters. All need the scope `admin`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attune._requests import Request, get, post, segment
from attune._types.raters import Erased, Rater, Withdrawn
from attune._types.reading import read

if TYPE_CHECKING:
    from attune._async.connection import AsyncConnection


class AsyncRaterMethods:
    """The methods of `AsyncClient` on raters."""

    _connection: AsyncConnection

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

    async def withdraw(self, rater_id: str, *, reason: str | None = None) -> Withdrawn:
        """Withdraw every version that learned from a rater, and quarantine the rater. Raises NotFound.

        `Rater.proposal` has those versions where the service proposes it: the learner's trust fell below a half.

        >>> withdrawn = await client.withdraw("spammer", reason="spam")
        >>> withdrawn.versions, withdrawn.live
        ((2,), 1)
        """
        request = post(f"/v1/raters/{segment(rater_id)}/withdraw", reason=reason)
        return read(Withdrawn, await self._connection.json(request))

    async def erase(self, rater_id: str) -> Erased:
        """Erase a person: their rows, and the versions that learned from them. Cannot be undone. Raises NotFound.

        >>> erased = await client.erase("spammer")
        >>> erased.feedback
        3
        """
        body = await self._connection.json(Request("DELETE", f"/v1/raters/{segment(rater_id)}", timeout_s=600.0))
        return read(Erased, {"rater": rater_id, **(body or {})})

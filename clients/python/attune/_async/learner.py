"""Methods on the learner. All but reading its state need the scope `admin`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attune._requests import get, post
from attune._types.learner import Learner
from attune._types.reading import read

if TYPE_CHECKING:
    from attune._async.connection import AsyncConnection


class AsyncLearnerMethods:
    """The methods of `AsyncClient` on the learner."""

    _connection: AsyncConnection

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

# Written by make_sync.py from attune/_async/learner.py.
# Change that file, then run `python clients/python/make_sync.py`.
"""Methods on the learner. All but reading its state need the scope `admin`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attune._requests import get, post
from attune._types.learner import Learner
from attune._types.reading import read

if TYPE_CHECKING:
    from attune._sync.connection import Connection


class LearnerMethods:
    """The methods of `Client` on the learner."""

    _connection: Connection

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

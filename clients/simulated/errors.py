"""What can go wrong in a simulation, apart from what the SDK raises.

SimulatedError
├── UnknownTaste          no such taste, or no way to mix it so
└── LearnerAway           the learner is down or paused, so nothing can be learned
"""


class SimulatedError(Exception):
    """Root of the room's errors."""


class UnknownTaste(SimulatedError, ValueError):
    """A taste that is not known, or a mixture that makes no sense."""


class LearnerAway(SimulatedError, RuntimeError):
    """Nobody learns from what the users say."""

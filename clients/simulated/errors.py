"""The errors of a simulation, besides the SDK's.

SimulatedError
├── UnknownTaste          the taste is unknown, or the mixture is wrong
└── LearnerAway           the learner is down or paused
"""


class SimulatedError(Exception):
    """Root of this room's errors."""


class UnknownTaste(SimulatedError, ValueError):
    """The taste is unknown, or the mixture is wrong."""


class LearnerAway(SimulatedError, RuntimeError):
    """The learner is down or paused, so nothing learns from the feedback."""

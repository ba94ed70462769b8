"""The learner's errors: one root; each leaf is a builtin error too.

LearnerError
├── BadSetting (ValueError)
├── BadData (ValueError)
├── Diverged (ArithmeticError)
├── NothingToLearn (LookupError)
└── CannotLearn (ValueError)
"""


class LearnerError(Exception):
    """Root of the learner's errors."""


class BadSetting(LearnerError, ValueError):
    """A setting is unknown or out of its range."""


class BadData(LearnerError, ValueError):
    """A line of a training file cannot be used."""


class Diverged(LearnerError, ArithmeticError):
    """A loss or gradient is not finite, or the guards left nothing of what was learned."""


class NothingToLearn(LearnerError, LookupError):
    """No example is left that the chosen algorithm can learn from."""


class CannotLearn(LearnerError, ValueError):
    """The algorithm cannot train this model."""

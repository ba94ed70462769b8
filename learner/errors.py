"""What can go wrong in the learner. One root; leaves also are the builtin that they stand for.

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
    """The loss or a gradient is not a number any more, or the guards left nothing of what was learned."""


class NothingToLearn(LearnerError, LookupError):
    """No item is left that the chosen algorithm can learn from."""


class CannotLearn(LearnerError, ValueError):
    """The algorithm cannot train this model."""

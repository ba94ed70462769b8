"""What can go wrong in this room."""

from __future__ import annotations


class PocketError(Exception):
    """Root of this room's errors."""


class UnknownWeights(PocketError, LookupError):
    """A bundled model was asked for by a name that none has, or its folder is missing."""


class RunMismatch(PocketError, ValueError):
    """A training run was to be resumed with other settings than it began with."""

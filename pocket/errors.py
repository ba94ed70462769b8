"""The errors of the bundled models."""

from __future__ import annotations


class PocketError(Exception):
    """Root of pocket's errors."""


class UnknownWeights(PocketError, LookupError):
    """There is no bundled model of this name, or its folder is missing."""


class RunMismatch(PocketError, ValueError):
    """A training run cannot be resumed with other settings."""

"""Retries: which failed requests to send again, and after how long."""

from __future__ import annotations

import random
from dataclasses import dataclass

from attune._errors import APIError, ServiceUnreachable, Timeout
from attune._requests import Request


@dataclass(frozen=True)
class Retry:
    """How often a request is retried, and after how long.

    Only safe requests are retried: those that only read, and feedback and choices (they carry an idempotency key).
    Others are retried only when the service did not begin them (no connection, or a refusal with `Retry-After`).
    `times` 0 turns retries off. The first wait is `first_s` seconds; each later one is twice as long, at most
    `longest_s`. Each wait is shortened at random by up to a half, so that clients do not return together. The client
    waits out a `Retry-After` of up to `patience_s` seconds and raises for a longer one.

    >>> attune.Client(retry=attune.Retry(times=5)).health().alive
    True
    """

    times: int = 2
    first_s: float = 0.5
    longest_s: float = 8.0
    patience_s: float = 60.0

    def wait_s(self, tried: int, asked_s: float | None = None) -> float:
        """Return the seconds to wait after `tried` failed attempts, or `asked_s` when the service asked for a wait.

        >>> 0.5 <= attune.Retry(first_s=1.0).wait_s(1) <= 1.0
        True
        >>> attune.Retry().wait_s(1, asked_s=3.0) >= 3.0
        True
        """
        wait = min(self.longest_s, self.first_s * 2.0 ** max(0, tried - 1))
        if asked_s is not None:
            return asked_s + random.uniform(0, 0.1)
        return wait * random.uniform(0.5, 1.0)


def is_worth_another_try(request: Request, error: Exception, retry: Retry, tried: int) -> bool:
    """Whether to send a request again: a retry is left, the failure may pass, and nothing happens twice."""
    if tried > retry.times:
        return False
    if isinstance(error, APIError):
        if (error.retry_after_s or 0.0) > retry.patience_s:
            return False
        refused = error.status in (429, 503) and error.retry_after_s is not None  # the service did not begin it
        return refused or (request.safe and error.status in (408, 429, 500, 502, 503, 504))
    never_sent = getattr(error, "never_sent", False)
    return isinstance(error, (ServiceUnreachable, Timeout)) and (never_sent or request.safe)


def patience(error: Exception) -> float | None:
    """Return the seconds that the service asked us to wait, None if it did not."""
    return error.retry_after_s if isinstance(error, APIError) else None

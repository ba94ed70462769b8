"""Waiting for several generations at once: what ends it cancels all of them."""

from collections.abc import Sequence
from typing import Any

import pytest

from policy.runners import base
from policy.runners.base import GenerationRequest, SamplingSettings, generate_all


class Silent:
    """A runner that never gives a token."""

    def __init__(self) -> None:
        self.cancelled: list[str] = []

    def submit_all(self, requests: Sequence[GenerationRequest]) -> None:
        pass

    def cancel(self, request_id: str) -> None:
        self.cancelled.append(request_id)


def test_what_a_check_raises_cancels_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "CHECK_S", 0.001)
    runner: Any = Silent()
    checks = []

    def check() -> None:
        checks.append(1)
        if len(checks) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate_all(runner, [[1], [2]], [SamplingSettings()] * 2, prefix="r", check=check)
    assert (len(checks), runner.cancelled) == (3, ["r-0", "r-1"])


def test_what_takes_too_long_is_cancelled_too() -> None:
    runner: Any = Silent()
    with pytest.raises(TimeoutError, match=r"1 of 1 completions were not finished after 0\.01 s"):
        generate_all(runner, [[1]], [SamplingSettings()], timeout_s=0.01, prefix="r")
    assert runner.cancelled == ["r-0"]

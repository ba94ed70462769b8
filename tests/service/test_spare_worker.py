"""The next spare worker starts when the version that was loaded has had time for its first answer."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from policy.runners.base import GenerationRequest, TokenDelta
from service.model import LocalModel
from service.settings import ServeSettings
from store.versions import Version
from tests.models import tiny_model
from tests.service.running import wait_until

BASE = Version(number=0, parent=None, state="live", digest="d", folder="", watermark=0, algorithm="base", created_at="")


class Runner:
    """Answers at once."""

    def submit_all(self, requests: Sequence[GenerationRequest]) -> None:
        for request in requests:
            request.on_delta(TokenDelta(request.request_id, (5,), (-1.0,), "length"))

    def close(self) -> None:
        """Nothing is held."""


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The spare workers that were started, none of them a process."""
    started: list[Any] = []

    class Worker:
        def __init__(self, *arguments: Any) -> None:
            started.append(self)

        def end(self, wait_s: float) -> None:
            pass

    monkeypatch.setattr("service.model.WorkerProcess", Worker)
    monkeypatch.setattr("service.model.RunnerProcess.load", lambda *arguments, **options: Runner())
    return started


def test_a_spare_worker_starts_after_the_load_and_none_once_the_model_is_closed(
    workers: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timers: list[Any] = []
    monkeypatch.setattr(threading.Timer, "start", lambda timer: timers.append(timer))
    model = LocalModel(ServeSettings(data=tmp_path, model=str(tiny_model(tmp_path / "model"))))
    assert len(workers) == 1
    model.load(BASE)
    assert (len(workers), len(timers)) == (1, 1)
    timers[0].function()
    assert len(workers) == 2
    model.close()
    timers[0].function()
    assert len(workers) == 2


def test_the_timer_is_real(workers: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.model.SPARE_AFTER_S", 0.01)
    model = LocalModel(ServeSettings(data=tmp_path, model=str(tiny_model(tmp_path / "model"))))
    model.load(BASE)
    wait_until(lambda: len(workers) == 2, 30, "a spare worker")
    model.close()

"""A model that cannot fit into the free memory is one clear line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from policy import free_memory
from policy.errors import UnsupportedModel
from policy.free_memory import available_memory
from policy.memory import PROCESS, num_weights
from policy.memory_check import HALF, check_memory, check_training_memory
from policy.runners.base import RunnerOptions


def test_a_model_too_large_for_the_memory_is_refused_before_it_loads(
    models: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = models("llama")
    need = int(PROCESS + HALF * num_weights(folder))
    monkeypatch.setattr("policy.memory_check.available_memory", lambda: need - 1)
    with pytest.raises(UnsupportedModel, match="takes at least 0.3 GiB of memory, and 0.3 are free") as refused:
        check_memory("tiny", folder, RunnerOptions())
    assert "--engine.quantize q8_0" in str(refused.value)
    check_memory("tiny", folder, RunnerOptions(quantize="q8_0"))
    check_memory("tiny", folder, RunnerOptions(device="cuda"))
    with pytest.raises(UnsupportedModel, match="choose a smaller model, or serve without the learner: --no-learner"):
        check_training_memory("tiny", folder)
    for there in (need, None):
        monkeypatch.setattr("policy.memory_check.available_memory", lambda there=there: there)
        check_memory("tiny", folder, RunnerOptions())
    assert available_memory() is None or available_memory() > 2**20


@pytest.mark.parametrize(
    ("limit", "used", "cached", "left"),
    [("max", "5", "inactive_file 1", None), ("1000", "900", "anon 3\ninactive_file 300", 400), ("10", "90", "", 0)],
)
def test_the_memory_of_a_container_is_what_its_limit_leaves(
    limit: str, used: str, cached: str, left: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in (("_LIMIT", limit), ("_USED", used), ("_CACHED", cached)):
        (tmp_path / name).write_text(text)
        monkeypatch.setattr(free_memory, name, tmp_path / name)
    monkeypatch.setattr(free_memory, "_MEMINFO", tmp_path / "none")
    assert available_memory() == left

"""The estimate of a version's memory."""

from collections.abc import Callable
from pathlib import Path

import pytest

from policy.memory import PROCESS, kv_bytes, memory_need, num_weights, weights_need
from policy.model import read_config
from policy.runners.base import RunnerOptions


@pytest.mark.parametrize(
    ("options", "width"),
    [
        (RunnerOptions(), 8.0),  # OpenVINO has two copies: one generates, one gives alternatives
        (RunnerOptions(precision="bfloat16"), 12.0),
        (RunnerOptions(quantize="q8_0"), 4.0),
        (RunnerOptions(kinds=("transformers",)), 4.0),  # one copy does both
        (RunnerOptions(kinds=("llamacpp",)), 4.0),  # a small model stays in float32
        (RunnerOptions(kinds=("llamacpp",), quantize="q8_0"), 1.1),
        (RunnerOptions(device="cuda", precision="bfloat16"), 2.0),
    ],
)
def test_a_version_takes_its_process_its_weights_and_its_keys_and_values(
    models: Callable[[str], Path], options: RunnerOptions, width: float
) -> None:
    folder = models("llama")
    assert memory_need(folder, options, is_shared=True) == int(PROCESS + kv_bytes(read_config(folder), options))
    assert weights_need(folder, options) == int(
        PROCESS + (2 if options.precision == "bfloat16" else 4) * num_weights(folder)
    )
    weights = memory_need(folder, options) - PROCESS - kv_bytes(read_config(folder), options)
    assert weights == pytest.approx(width * num_weights(folder), abs=1)

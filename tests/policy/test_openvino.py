"""The OpenVINO runner beyond the suite of all runners: what it keeps, shares and does not do twice."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from policy.openvino_ir import MODEL, write_ir
from policy.openvino_versions import BINARY, discard, ir_of
from policy.runners.base import RunnerOptions, SamplingSettings, VersionSource
from policy.runners.openvino import OpenVinoEngine
from tests.models import tiny_adapter
from tests.policy.conftest import plain_model, rounded_model, source_of

OPTIONS = RunnerOptions(threads=1, max_batch=4)
LONG = [1, 4, *range(100, 200), 5]
GREEDY = SamplingSettings(temperature=0.0, max_tokens=40)


def generate(engine: OpenVinoEngine, prompt: list[int]) -> tuple[list[int], list[float]]:
    engine.add("one", prompt, GREEDY)
    deltas = []
    while engine.busy:
        deltas += engine.advance()
    assert deltas[-1].finish == "length"
    return [token for delta in deltas for token in delta.ids], [logp for delta in deltas for logp in delta.logps]


@pytest.fixture(scope="module")
def engine(models: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> OpenVinoEngine:
    return OpenVinoEngine(source_of(models("llama"), tmp_path_factory.mktemp("cache")), OPTIONS)


def test_a_prompt_that_was_seen_is_not_computed_again_and_gives_the_same_numbers(
    engine: OpenVinoEngine, models: Callable[[str], Path], tmp_path: Path
) -> None:
    ids, logps = generate(engine, LONG)
    turn = [*LONG, *ids, 2, 4, *range(60, 90), 5]
    assert len(engine._echoed([(turn, [7, 8])])[0]) == 2  # the first time, but for the first turn
    warm = generate(engine, turn)
    assert engine._echoed([(turn[:-20], turn[-20:])]) == [[]]  # the cache has its blocks, so nothing is echoed
    again = generate(engine, LONG)
    fresh = OpenVinoEngine(source_of(models("llama"), tmp_path), OPTIONS)
    cold = generate(fresh, turn)
    assert (again[0], warm[0]) == (ids, cold[0])
    assert again[1] == pytest.approx(logps, abs=1e-4)
    assert warm[1] == pytest.approx(cold[1], abs=1e-4)
    known = engine.score([(LONG, ids)])[0]
    assert known == pytest.approx(logps, abs=1e-4)


def test_a_fingerprint_computes_its_prompt_once(engine: OpenVinoEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    [alternatives] = engine.alternatives(LONG, [0], engine.vocabulary)
    row = np.array([logp for _, logp in sorted(alternatives)])
    order = np.argsort(-row, kind="stable")
    requests = []
    monkeypatch.setattr(
        engine, "_request", lambda *asked: requests.append(asked[1]) or OpenVinoEngine._request(engine, *asked)
    )
    likeliest = order[:32].tolist()
    assert engine.fingerprint(LONG, likeliest) == pytest.approx(row[likeliest].tolist(), abs=1e-4)
    assert requests == [LONG]
    unlikely = order[[0, 200, 319]].tolist()
    assert engine.fingerprint(LONG, unlikely) == pytest.approx(row[unlikely].tolist(), abs=1e-4)


def test_matrices_stay_float16_in_memory(models: Callable[[str], Path], tmp_path: Path) -> None:
    """A matrix that the compiler expanded is a constant of the compiled model; a compressed one keeps its type."""
    import openvino as ov

    folder = ir_of(source_of(models("llama"), tmp_path), OPTIONS)
    properties = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}
    compiled = ov.Core().compile_model(str(folder / MODEL), "CPU", properties).get_runtime_model()
    matrices = [
        node.get_output_element_type(0).get_type_name()
        for node in compiled.get_ops()
        if node.get_type_name() == "Constant" or str(node.get_rt_info()["layerType"].value) == "Const"
        if len(node.get_output_shape(0)) == 2 and min(node.get_output_shape(0)) > 1
    ]
    assert matrices
    assert set(matrices) == {"f16"}


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What is converted from now on, from the model's own files to OpenVINO's."""
    made: list[Path] = []

    def counted(base: Path, adapter: Path | None, out: Path, dtype: str, *, compressed: bool) -> Path:
        made.append(out)
        return write_ir(base, adapter, out, dtype, compressed=compressed)

    monkeypatch.setattr("policy.openvino_versions.write_ir", counted)
    return made


def version(folder: Path, cache: Path, number: int, **weights: Path) -> VersionSource:
    return VersionSource(number, str(folder), f"{number:032x}", cache, **weights)


@pytest.mark.parametrize("shape", ["llama", "qwen2"])
def test_versions_are_written_over_one_converted_base(
    shape: str, models: Callable[[str], Path], tmp_path: Path, conversions: list[Path]
) -> None:
    folder, cache = models(shape), tmp_path / "cache"
    ir_of(version(folder, cache, 0), OPTIONS)
    for number in (1, 2):
        adapter = tiny_adapter(folder, tmp_path / f"adapter-{number}", seed=number)
        made = ir_of(version(folder, cache, number, adapter=adapter), OPTIONS)
        whole = write_ir(folder, adapter, tmp_path / f"whole-{number}")
        assert _constants(made) == _constants(whole)
        assert ir_of(version(folder, cache, number, adapter=adapter), OPTIONS) == made
    assert len(conversions) == 1


def _constants(folder: Path) -> dict[str, bytes]:
    import openvino as ov

    model = ov.Core().read_model(folder / MODEL)
    named = [node for node in model.get_ops() if "weight" in node.get_friendly_name()]
    assert len(named) > 10
    return {node.get_friendly_name(): np.asarray(node.data).tobytes() for node in named if hasattr(node, "data")}


def test_what_cannot_be_written_over_is_converted(tmp_path: Path, conversions: list[Path]) -> None:
    from policy.weights import merged_tensors

    folder, cache = rounded_model(tmp_path / "model", tie_word_embeddings=True), tmp_path / "cache"
    adapter = tiny_adapter(folder, tmp_path / "adapter", with_head=True)
    made = ir_of(version(folder, cache, 1, adapter=adapter), OPTIONS)
    assert conversions[1:] == [made]
    head = dict(merged_tensors(folder, adapter))["lm_head.weight"].astype(np.float16).tobytes()
    assert head in _constants(made).values()
    ir_of(version(folder, cache, 2, full=rounded_model(tmp_path / "full", seed=5, tie_word_embeddings=True)), OPTIONS)
    assert len(conversions) == 3


def test_a_damaged_model_is_made_again_with_the_base_that_it_was_copied_from(
    models: Callable[[str], Path], tmp_path: Path, conversions: list[Path]
) -> None:
    folder, cache = models("llama"), tmp_path / "cache"
    source = version(folder, cache, 1, adapter=tiny_adapter(folder, tmp_path / "adapter"))
    ir_of(source, OPTIONS)
    for path in cache.rglob(BINARY):
        os.truncate(path, 100)
    discard(source, OPTIONS)
    assert not list(cache.rglob(BINARY))
    OpenVinoEngine(source, OPTIONS).close()
    for path in cache.rglob(BINARY):
        os.truncate(path, 100)
    again = OpenVinoEngine(source, OPTIONS)
    assert len(generate(again, LONG)[0]) == 40
    assert len(conversions) == 3


ROPES: list[dict[str, Any]] = [
    {
        "rope_type": "llama3",
        "rope_theta": 500.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    }
]


@pytest.mark.parametrize("quantize", ["none", "q8_0"])
def test_the_scaled_rotary_embedding_of_llama_3(quantize: str, tmp_path: Path) -> None:
    from policy.logprobs import score_rows
    from policy.row_layout import Row

    folder = rounded_model(tmp_path / "model", rope_parameters=ROPES[0])
    plain = rounded_model(tmp_path / "plain", rope_parameters={"rope_type": "default", "rope_theta": 500.0})
    completion = list(range(60, 180))
    expected, unscaled = (
        score_rows(plain_model(model), [Row(LONG, [completion])])[0][0].tolist() for model in (folder, plain)
    )
    options = RunnerOptions(threads=1, max_batch=4, quantize=quantize)
    seen = OpenVinoEngine(source_of(folder, tmp_path / "cache"), options).score([(LONG, completion)])[0]
    apart = np.abs(np.array(seen) - expected)
    assert np.abs(np.array(unscaled) - expected).mean() > 10 * apart.mean()
    if quantize == "none":
        assert seen == pytest.approx(expected, abs=2e-4)

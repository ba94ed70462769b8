"""The runner that `auto` takes: what was measured here, else the table, among those that can run the model."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from policy.runners import choice
from policy.runners.base import RunnerOptions
from policy.runners.calibration import measure
from policy.runners.choice import Choice, choose, keep, kept, worst_shares
from policy.runners.measured import ROWS, TABLE, Rates
from tests.models import FAMILIES, tiny_model
from tests.policy.conftest import source_of

OPTIONS = RunnerOptions()
EVEN: Rates = dict.fromkeys(ROWS, 10.0)
FAST_OPENVINO = {"openvino": EVEN, "llamacpp": {**EVEN, "32 streams": 4.0}}
FAST_LLAMA_CPP = {"openvino": {**EVEN, "next turn": 1.0}, "llamacpp": {**EVEN, "32 streams": 4.0}}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(choice.platform, "machine", lambda: "x86_64")


@pytest.fixture
def llama(models: Callable[[str], Path]) -> Path:
    return models("llama")


def test_the_best_worst_row_wins_and_the_line_has_the_figures(llama: Path) -> None:
    keep(llama, "d", OPTIONS, FAST_OPENVINO)
    chosen = choose(llama, "d", OPTIONS)
    assert chosen.kinds == ("openvino", "llamacpp", "transformers")
    assert chosen.line == (
        "openvino, since its speed beside the fastest, in its worst row, is openvino 1.00 (1 stream), "
        "llamacpp 0.40 (32 streams), as measured on this machine"
    )
    keep(llama, "d", OPTIONS, FAST_LLAMA_CPP)
    assert choose(llama, "d", OPTIONS).kinds == ("llamacpp", "openvino", "transformers")
    assert worst_shares(FAST_LLAMA_CPP) == {"openvino": (0.1, "next turn"), "llamacpp": (0.4, "32 streams")}


def test_a_measurement_counts_for_its_model_settings_machine_and_libraries_only(
    llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = keep(llama, "d", OPTIONS, FAST_LLAMA_CPP)
    assert kept("d", OPTIONS) == FAST_LLAMA_CPP
    assert kept("other", OPTIONS) == {}
    assert kept("d", replace(OPTIONS, quantize="q8_0")) == {}
    assert kept("d", replace(OPTIONS, threads=1)) == {}
    for name in ("machine", "libraries"):
        with monkeypatch.context() as patch:
            patch.setattr(choice, name, lambda: "another")
            assert kept("d", OPTIONS) == {}
    for broken in (
        "",
        "[]",
        json.dumps({"machine": choice.machine(), "libraries": choice.libraries(), "rates": {"a": 1}}),
    ):
        path.write_text(broken)
        assert kept("d", OPTIONS) == {}
    assert "measured with" in choose(llama, "d", OPTIONS).why


def test_without_a_measurement_the_model_of_the_nearest_size_counts(
    llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = replace(TABLE[0], model="large", num_weights=10**9, rates=FAST_LLAMA_CPP)
    small = replace(TABLE[0], model="small", num_weights=10**5, rates=FAST_OPENVINO)
    monkeypatch.setattr(choice, "TABLE", (large, small))
    assert choose(llama, "d", OPTIONS).kinds[0] == "openvino"
    monkeypatch.setattr(choice, "num_weights", lambda _: 5 * 10**8)
    chosen = choose(llama, "d", OPTIONS)
    assert chosen.kinds[0] == "llamacpp"
    assert f"as measured with large on {large.machine}" in chosen.why


def test_what_the_table_leads_to_is_near_the_best_in_every_row_of_the_table() -> None:
    for measured in TABLE:
        assert max(share for share, _ in worst_shares(measured.rates).values()) >= 0.8, measured


def test_only_what_can_run_the_model_is_taken(models: Callable[[str], Path], tmp_path: Path) -> None:
    def kinds(folder: Path, **options: str) -> tuple[str, ...]:
        return choose(folder, "d", replace(OPTIONS, **options)).kinds  # type: ignore[arg-type]

    shape, overrides = FAMILIES["Gemma 3"]
    gemma3 = tiny_model(tmp_path / "gemma3", shape, **overrides)
    assert kinds(gemma3) == ("llamacpp", "transformers")
    assert "openvino cannot run this model: its model_type 'gemma3_text'" in choose(gemma3, "d", OPTIONS).why
    assert kinds(models("gemma2")) == ("transformers",)
    for quantize in ("q4_k", "file"):
        assert kinds(models("llama"), quantize=quantize) == ("llamacpp",)
    assert kinds(models("llama"), device="cuda") == ("transformers",)
    named = RunnerOptions(kinds=("transformers",))
    assert choose(models("llama"), "d", named) == Choice(("transformers",), "engine.runner names it")


def test_a_runner_that_is_not_installed_or_too_large_is_left_out(llama: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(choice.importlib.util, "find_spec", lambda name: None if name == "openvino_genai" else True)
        chosen = choose(llama, "d", OPTIONS)
    assert chosen.kinds == ("llamacpp", "transformers")
    assert "the package openvino_genai is not installed" in chosen.why
    needs = [choice.memory_need(llama, replace(OPTIONS, kinds=(kind,))) for kind in ("openvino", "llamacpp")]
    monkeypatch.setattr(choice, "available_memory", lambda: sum(needs) // 2)
    chosen = choose(llama, "d", OPTIONS)
    assert chosen.kinds == ("llamacpp", "transformers")
    assert "GiB of memory" in chosen.why


def test_on_a_processor_of_which_nothing_was_measured_llama_cpp_comes_first(
    llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice.platform, "machine", lambda: "arm64")
    chosen = choose(llama, "d", OPTIONS)
    assert chosen.kinds == ("llamacpp", "openvino", "transformers")
    assert chosen.why == "nothing was measured on this kind of processor (arm64)"
    keep(llama, "d", OPTIONS, FAST_OPENVINO)
    assert choose(llama, "d", OPTIONS).kinds[0] == "openvino"


def test_a_measurement_has_every_row_of_every_runner(llama: Path, tmp_path: Path) -> None:
    notes: list[str] = []
    options = RunnerOptions(threads=1, max_batch=8)
    rates = measure(source_of(llama, tmp_path), options, ("openvino", "llamacpp"), rounds=1, note=notes.append)
    assert rates.keys() == {"openvino", "llamacpp"}
    for of_kind in rates.values():
        assert list(of_kind) == ["1 stream", "8 streams", "next turn"]
        assert all(rate > 0 for rate in of_kind.values())
    assert notes == ["round 1 of 1 is done"]

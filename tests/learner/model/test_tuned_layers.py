"""Training of the upper layers alone: what is trained, what a version holds, and that the rest stays as it was."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from learner.model.resident import Resident
from learner.model.scoring import completion_sums, row_of
from learner.model.tuned_layers import (
    available_cores,
    first_tuned_layer,
    is_below,
    is_small_here,
    lowest_layer,
    rate_factor,
)
from learner.settings import LearnerSettings
from policy.model import load_merged
from policy.versions import read_version
from tests.learner.model.test_resident import COMPLETIONS, moved, written
from tests.models import tiny_model

Build = Callable[..., LearnerSettings]


@pytest.fixture(scope="module")
def four_layers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "four"
    return tiny_model(folder, num_hidden_layers=4, initializer_range=0.08)


def layers_of(resident: Resident) -> set[int]:
    return {int(name.split(".layers.")[1].split(".")[0]) for name, _ in resident.trainable()}


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_a_version_of_the_upper_layers_comes_back_and_leaves_the_lower_ones(
    make_settings: Build, four_layers: Path, tmp_path: Path, tuning: str
) -> None:
    settings = make_settings(model=str(four_layers), tune_layers=2, tuning=tuning)
    resident = Resident(settings)
    resident.become(None, 0)
    assert resident.tuned_layers == 2
    assert layers_of(resident) == {2, 3}
    base = completion_sums(resident.model, COMPLETIONS, 4096)
    moved(resident)
    trained = completion_sums(resident.model, COMPLETIONS, 4096)
    assert not torch.allclose(trained, base, atol=1e-3)
    written(resident, tmp_path / "v1", "full" if tuning == "full" else "adapter")
    with resident.as_base() as model:
        assert torch.allclose(completion_sums(model, COMPLETIONS, 4096), base, atol=1e-6)
    resident.become(None, 0)
    assert torch.allclose(completion_sums(resident.model, COMPLETIONS, 4096), base, atol=1e-6)
    resident.become(tmp_path / "v1", 0)
    assert torch.allclose(completion_sums(resident.model, COMPLETIONS, 4096), trained, atol=1e-6)
    if tuning == "lora":
        config = json.loads((tmp_path / "v1" / "adapter_config.json").read_text())
        assert config["layers_to_transform"] == [2, 3]
        served = load_merged(str(four_layers), tmp_path / "v1", "cpu", "float32")  # as a slot loads it
        assert torch.allclose(completion_sums(served, COMPLETIONS, 4096), trained, atol=1e-4)


def test_a_version_of_all_layers_is_trained_on_in_the_upper_ones(
    make_settings: Build, four_layers: Path, tmp_path: Path
) -> None:
    whole = Resident(make_settings(model=str(four_layers), tune_layers=4))
    whole.become(None, 0)
    assert layers_of(whole) == {0, 1, 2, 3}
    moved(whole)
    theirs = completion_sums(whole.model, COMPLETIONS, 4096)
    written(whole, tmp_path / "v1")
    upper = Resident(make_settings(model=str(four_layers), tune_layers=1))
    with upper.as_base() as model:
        base = completion_sums(model, COMPLETIONS, 4096)
    upper.become(tmp_path / "v1", 0)
    assert layers_of(upper) == {3}
    assert torch.allclose(completion_sums(upper.model, COMPLETIONS, 4096), theirs, atol=1e-5)
    with upper.as_base() as model:  # the version has other lower layers than the base model
        assert torch.allclose(completion_sums(model, COMPLETIONS, 4096), base, atol=1e-5)
    moved(upper)
    ours = completion_sums(upper.model, COMPLETIONS, 4096)
    written(upper, tmp_path / "v2")
    whole.become(tmp_path / "v2", 0)  # nothing of the lower adapters is lost
    assert torch.allclose(completion_sums(whole.model, COMPLETIONS, 4096), ours, atol=1e-5)


def test_a_version_of_the_upper_layers_is_trained_on_in_all(
    make_settings: Build, four_layers: Path, tmp_path: Path
) -> None:
    upper = Resident(make_settings(model=str(four_layers), tune_layers=1))
    upper.become(None, 0)
    moved(upper)
    theirs = completion_sums(upper.model, COMPLETIONS, 4096)
    written(upper, tmp_path / "v1")
    drawn = []
    for seed in (1, 1, 2):
        whole = Resident(make_settings(model=str(four_layers), tune_layers=4))
        whole.become(tmp_path / "v1", seed)
        assert layers_of(whole) == {0, 1, 2, 3}
        assert torch.allclose(completion_sums(whole.model, COMPLETIONS, 4096), theirs, atol=1e-5)
        drawn.append(torch.cat([weight.flatten() for weight in whole.weights().values()]))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_rows_that_are_kept_survive_the_next_version(make_settings: Build, four_layers: Path) -> None:
    resident = Resident(make_settings(model=str(four_layers), tune_layers=2))
    lower = resident.lower
    assert lower is not None
    resident.keep_lower([row_of(*completion) for completion in COMPLETIONS])
    lower.num_passes = 0
    resident.become(None, 1)
    completion_sums(resident.model, COMPLETIONS, 4096)
    assert lower.num_passes == 0
    completion_sums(resident.model, [((1, 9), (7, 2))], 4096)
    resident.become(None, 2)
    completion_sums(resident.model, [((1, 9), (7, 2))], 4096)
    assert lower.num_passes == 2  # an update is the same whatever came before it


def test_layers_are_chosen_by_parameters_and_cores() -> None:
    assert is_small_here(5_600_000, "cpu", 1)
    assert not is_small_here(135_000_000, "cpu", 2)
    assert is_small_here(135_000_000, "cpu", 8)
    assert is_small_here(8_000_000_000, "cuda", 1)
    assert first_tuned_layer(0, 30, is_small=True, tuning="lora") == 0
    assert first_tuned_layer(0, 30, is_small=False, tuning="lora") == 20
    assert first_tuned_layer(0, 6, is_small=False, tuning="lora") == 2
    assert first_tuned_layer(0, 30, is_small=False, tuning="full") == 0
    assert first_tuned_layer(4, 30, is_small=True, tuning="full") == 26
    assert first_tuned_layer(99, 30, is_small=False, tuning="lora") == 0
    assert available_cores() >= 1
    assert [rate_factor(*counts) for counts in ((30, 30), (32, 8), (0, 0))] == [1.0, 2.0, 1.0]


def test_weights_belong_to_the_layer_in_their_name() -> None:
    assert is_below("base_model.model.model.layers.3.mlp.up_proj.lora_A.default.weight", "model.layers", 4)
    assert not is_below("base_model.model.model.layers.11.mlp.up_proj.weight", "model.layers", 4)
    assert not is_below("model.embed_tokens.weight", "model.layers", 4)
    assert [lowest_layer(layers) for layers in (None, 7, [9, 8], [])] == [0, 7, 8, 0]


def test_the_version_names_the_layers(make_settings: Build, four_layers: Path, tmp_path: Path) -> None:
    resident = Resident(make_settings(model=str(four_layers), tune_layers=3))
    resident.become(None, 0)
    written(resident, tmp_path / "v1")
    assert read_version(tmp_path / "v1").kind == "adapter"
    assert "layers.0." not in (tmp_path / "v1" / "adapter_model.safetensors").read_bytes().decode("latin-1")

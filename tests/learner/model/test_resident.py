"""The resident model: it becomes a version in place, and comes back from disk as what it was."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from learner.errors import CannotLearn
from learner.model.optimizer import Optimizer
from learner.model.resident import Resident, Shape
from learner.model.scoring import completion_sums
from learner.publish import fingerprint_of
from learner.settings import LearnerSettings
from policy.chat_template import PLAIN
from policy.versions import Manifest, write_version
from tests.models import tiny_tokenizer

Build = Callable[..., LearnerSettings]
COMPLETIONS = [((1, 4, 20, 2, 5), (50, 51, 2)), ((1, 4, 30, 2, 5), (52, 2))]


def written(resident: Resident, folder: Path, kind: str = "adapter") -> Manifest:
    return write_version(
        folder,
        version=1,
        parent=0,
        base_model="tiny",
        base_digest=resident.base_digest,
        save=resident.save,
        fingerprint=fingerprint_of(resident),
        seed=0,
        settings={},
        kind=kind,
    )


def moved(resident: Resident, amount: float = 0.02) -> None:
    with torch.no_grad():
        for name, parameter in resident.trainable():
            parameter.add_(amount * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name))))


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_a_version_comes_back_as_it_was_saved(make_settings: Build, tmp_path: Path, tuning: str) -> None:
    resident = Resident(make_settings(tuning=tuning))
    resident.become(None, seed=0)
    base = completion_sums(resident.model, COMPLETIONS, 4096)
    moved(resident)
    trained = completion_sums(resident.model, COMPLETIONS, 4096)
    manifest = written(resident, tmp_path / "v1", "full" if tuning == "full" else "adapter")
    resident.become(None, seed=0)
    assert torch.equal(completion_sums(resident.model, COMPLETIONS, 4096), base)
    resident.become(tmp_path / "v1", seed=0)
    assert torch.allclose(completion_sums(resident.model, COMPLETIONS, 4096), trained, atol=1e-6)
    assert resident.parent_digest == manifest.digest
    assert not torch.allclose(trained, base, atol=1e-3)
    with resident.as_base() as model:
        assert torch.allclose(completion_sums(model, COMPLETIONS, 4096), base, atol=1e-6)
    assert torch.allclose(completion_sums(resident.model, COMPLETIONS, 4096), trained, atol=1e-6)


def test_a_version_with_an_adapter_on_the_output_layer_comes_back(make_settings: Build, tmp_path: Path) -> None:
    def has_head(resident: Resident) -> bool:
        return any(".lm_head.lora_" in name for name, _ in resident.trainable())

    resident = Resident(make_settings())
    resident._wrap(Shape(4, 8.0, True, 0))
    moved(resident)
    trained = completion_sums(resident.model, COMPLETIONS, 4096)
    written(resident, tmp_path / "v1")
    other = Resident(make_settings())
    other.become(tmp_path / "v1", 0)
    assert has_head(other)
    assert torch.allclose(completion_sums(other.model, COMPLETIONS, 4096), trained, atol=1e-5)
    other.become(None, 0)  # the learner's own versions leave the output layer alone
    assert not has_head(other)
    written(other, tmp_path / "v2")
    resident.become(tmp_path / "v2", 0)
    assert not has_head(resident)


def test_fresh_adapters_change_nothing_and_are_drawn_from_the_seed(make_settings: Build) -> None:
    resident = Resident(make_settings())
    with resident.as_base() as model:
        base = completion_sums(model, COMPLETIONS, 4096)
    drawn = []
    for seed in (1, 1, 2):
        resident.become(None, seed)
        assert torch.equal(completion_sums(resident.model, COMPLETIONS, 4096), base)
        drawn.append(torch.cat([weight.flatten() for weight in resident.weights().values()]))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_a_live_version_keeps_the_rank_that_it_was_made_with(make_settings: Build, tmp_path: Path) -> None:
    first = Resident(make_settings(lora_rank=4))
    first.become(None, 0)
    moved(first)
    written(first, tmp_path / "v1")
    other = Resident(make_settings(lora_rank=8))
    other.become(tmp_path / "v1", 0)
    assert torch.allclose(
        completion_sums(other.model, COMPLETIONS, 4096), completion_sums(first.model, COMPLETIONS, 4096), atol=1e-5
    )
    other.become(None, 0)
    assert {weight.shape[0] for name, weight in other.weights().items() if "lora_A" in name} == {8}


def test_a_version_tuned_in_the_other_way_is_refused_with_advice(make_settings: Build, tmp_path: Path) -> None:
    lora = Resident(make_settings())
    lora.become(None, 0)
    written(lora, tmp_path / "v1")
    with pytest.raises(CannotLearn, match="set tuning to that"):
        Resident(make_settings(tuning="full")).become(tmp_path / "v1", 0)


def test_the_adapter_is_on_all_linear_layers_but_the_head_and_its_folder_names_no_set(
    make_settings: Build, tmp_path: Path
) -> None:
    resident = Resident(make_settings())
    resident.become(None, 0)
    written(resident, tmp_path / "v1")
    config = json.loads((tmp_path / "v1" / "adapter_config.json").read_text())
    assert config["target_modules"] == sorted(
        {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    )
    assert {path.name for path in (tmp_path / "v1").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "manifest.json",
    }


def test_other_weights_can_be_held_for_a_while(make_settings: Build) -> None:
    resident = Resident(make_settings())
    resident.become(None, 0)
    before, live = completion_sums(resident.model, COMPLETIONS, 4096), resident.weights()
    moved(resident)
    after = completion_sums(resident.model, COMPLETIONS, 4096)
    with resident.holding(live) as model:
        assert torch.equal(completion_sums(model, COMPLETIONS, 4096), before)
    assert torch.equal(completion_sums(resident.model, COMPLETIONS, 4096), after)


def stepped(resident: Resident, optimizer: Optimizer, steps: int) -> None:
    for step in range(steps):
        for _, parameter in resident.trainable():
            parameter.grad = torch.full_like(parameter, 1.0 + step)
        optimizer.step()


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_the_optimizer_goes_on_where_it_stopped(make_settings: Build, tmp_path: Path, device: str) -> None:
    settings = {"learning_rate": 1e-3, "warmup_steps": 2, "clip_norm": 1.0}
    resident = Resident(make_settings(lora_rank=2, device=device))
    resident.become(None, 0)
    start = resident.weights()
    whole = Optimizer(resident, **settings)
    stepped(resident, whole, 3)
    expected = resident.weights()
    resident.put(start)
    first = Optimizer(resident, **settings)
    stepped(resident, first, 2)
    first.write(tmp_path / "m" / "000001.safetensors", "digest")
    second = Optimizer(resident, **settings)
    assert second.read(tmp_path / "m" / "000001.safetensors", "digest")
    for _, parameter in resident.trainable():
        parameter.grad = torch.full_like(parameter, 3.0)
    second.step()
    assert all(torch.equal(weight, expected[name]) for name, weight in resident.weights().items())


def test_the_optimizer_state_lies_where_the_weights_are(
    make_settings: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resident = Resident(make_settings(lora_rank=2))
    first = Optimizer(resident, learning_rate=1e-3, warmup_steps=0, clip_norm=1.0)
    stepped(resident, first, 1)
    first.write(tmp_path / "000001.safetensors", "digest")
    second = Optimizer(resident, learning_rate=1e-3, warmup_steps=0, clip_norm=1.0)
    plain = torch.tensor  # as on a GPU: what names no device is made elsewhere than the weights are
    monkeypatch.setattr(torch, "tensor", lambda value, **named: plain(value, **{"device": "meta", **named}))
    assert second.read(tmp_path / "000001.safetensors", "digest")
    monkeypatch.undo()
    stepped(resident, second, 1)
    assert second.num_steps == 2


def test_optimizer_state_of_another_version_or_in_a_broken_file_is_not_taken_up(
    make_settings: Build, tmp_path: Path
) -> None:
    resident = Resident(make_settings(lora_rank=2))
    optimizer = Optimizer(resident, learning_rate=1e-3, warmup_steps=0, clip_norm=1.0)
    stepped(resident, optimizer, 1)
    path = tmp_path / "000001.safetensors"
    optimizer.write(path, "digest")
    fresh = Optimizer(resident, learning_rate=1e-3, warmup_steps=0, clip_norm=1.0)
    assert not fresh.read(path, "another digest")
    assert not fresh.read(tmp_path / "absent.safetensors", "digest")
    path.write_bytes(path.read_bytes()[:50])
    assert not fresh.read(path, "digest")
    assert fresh.num_steps == 0


def test_a_gradient_that_is_not_finite_moves_nothing(make_settings: Build) -> None:
    resident = Resident(make_settings(lora_rank=2))
    before = resident.weights()
    optimizer = Optimizer(resident, learning_rate=1e-3, warmup_steps=0, clip_norm=1.0)
    for _, parameter in resident.trainable():
        parameter.grad = torch.full_like(parameter, float("nan"))
    assert optimizer.step() != optimizer.step()  # NaN, then no gradient left: 0
    assert all(torch.equal(weight, before[name]) for name, weight in resident.weights().items())


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_a_model_without_keys_and_values_is_refused_however_it_is_tuned(
    make_settings: Build, tmp_path: Path, tuning: str
) -> None:
    import transformers

    config = transformers.MambaConfig(
        vocab_size=320, hidden_size=64, num_hidden_layers=2, state_size=8, pad_token_id=0, eos_token_id=2
    )
    transformers.MambaForCausalLM(config).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(CannotLearn, match="is a MambaForCausalLM, which keeps no keys and values of attention"):
        Resident(make_settings(model=str(tmp_path), tuning=tuning))


def test_layers_that_take_no_adapter_are_a_reason_for_full_tuning(
    make_settings: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("Module 'x' is incompatible\nand more")

    monkeypatch.setattr("peft.get_peft_model", refuse)
    with pytest.raises(
        CannotLearn, match="takes no adapters on its linear layers; set tuning to full .Module 'x' is incompatible.$"
    ):
        Resident(make_settings())
    Resident(make_settings(tuning="full"))


def test_an_adapter_brings_the_template_that_it_was_trained_with(make_settings: Build, tmp_path: Path) -> None:
    for template, text in ((None, None), ("plain", PLAIN)):
        resident = Resident(make_settings(chat_template=template))
        resident.become(None, seed=0)
        written(resident, tmp_path / str(template))
        file = tmp_path / str(template) / "chat_template.jinja"
        assert (file.read_text() if file.exists() else None) == text

"""No code from a model folder runs: neither pickled weights nor Python files that a configuration names."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from policy.chat import load_tokenizer
from policy.errors import PolicyError, UnsupportedModel
from policy.model import load_merged, load_model, resolve_model
from policy.shared_weights import _assembled
from policy.weights import merged_tensors
from tests.models import tiny_adapter


class Payload:
    """Unpickling it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, (f"open({str(self.mark)!r}, 'w').close()",)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """The file that a payload makes."""
    return tmp_path / "code-ran"


@pytest.fixture
def model(models: Callable[[str], Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(models("llama"), tmp_path / "model"))


def pickled(path: Path, mark: Path) -> None:
    path.write_bytes(pickle.dumps({"weight": Payload(mark)}))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pkl", "pytorch_model-00001-of-00001.bin"])
def test_pickled_weights_are_refused_by_name(name: str, model: Path, mark: Path) -> None:
    (model / "model.safetensors").unlink()
    pickled(model / name, mark)
    for read in (resolve_model, load_model, lambda name: list(merged_tensors(Path(name), None))):
        with pytest.raises(UnsupportedModel, match=f"only as a pickle \\({name}\\).*safetensors"):
            read(str(model))
    assert not mark.exists()


def test_pickled_weights_beside_safetensors_are_not_read(model: Path, mark: Path) -> None:
    pickled(model / "pytorch_model.bin", mark)
    load_model(str(model), "cpu")
    assert not mark.exists()


@pytest.mark.parametrize("shard", ["pytorch_model.bin", "../elsewhere.safetensors", "/etc/model.safetensors"])
def test_an_index_names_safetensors_beside_it_alone(shard: str, model: Path) -> None:
    (model / "model.safetensors").rename(model / "other.safetensors")
    index = {"weight_map": {"lm_head.weight": "other.safetensors", "model.norm.weight": shard}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UnsupportedModel, match="only safetensors files beside it"):
        load_model(str(model), "cpu")


def test_a_pickled_adapter_is_refused_by_name(model: Path, tmp_path: Path, mark: Path) -> None:
    adapter = tiny_adapter(model, tmp_path / "adapter")
    (adapter / "adapter_model.safetensors").unlink()
    pickled(adapter / "adapter_model.bin", mark)
    with pytest.raises(UnsupportedModel, match="adapter_model.bin"):
        load_merged(str(model), adapter, "cpu")
    assert not mark.exists()


def test_python_files_of_a_model_do_not_run(model: Path, mark: Path) -> None:
    code = f"open({str(mark)!r}, 'w').close()\n"
    for file in ("configuration_evil", "modeling_evil", "tokenization_evil"):
        (model / f"{file}.py").write_text(code)
    config = json.loads((model / "config.json").read_text())
    config |= {
        "model_type": "evil",
        "auto_map": {"AutoConfig": "configuration_evil.C", "AutoModelForCausalLM": "modeling_evil.M"},
    }
    (model / "config.json").write_text(json.dumps(config))
    tokenizer = json.loads((model / "tokenizer_config.json").read_text())
    auto = {"AutoTokenizer": ["tokenization_evil.T", "tokenization_evil.T"]}
    (model / "tokenizer_config.json").write_text(json.dumps(tokenizer | {"auto_map": auto}))
    for read in (lambda: load_model(str(model), "cpu"), lambda: _assembled(str(model), _one_tensor())):
        with pytest.raises((PolicyError, ValueError)):
            read()
    load_tokenizer(str(model))
    (model / "tokenizer.json").unlink()  # then transformers chooses the class
    with pytest.raises(PolicyError):
        load_tokenizer(str(model))
    assert not mark.exists()


def _one_tensor() -> dict[str, object]:
    import torch

    return {"parameters": {"a": torch.zeros(1)}, "buffers": {}}

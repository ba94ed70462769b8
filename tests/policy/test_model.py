"""Finding and checking models: every fault of a folder is one clear line, before anything is loaded."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from policy.errors import ModelCorrupt, ModelNotFound, UnsupportedModel
from policy.model import load_model, model_config, model_digest, resolve_device, resolve_model
from tests.models import tiny_model, tiny_tokenizer

WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "no configuration": (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
    "a configuration that is no JSON": (
        lambda folder: (folder / "config.json").write_text("{"),
        "config.json is not JSON",
    ),
    "a configuration of something else": (
        lambda folder: (folder / "config.json").write_text("{}"),
        "names no model_type",
    ),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "has no weights"),
    "weights cut short": (
        lambda folder: os.truncate(folder / "model.safetensors", 5000),
        "is cut short: 5000 bytes of",
    ),
    "an empty file of weights": (
        lambda folder: os.truncate(folder / "model.safetensors", 0),
        "is not a safetensors file",
    ),
    "weights that are none": (
        lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 4000),
        "is not a safetensors file",
    ),
    "no tokenizer": (
        lambda folder: [(folder / name).unlink() for name in ("tokenizer.json", "tokenizer_config.json")],
        "has no tokenizer",
    ),
    "a missing shard": (
        lambda folder: (
            (folder / "model.safetensors").rename(folder / "model-1-of-2.safetensors"),
            (folder / "model.safetensors.index.json").write_text(
                json.dumps({"weight_map": {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}})
            ),
        ),
        "lacks model-2-of-2.safetensors",
    ),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("whole") / "model")


@pytest.mark.parametrize("what", WRONG)
def test_a_broken_folder_is_one_clear_line(what: str, whole: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "model"))
    damage, message = WRONG[what]
    damage(folder)
    with pytest.raises(ModelCorrupt, match=message) as caught:
        resolve_model(str(folder))
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("name", ["no-such-model", "/no/such/folder", "./nothing", "a/b/c"])
def test_an_unknown_name_is_one_clear_line(name: str) -> None:
    with pytest.raises(ModelNotFound, match="there is no model") as caught:
        resolve_model(name)
    assert repr(name) in str(caught.value)


def test_a_hub_id_that_cannot_be_fetched_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelNotFound, match="'nobody/nothing' is no folder here and could not be fetched") as caught:
        resolve_model("nobody/nothing")
    assert "\n" not in str(caught.value)


def test_weights_that_lack_a_tensor_or_have_it_in_another_shape_are_refused(whole: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(whole / "model.safetensors")
    for number, changed in enumerate(("lacks", "shape")):
        folder = Path(shutil.copytree(whole, tmp_path / str(number)))
        name = "model.layers.1.mlp.up_proj.weight"
        ours = (
            {**tensors, name: tensors[name][:, :-1].contiguous()}
            if changed == "shape"
            else {k: v for k, v in tensors.items() if k != name}
        )
        save_file(ours, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ModelCorrupt, match="cannot be loaded|lack model.layers.1.mlp.up_proj.weight"):
            load_model(str(folder), "cpu")


def test_a_model_of_an_unknown_kind_is_refused(whole: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    for kind in ("no-such-kind", "t5"):
        (folder / "config.json").write_text(json.dumps({**config, "model_type": kind}))
        with pytest.raises(UnsupportedModel, match="cannot be loaded as a causal language model"):
            load_model(str(folder), "cpu")


def test_a_model_that_reads_ahead_is_refused_and_a_decoder_with_the_same_configuration_is_not(tmp_path: Path) -> None:
    import transformers

    small = {
        "vocab_size": 320,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "pad_token_id": 0,
    }
    bert = transformers.BertForMaskedLM(transformers.BertConfig(**small))
    neox = transformers.GPTNeoXForCausalLM(transformers.GPTNeoXConfig(**small))
    assert bert.config.is_decoder is neox.config.is_decoder is False
    for name, model in (("bert", bert), ("neox", neox)):
        model.save_pretrained(tmp_path / name)
        tiny_tokenizer().save_pretrained(tmp_path / name)
    with pytest.raises(
        UnsupportedModel,
        match="is no causal decoder .BertLMHeadModel, is_decoder false: each token sees those after it",
    ) as caught:
        load_model(str(tmp_path / "bert"), "cpu")
    assert "\n" not in str(caught.value)
    assert type(load_model(str(tmp_path / "neox"), "cpu")).__name__ == "GPTNeoXForCausalLM"


def test_loading_gives_the_type_that_was_asked_for(whole: Path) -> None:
    import torch

    model = load_model(str(whole), "cpu")
    assert model.dtype == torch.float32
    assert not model.training
    assert load_model(str(whole), "cpu", "bfloat16").dtype == torch.bfloat16
    assert model_config(str(whole))["model_type"] == "llama"


def test_devices() -> None:
    import torch

    assert resolve_device("auto") in ("cpu", "cuda")
    with pytest.raises(ValueError, match="'tpu'"):
        resolve_device("tpu")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="torch sees no GPU"):
            resolve_device("cuda")


def test_the_digest_names_the_content_wherever_it_lies(whole: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(whole, tmp_path / "copy"))
    assert model_digest(str(whole)) == model_digest(str(copy))
    seen = {model_digest(str(copy))}
    for name in ("model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"):
        data = bytearray((copy / name).read_bytes())
        data[-30] ^= 1
        (copy / name).write_bytes(bytes(data))
        seen.add(_digest_unchecked(copy))
    assert len(seen) == 5


def _digest_unchecked(folder: Path) -> str:
    """Return the digest without the checks, since a changed byte may break the JSON."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("policy.model._check", lambda folder: None)
        return model_digest(str(folder))


def test_large_files_are_hashed_once(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import policy.digests

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    big = tmp_path / "big.safetensors"
    with big.open("wb") as file:
        file.truncate(policy.digests.REMEMBERED + 1)
    first = policy.digests.file_digest(big)
    monkeypatch.setattr(policy.digests, "file_sha256", lambda path: pytest.fail("hashed again"))
    assert policy.digests.file_digest(big) == first
    os.utime(big, (1, 1))
    monkeypatch.setattr(policy.digests, "file_sha256", lambda path: "fresh")
    assert policy.digests.file_digest(big) == "fresh"

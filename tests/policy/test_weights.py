"""Merged weights without torch, against PEFT's own merge; GGUF files; and what `attune export-model` writes."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from policy.chat_template import CHATML
from policy.commands import register
from policy.errors import ModelCorrupt, UnsupportedModel, VersionCorrupt
from policy.exports import Weights, export, weights_of
from policy.gguf import write_gguf
from policy.model import load_merged, model_digest, read_config, resolve_model
from policy.openvino_ir import reasons_against_openvino
from policy.served_model import ServedModel, record_served
from policy.versions import Fingerprint, write_version
from policy.weights import merged_tensors, read_tensors
from tests.models import tiny_adapter, tiny_config, tiny_model

PROMPT = torch.tensor([[1, 4, 100, 101, 102, 5]])


@pytest.fixture(scope="module")
def adapted(models: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Weights:
    return Weights(models("llama"), tiny_adapter(models("llama"), tmp_path_factory.mktemp("adapter") / "adapter"))


def test_merging_is_what_peft_does(adapted: Weights) -> None:
    expected = load_merged(str(adapted.model), adapted.adapter, "cpu", "float32").state_dict()
    merged = dict(merged_tensors(adapted.model, adapted.adapter))
    assert set(merged) == set(expected)
    changed = 0
    base = dict(merged_tensors(adapted.model, None))
    for name, tensor in merged.items():
        np.testing.assert_allclose(tensor, expected[name].numpy(), rtol=0, atol=1e-6)
        changed += not np.array_equal(tensor, base[name])
    assert changed == 14  # seven linear layers in each of two blocks


def test_scales_of_adapters(adapted: Weights, tmp_path: Path) -> None:
    assert adapted.adapter is not None
    adapter = Path(shutil.copytree(adapted.adapter, tmp_path / "adapter"))
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**config, "use_rslora": True, "lora_alpha": 3}))
    expected = load_merged(str(adapted.model), adapter, "cpu", "float32").state_dict()
    for name, tensor in merged_tensors(adapted.model, adapter):
        np.testing.assert_allclose(tensor, expected[name].numpy(), rtol=0, atol=1e-6)
    for odd in (
        {"use_dora": True},
        {"peft_type": "IA3"},
        {"rank_pattern": {"q_proj": 2}},
        {"modules_to_save": ["lm_head"]},
    ):
        (adapter / "adapter_config.json").write_text(json.dumps({**config, **odd}))
        with pytest.raises(UnsupportedModel, match="only plain LoRA"):
            list(merged_tensors(adapted.model, adapter))


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
def test_an_adapter_on_the_output_layer_leaves_the_input_embeddings_alone(tied: bool, tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model", tie_word_embeddings=tied)
    adapter = tiny_adapter(folder, tmp_path / "adapter", with_head=True, scale=0.2)
    beside = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), adapter)
    with torch.no_grad():
        expected, plain = beside(PROMPT).logits, beside.get_base_model()
    base, merged = dict(merged_tensors(folder, None)), dict(merged_tensors(folder, adapter))
    assert ("lm_head.weight" in base) is not tied
    np.testing.assert_array_equal(merged["model.embed_tokens.weight"], base["model.embed_tokens.weight"])
    assert np.abs(merged["lm_head.weight"] - plain.get_output_embeddings().weight.detach().numpy()).max() > 0.1
    export(Weights(folder, adapter), "hf", tmp_path / "whole")
    write_gguf(folder, adapter, tmp_path / "gguf" / "model.gguf", "f32", real_tokenizer=True)
    readers = (
        load_merged(str(folder), adapter, "cpu", "float32"),
        AutoModelForCausalLM.from_pretrained(tmp_path / "whole", dtype=torch.float32),
        AutoModelForCausalLM.from_pretrained(tmp_path / "gguf", gguf_file="model.gguf", dtype=torch.float32),
    )
    for model in readers:
        with torch.no_grad():
            torch.testing.assert_close(model(PROMPT).logits, expected, rtol=0, atol=1e-3)


def test_an_adapter_of_another_model_is_refused(adapted: Weights, tmp_path: Path) -> None:
    smaller = tiny_model(tmp_path / "smaller", num_hidden_layers=1)
    with pytest.raises(UnsupportedModel, match="changes model.layers.1.* which the base model does not have"):
        list(merged_tensors(smaller, adapted.adapter))
    with pytest.raises(UnsupportedModel, match="does not fit the model"):
        load_merged(str(tiny_model(tmp_path / "narrow", hidden_size=32)), adapted.adapter, "cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_every_number_type_is_read_exactly(dtype: torch.dtype, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    tensor = torch.randn(3, 5).to(dtype)
    save_file({"a": tensor, "scalar": torch.tensor(1.5).to(dtype)}, tmp_path / "w.safetensors")
    read = dict(read_tensors(tmp_path / "w.safetensors"))
    np.testing.assert_array_equal(read["a"], tensor.float().numpy())
    assert read["scalar"].shape == ()
    save_file({"a": torch.ones(2, dtype=torch.int64)}, tmp_path / "i.safetensors")
    with pytest.raises(UnsupportedModel, match="holds a as I64"):
        list(read_tensors(tmp_path / "i.safetensors"))


@pytest.mark.parametrize("shape", ["llama", "mistral", "qwen2", "qwen3"])
@pytest.mark.parametrize("tied", [False, True])
def test_a_gguf_reads_back_as_the_same_model(shape: str, tied: bool, tmp_path: Path) -> None:
    """transformers' GGUF reader undoes the reordering of heads. It takes all heads of Qwen3 to be 128 wide."""
    folder = tiny_model(tmp_path / "model", shape, tie_word_embeddings=tied, head_dim=128 if shape == "qwen3" else 16)
    path = write_gguf(folder, None, tmp_path / "out" / "model.gguf", "f32", real_tokenizer=True)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    again = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    with torch.no_grad():
        torch.testing.assert_close(again(PROMPT).logits, model(PROMPT).logits, rtol=0, atol=1e-4)
    assert [file.name for file in path.parent.iterdir()] == ["model.gguf"]


def test_smaller_types_cost_little(models: Callable[[str], Path], tmp_path: Path) -> None:
    exact = AutoModelForCausalLM.from_pretrained(models("llama"), dtype=torch.float32)(PROMPT).logits.log_softmax(-1)
    sizes, errors = [], []
    for dtype in ("f32", "f16", "q8_0"):
        path = write_gguf(models("llama"), None, tmp_path / f"{dtype}.gguf", dtype, real_tokenizer=True)
        model = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=path.name, dtype=torch.float32)
        sizes.append(path.stat().st_size)
        errors.append((model(PROMPT).logits.log_softmax(-1) - exact).abs().mean().item())
    assert sizes == sorted(sizes, reverse=True)
    assert errors[0] < 1e-5
    assert errors[1] < 1e-5  # the model's weights are float16 numbers
    assert 1e-4 < errors[2] < 0.2


def test_shapes_that_openvino_cannot_load_are_named() -> None:
    def reasons(shape: str, **overrides: Any) -> str:
        return "; ".join(reasons_against_openvino(tiny_config(shape, **overrides).to_dict()))

    assert not reasons("llama")
    assert not reasons("qwen2", use_sliding_window=False)
    assert "gemma" in reasons("gemma")
    assert "slides over 8" in reasons("mistral", sliding_window=8)
    assert "biases" in reasons("llama", attention_bias=True)
    assert "biases" in reasons("llama", mlp_bias=True)
    assert "gelu" in reasons("llama", hidden_act="gelu")
    assert "scaled (linear)" in reasons(
        "llama", rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0}
    )
    assert "part of each head" in reasons("llama", partial_rotary_factor=0.5)


def test_a_failed_write_leaves_nothing(models: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match="gemma"):
        write_gguf(models("gemma"), None, tmp_path / "x.gguf")
    with pytest.raises(UnsupportedModel, match="'f8'"):
        write_gguf(models("llama"), None, tmp_path / "x.gguf", "f8")
    with pytest.raises((UnsupportedModel, ModelCorrupt, ValueError, OSError)):
        write_gguf(models("llama"), tmp_path / "no-adapter", tmp_path / "x.gguf")
    assert not list(tmp_path.iterdir())


def publish(data: Path, adapted: Weights, number: int = 1) -> Path:
    """Publish the adapter as version `number` of a data folder."""
    assert adapted.adapter is not None
    folder = data / "versions" / f"{number:06d}"
    adapter = adapted.adapter
    write_version(
        folder,
        version=number,
        parent=0,
        base_model=str(adapted.model),
        base_digest=model_digest(str(adapted.model)),
        save=lambda path: shutil.copytree(adapter, path, dirs_exist_ok=True),
        fingerprint=Fingerprint([1], [2], [-1.0]),
        seed=0,
        settings={},
    )
    return folder


def attune(*arguments: object) -> Any:
    app = typer.Typer()
    register(app)
    app.command("other")(lambda: None)  # with a single command typer takes its name as an argument
    return CliRunner().invoke(app, ["export-model", *map(str, arguments)])


def test_each_format_holds_the_version(adapted: Weights, tmp_path: Path) -> None:
    publish(tmp_path / "data", adapted)
    expected = load_merged(str(adapted.model), adapted.adapter, "cpu")(PROMPT).logits
    done = attune(1, "--format", "hf", "--out", tmp_path / "hf", "--data", tmp_path / "data")
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == str(tmp_path / "hf")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "hf")
    torch.testing.assert_close(model(PROMPT).logits, expected, rtol=0, atol=1e-5)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "hf")
    assert tokenizer.apply_chat_template(
        [{"role": "user", "content": "hi"}], add_generation_prompt=True, tokenize=False
    ) == ("<|begin|><|user|>hi<|end|><|assistant|>")
    assert (
        attune(
            1, "--format", "gguf", "--dtype", "f32", "--out", tmp_path / "m.gguf", "--data", tmp_path / "data"
        ).exit_code
        == 0
    )
    model = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="m.gguf", dtype=torch.float32)
    torch.testing.assert_close(model(PROMPT).logits, expected, rtol=0, atol=1e-4)
    assert attune(1, "--format", "peft", "--out", tmp_path / "peft", "--data", tmp_path / "data").exit_code == 0
    from peft import AutoPeftModelForCausalLM

    model = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "peft")
    torch.testing.assert_close(model(PROMPT).logits, expected, rtol=0, atol=1e-4)


def test_a_folder_may_stand_for_a_number(adapted: Weights, tmp_path: Path) -> None:
    folder = publish(tmp_path / "data", adapted)
    done = attune(folder, "--format", "hf", "--out", tmp_path / "hf")
    assert (done.exit_code, done.stdout) == (0, f"{tmp_path / 'hf'}\n")
    expected = load_merged(str(adapted.model), adapted.adapter, "cpu")(PROMPT).logits
    torch.testing.assert_close(
        AutoModelForCausalLM.from_pretrained(tmp_path / "hf")(PROMPT).logits, expected, rtol=0, atol=1e-5
    )
    assert attune(folder, "--format", "gguf", "--out", tmp_path / "m.gguf").exit_code == 0
    assert attune(folder, "--format", "peft", "--out", tmp_path / "peft").exit_code == 0
    other = tiny_model(tmp_path / "other", "qwen2")
    for arguments, message in (
        (
            [folder, "--data", tmp_path / "data"],
            "is no version number, and --data does not apply to a folder; leave it out",
        ),
        ([tmp_path / "absent"], "absent is neither a version number nor a folder that `attune train` wrote"),
        ([tmp_path / "hf"], "hf is no version folder: it has no manifest.json"),
        ([folder, "--model", other], f"was not trained on the model in {other}; name its base model with --model"),
    ):
        refused = attune(*arguments, "--format", "hf", "--out", tmp_path / "x")
        assert (refused.exit_code, refused.output.count("\n")) == (1, 1)
        assert message in refused.output


def test_a_version_given_as_a_model_is_refused_with_the_command_that_makes_it_one(
    adapted: Weights, tmp_path: Path
) -> None:
    folder = publish(tmp_path / "data", adapted)
    with pytest.raises(
        ModelCorrupt,
        match=f"{folder} is a version over a base model, not a model; .*`attune export-model {folder} --format hf",
    ):
        resolve_model(str(folder))


def test_the_tokenizer_in_a_gguf_is_the_models(adapted: Weights, tmp_path: Path) -> None:
    from gguf import GGUFReader

    path = export(Weights(adapted.model), "gguf", tmp_path / "m.gguf")
    fields = GGUFReader(path).fields
    tokenizer = AutoTokenizer.from_pretrained(adapted.model)
    tokens = fields["tokenizer.ggml.tokens"].contents()
    assert tokens == [tokenizer.convert_ids_to_tokens(number) for number in range(320)]
    assert fields["tokenizer.ggml.token_type"].contents()[:7] == [3, 3, 3, 3, 3, 3, 1]
    assert fields["tokenizer.ggml.pre"].contents() == "gpt-2"
    assert fields["tokenizer.ggml.eos_token_id"].contents() == 2
    assert fields["tokenizer.chat_template"].contents() == tokenizer.chat_template


def test_what_cannot_be_exported_is_one_line_and_status_1(adapted: Weights, tmp_path: Path) -> None:
    folder = publish(tmp_path / "data", adapted)
    (tmp_path / "there").mkdir()

    def refused(*arguments: object) -> str:
        done = attune(*arguments, "--data", tmp_path / "data")
        assert done.exit_code == 1
        assert done.output.startswith("attune: ")
        assert done.output.count("\n") == 1
        return str(done.output)

    assert "000007 is no version folder" in refused(7, "--out", tmp_path / "x")
    assert "exists already" in refused(1, "--out", tmp_path / "there")
    assert "'onnx'" in refused(1, "--out", tmp_path / "x", "--format", "onnx")
    assert "is no adapter" in refused(0, "--out", tmp_path / "x", "--format", "peft")
    (folder / "adapter_config.json").write_text("{}")
    assert "is not what was trained" in refused(1, "--out", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_version_zero_is_the_base_model_of_the_others(adapted: Weights, tmp_path: Path) -> None:
    publish(tmp_path / "data", adapted)
    assert weights_of(tmp_path / "data", 0) == Weights(adapted.model)
    with pytest.raises(VersionCorrupt):
        weights_of(tmp_path / "data", 2)
    other = tiny_model(tmp_path / "other", "qwen2")
    with pytest.raises(UnsupportedModel, match=f"data does not serve the model in {other}; name its base model"):
        weights_of(tmp_path / "data", 0, str(other))
    assert read_config(adapted.model)["model_type"] == "llama"


def test_version_zero_of_a_data_folder_without_versions_is_the_model_that_it_serves(
    adapted: Weights, tmp_path: Path
) -> None:
    data, out = tmp_path / "data", tmp_path / "hf"
    data.mkdir()
    refused = attune(0, "--format", "hf", "--out", out, "--data", data)
    assert (refused.exit_code, refused.output.count("\n")) == (1, 1)
    assert f"nothing in {data} says which model it serves; name its base model with --model" in refused.output
    assert not out.exists()
    record_served(data, ServedModel(str(adapted.model), model_digest(str(adapted.model))))
    assert weights_of(data, 0) == Weights(adapted.model)
    assert weights_of(data, 0, str(adapted.model)) == Weights(adapted.model)
    with pytest.raises(UnsupportedModel, match="data does not serve the model in"):
        weights_of(data, 0, str(tiny_model(tmp_path / "other", "qwen2")))
    (data / "base.json").write_text("{")
    with pytest.raises(UnsupportedModel, match="says which model it serves"):
        weights_of(data, 0)


TEMPLATE = "{% for message in messages %}[{{ message['role'] }}] {{ message['content'] }}\n{% endfor %}"


def exported_templates(weights: Weights, out: Path) -> dict[str, str | None]:
    """Return the chat template that each format holds, as its readers find it."""
    from gguf import GGUFReader

    found: dict[str, str | None] = {}
    for form in ("hf", "peft") if weights.adapter is not None else ("hf",):
        export(weights, form, out / form)
        file = out / form / "chat_template.jinja"
        found[form] = file.read_text() if file.exists() else None
    found["hf"] = AutoTokenizer.from_pretrained(out / "hf").chat_template
    export(weights, "gguf", out / "m.gguf")
    field = GGUFReader(out / "m.gguf").fields.get("tokenizer.chat_template")
    found["gguf"] = field.contents() if field is not None else None
    return found


def test_exports_hold_the_template_that_was_trained_with(adapted: Weights, tmp_path: Path) -> None:
    data, bare = tmp_path / "data", tmp_path / "bare"
    shutil.copytree(adapted.model, bare)
    (bare / "chat_template.jinja").unlink()
    base = Weights(bare, adapted.adapter)
    folder = publish(data, base)
    record_served(data, ServedModel(str(bare), model_digest(str(bare)), TEMPLATE))
    assert exported_templates(weights_of(data, 1), tmp_path / "none") == {"hf": None, "peft": None, "gguf": None}
    assert exported_templates(weights_of(data, 0), tmp_path / "0") == {"hf": TEMPLATE, "gguf": TEMPLATE}
    manifest = json.loads((folder / "manifest.json").read_text())  # a folder of an earlier release names it alone
    (tmp_path / "own.jinja").write_text(TEMPLATE)
    for named, text in (("chatml", CHATML), (str(tmp_path / "own.jinja"), TEMPLATE)):
        (folder / "manifest.json").write_text(json.dumps({**manifest, "settings": {"chat_template": named}}))
        out = tmp_path / named.replace("/", "-")
        assert exported_templates(weights_of(data, 1), out) == {"hf": text, "peft": text, "gguf": text}
    (folder / "manifest.json").write_text(json.dumps({**manifest, "settings": {"chat_template": "gone.jinja"}}))
    with pytest.raises(UnsupportedModel, match=r"the chat template gone\.jinja cannot be read"):
        weights_of(data, 1)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    assert weights_of(data, 1).chat_template == TEMPLATE


def test_the_command_itself_is_light() -> None:
    code = "import sys, policy.commands; assert not {'torch', 'transformers', 'numpy', 'gguf'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2]).returncode == 0

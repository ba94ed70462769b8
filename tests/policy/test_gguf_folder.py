"""A GGUF file as a model: the answers of the weights it was made of, and one clear line where it cannot be read."""

import contextlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from policy.chat import load_tokenizer, render_prompt
from policy.errors import ModelCorrupt, ModelNotFound, UnsupportedModel
from policy.gguf import write_gguf
from policy.gguf_conversion import check_whole, generation_config
from policy.gguf_folder import SOURCE, folder_of_gguf
from policy.gguf_header import GgufHeader, read_header
from policy.logprobs import score_rows
from policy.model import load_merged, load_model, model_digest, resolve_model
from policy.row_layout import Row
from policy.runners.base import RunnerOptions
from policy.runners.llamacpp import LlamaCppEngine
from tests.models import tiny_adapter, tiny_model
from tests.policy.conftest import source_of

CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello there 12 你好 <|end|>"}]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("whole") / "model")


@pytest.fixture(scope="module")
def file(whole: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(whole, None, tmp_path_factory.mktemp("gguf") / "tiny.gguf", "f32", real_tokenizer=True)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))


def test_a_gguf_file_is_the_model_it_was_made_of(whole: Path, file: Path) -> None:
    folder = resolve_model(str(file))
    config = json.loads((folder / "config.json").read_text())
    assert "quantization_config" not in config
    mine, theirs = load_tokenizer(str(file)), load_tokenizer(str(whole))
    ids = render_prompt(theirs, CHAT)
    assert render_prompt(mine, CHAT) == ids
    with torch.no_grad():
        logps = [
            load_model(name, "cpu")(torch.tensor([ids])).logits.log_softmax(-1) for name in (str(file), str(whole))
        ]
    assert torch.allclose(*logps, atol=5e-2, rtol=0)
    assert (logps[0] - logps[1]).abs().mean() < 5e-3
    assert (folder / "model.safetensors").stat().st_size < 0.6 * (whole / "model.safetensors").stat().st_size


def test_it_is_read_once_and_again_where_the_cache_was_changed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, digest = resolve_model(str(file)), model_digest(str(file))
    made: list[Path] = []
    monkeypatch.setattr("policy.gguf_folder._make", lambda path, folder, digest: made.append(folder))
    assert resolve_model(str(file)) == folder
    assert model_digest(str(folder)) == digest
    assert not made
    weights = folder / "model.safetensors"
    kept = weights.read_bytes()
    weights.write_bytes(kept[:-1] + b"\x7f")
    assert model_digest(str(folder)) != digest
    resolve_model(str(file))
    assert made[0] == folder
    weights.write_bytes(kept)


def test_llama_cpp_maps_the_file_as_it_is_with_adapters_beside_it(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_gguf(whole, None, tmp_path / "mine.gguf", "q8_0", real_tokenizer=True)
    folder = resolve_model(str(file))
    adapter = tiny_adapter(folder, tmp_path / "adapter", scale=0.3)
    options = RunnerOptions(kinds=("llamacpp",), threads=1, quantize="file")
    ids = list(range(60, 90))
    for weights, there in ((None, []), (adapter, ["adapter"])):
        cache = tmp_path / f"cache-{weights is None}"
        engine = LlamaCppEngine(source_of(folder, cache, adapter=weights), options)
        seen = engine.score([([1, 4, 5], ids)])[0]
        engine.close()
        written = [path.name.partition("-")[0] for path in cache.glob("llamacpp/*")]
        assert written == there  # no second copy of the weights
        model = load_merged(str(folder), weights, "cpu")
        [[learners]] = score_rows(model, [Row([1, 4, 5], [ids])])
        apart = np.abs(np.array(seen) - learners.numpy())
        assert 0 < apart.mean() < 0.1  # llama.cpp rounds what flows through weights of 8 bits
    file.rename(tmp_path / "moved.gguf")
    with pytest.raises(UnsupportedModel, match="engine.quantize is file, but .* that is gone; name the file"):
        LlamaCppEngine(source_of(folder, tmp_path / "cache"), options)
    assert resolve_model(str(tmp_path / "moved.gguf")) == folder
    LlamaCppEngine(source_of(folder, tmp_path / "cache"), options).close()
    with pytest.raises(UnsupportedModel, match="came from no GGUF file"):
        LlamaCppEngine(source_of(whole, tmp_path / "cache"), options)


def test_another_file_is_another_model(
    whole: Path, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []

    def make(path: Path, folder: Path, digest: str) -> None:
        folder.mkdir(parents=True)
        made.append(folder)

    monkeypatch.setattr("policy.gguf_folder._make", make)
    other = write_gguf(whole, None, tmp_path / "other.gguf", "q4_0", real_tokenizer=True)
    assert folder_of_gguf(other) == made[0] != folder_of_gguf(file)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.02, 0.2, 0.5, 0.9, 0.999])
def test_a_torn_file_is_one_clear_line(share: float, file: Path, tmp_path: Path) -> None:
    torn = Path(shutil.copy(file, tmp_path / "torn.gguf"))
    os.truncate(torn, int(share * file.stat().st_size))
    with pytest.raises(ModelCorrupt, match="is torn|is no GGUF file") as caught:
        resolve_model(str(torn))
    assert "\n" not in str(caught.value)
    assert str(torn) in str(caught.value)
    assert not list(torn.parent.glob(".*"))


def changed(file: Path, to: Path, old: bytes, new: bytes) -> Path:
    """Copy a file with some of its bytes changed, in place."""
    data = file.read_bytes()
    assert len(old) == len(new)
    assert old in data
    to.write_bytes(data.replace(old, new))
    return to


def test_an_unknown_architecture_is_one_clear_line(file: Path, tmp_path: Path) -> None:
    strange = changed(file, tmp_path / "strange.gguf", b"llama", b"xxama")
    with pytest.raises(
        UnsupportedModel, match="has the architecture 'xxama', which transformers cannot read"
    ) as caught:
        resolve_model(str(strange))
    assert "\n" not in str(caught.value)
    assert not list((Path(os.environ["XDG_CACHE_HOME"]) / "attune" / "models").glob(".*"))


def test_a_file_without_a_chat_template_needs_one(whole: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(whole, tmp_path / "base"))
    (base / "chat_template.jinja").unlink()
    file = write_gguf(base, None, tmp_path / "base.gguf", "f16", real_tokenizer=True)
    with pytest.raises(UnsupportedModel, match="has no chat template.*--chat-template FILE, chatml or plain"):
        load_tokenizer(str(file))
    tokenizer = load_tokenizer(str(file), "plain")
    assert tokenizer.decode(render_prompt(tokenizer, CHAT[1:])).endswith("\nAssistant:")


def test_what_a_gguf_file_names_as_ends_and_sampling_is_kept() -> None:
    metadata = {
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.eot_token_id": 7,
        "tokenizer.ggml.padding_token_id": 0,
        "general.sampling.temp": 0.6,
        "general.sampling.top_k": 20,
    }
    assert generation_config(GgufHeader(metadata, ())) == {
        "bos_token_id": 1,
        "eos_token_id": [7, 2],
        "pad_token_id": 0,
        "temperature": 0.6,
        "top_k": 20,
    }


def test_parts_and_adapters_are_refused_by_name() -> None:
    for metadata, message in (
        ({"split.count": 3}, "is one of 3 parts; join them with"),
        ({"general.type": "adapter"}, "holds no model .its type is adapter."),
    ):
        with pytest.raises(UnsupportedModel, match=message):
            check_whole(Path("x.gguf"), GgufHeader({"general.architecture": "llama", **metadata}, ()))


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_header_never_ends_in_anything_but_a_clear_line(seed: int, file: Path, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(seed)
    data = bytearray(file.read_bytes())
    for index in torch.randint(4, 3000, (8,), generator=generator).tolist():
        data[index] = int(torch.randint(256, (1,), generator=generator))
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(bytes(data))
    with contextlib.suppress(ModelCorrupt, UnsupportedModel):
        read_header(damaged)


def test_a_file_that_is_no_gguf_and_one_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ModelCorrupt, match="is no GGUF file"):
        resolve_model(str(tmp_path / "notes.txt"))
    with pytest.raises(ModelNotFound, match="there is no GGUF file"):
        resolve_model(str(tmp_path / "missing.gguf"))


def test_a_model_too_large_for_the_memory_is_refused_before_it_is_read(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_gguf(whole, None, tmp_path / "large.gguf", "f16", real_tokenizer=True)
    monkeypatch.setattr("policy.gguf_folder.available_memory", lambda: 2**20)
    monkeypatch.setattr("policy.gguf_folder._make", lambda *_: pytest.fail("read"))
    with pytest.raises(UnsupportedModel, match="GiB of memory while it is read, and 0.0 are free; choose a smaller"):
        folder_of_gguf(file)


def test_a_conversion_that_is_killed_leaves_nothing(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_gguf(whole, None, tmp_path / "killed.gguf", "q4_0", real_tokenizer=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("policy.gguf_folder.sys.executable", "/bin/false")
    with pytest.raises(ModelCorrupt, match="cannot be read"):
        folder_of_gguf(file)
    assert not list((tmp_path / "cache" / "attune" / "models").iterdir())
    assert not list(tmp_path.rglob(SOURCE))

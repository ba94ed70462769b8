"""A version's weights as files for other programs: a GGUF file, a Hugging Face folder, or a PEFT adapter."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from policy.chat_template import TEMPLATE_FILE, read_template
from policy.errors import CannotWrite, UnsupportedModel, VersionCorrupt
from policy.gguf import write_gguf
from policy.model import load_merged, model_digest, read_config, resolve_model
from policy.served_model import served_model
from policy.versions import MANIFEST, read_version

FORMATS = ("gguf", "hf", "peft")
_WEIGHTS = ("*.safetensors", "*.bin", "*.index.json", MANIFEST, "adapter_config.json", "training_state*")
_OF_A_TRAINING = ("report.json", "logs")


@dataclass(frozen=True)
class Weights:
    """Where a version's weights are: a model folder, and an adapter over it for a learned version.

    `chat_template` is the text of a template that takes the place of the model's own.
    """

    model: Path
    adapter: Path | None = None
    chat_template: str | None = None


def weights_of(data: Path, number: int, model: str | None = None) -> Weights:
    """Return where the weights of version `number` of a data folder are, with the files checked.

    `model` names the base model if it has moved. Raises VersionCorrupt for a missing or damaged version, ModelNotFound
    and ModelCorrupt for its base, UnsupportedModel for another base, or where nothing says which it is.
    """
    folder = data / "versions" / f"{number:06d}"
    return _base_of(data, model) if number == 0 and not folder.is_dir() else weights_in(folder, model)


def weights_in(folder: Path, model: str | None = None) -> Weights:
    """Return where the weights of a version folder are, with the files checked. `attune train` writes such folders.

    `model` names the base model if it has moved. Raises VersionCorrupt for another or a damaged folder, ModelNotFound
    and ModelCorrupt for its base, UnsupportedModel for another base.
    """
    manifest = read_version(folder)
    if manifest.kind == "full":
        return Weights(folder)
    if manifest.kind != "adapter":
        raise UnsupportedModel(f"{folder} holds a {manifest.kind} model, which generates no text")
    base = resolve_model(model or manifest.base_model)
    if model_digest(str(base)) != manifest.base_digest:
        raise UnsupportedModel(f"{folder} was not trained on the model in {base}; name its base model with --model")
    return Weights(base, folder, _template_of(folder, manifest.settings))


def export(weights: Weights, kind: str, out: Path, dtype: str = "f16") -> Path:
    """Write weights to `out`, completely or not at all; return `out`. `dtype` (f16, f32, q8_0) is for gguf.

    Raises FileExistsError when `out` exists, UnsupportedModel for weights that a format cannot hold.
    """
    if out.exists():
        raise FileExistsError(f"{out} exists already; name another --out")
    if kind == "gguf":
        return write_gguf(
            weights.model, weights.adapter, out, dtype, real_tokenizer=True, chat_template=weights.chat_template
        )
    if kind == "hf":
        return _write_folder(weights, out)
    if kind == "peft":
        return _write_adapter(weights, out)
    raise UnsupportedModel(f"unknown format {kind!r}; choose from {', '.join(FORMATS)}")


def _write_folder(weights: Weights, out: Path) -> Path:
    config = read_config(weights.model)
    model = load_merged(
        str(weights.model), weights.adapter, "cpu", str(config.get("dtype") or config.get("torch_dtype") or "float32")
    )
    with _whole(out) as folder:
        unwanted = (*_WEIGHTS, *_OF_A_TRAINING) if (weights.model / MANIFEST).exists() else _WEIGHTS
        shutil.copytree(weights.model, folder, ignore=shutil.ignore_patterns(*unwanted), dirs_exist_ok=True)
        model.save_pretrained(folder)
        _write_template(weights, folder)
    return out


def _write_adapter(weights: Weights, out: Path) -> Path:
    if weights.adapter is None:
        raise UnsupportedModel("this version is no adapter over a base model; export it as hf or gguf")
    with _whole(out) as folder:
        shutil.copy2(weights.adapter / "adapter_model.safetensors", folder)
        config = json.loads((weights.adapter / "adapter_config.json").read_text())
        config["base_model_name_or_path"] = str(weights.model)
        (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")
        _write_template(weights, folder)
    return out


def _write_template(weights: Weights, folder: Path) -> None:
    """Write the template that was trained with, where the model's own is another or none."""
    if weights.chat_template is not None:
        (folder / TEMPLATE_FILE).write_text(weights.chat_template)


@contextmanager
def _whole(out: Path) -> Iterator[Path]:
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        temporary.rename(out)
    except SafetensorError as error:  # for instance a full disk
        raise CannotWrite(f"{out} cannot be written ({error})") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _base_of(data: Path, model: str | None) -> Weights:
    """Return the base model of a data folder: the one on record, or that of its versions' manifests."""
    served, name, digest = served_model(data), None, None
    if served is not None:
        name, digest = served.model, served.digest
    for manifest in sorted((data / "versions").glob(f"*/{MANIFEST}")) if served is None else ():
        with suppress(VersionCorrupt):
            known = read_version(manifest.parent, verify=False)
            name, digest = known.base_model, known.base_digest
            break
    if model is None and name is None:
        raise UnsupportedModel(f"nothing in {data} says which model it serves; name its base model with --model")
    base = resolve_model(model or name or "")
    if digest is not None and model_digest(str(base)) != digest:
        raise UnsupportedModel(f"{data} does not serve the model in {base}; name its base model with --model")
    return Weights(base, None, served.chat_template if served is not None else None)


def _template_of(folder: Path, settings: Mapping[str, Any]) -> str | None:
    """Return the template that a version was trained with, None for the model's own.

    Folders of earlier releases name it in their settings alone. Raises UnsupportedModel where that file is gone.
    """
    if (folder / TEMPLATE_FILE).exists():
        return (folder / TEMPLATE_FILE).read_text()
    named = settings.get("chat_template")
    return read_template(named) if isinstance(named, str) else None

"""Base models: finding them, checking their files, their digests, and loading them."""

import hashlib
import json
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from policy.catalog import FETCHED, bundled_models
from policy.digests import file_digest
from policy.errors import ModelCorrupt, ModelNotFound, UnsupportedModel, first_line
from policy.gguf_folder import folder_of_gguf, gguf_digest
from policy.hub import fetch_from_hub, is_hub_id, pinned, pinned_by
from policy.versions import MANIFEST

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


def resolve_model(name: str) -> Path:
    """Return the folder of a model, checked: a known name ("pocket"), a folder, a GGUF file, or a hub id.

    A hub id is fetched unless it is in the hub's cache; it may end with @ and a revision. A GGUF file is read once into
    the cache. The check covers configuration, weights and tokenizer, and loads none of them. Raises ModelNotFound,
    ModelCorrupt, or UnsupportedModel for pickled weights, in one sentence.
    """
    folder = _find(name)
    _check(folder)
    return folder


def resolved_name(name: str, data: Path | None = None) -> str:
    """Return the name that stands for the same weights for ever: of a hub id, that with the commit.

    A hub id without a revision is the commit that the data folder has learned on, if it has one. The model is fetched
    and checked. Raises as `resolve_model` does.
    """
    known = name if data is None else pinned_by(data, name)
    return pinned(known, resolve_model(known))


def model_digest(name: str) -> str:
    """Return the sha256 of a base model: over its files of weights, configuration and tokenizer, or its GGUF file."""
    folder = resolve_model(name)
    if (of_file := gguf_digest(folder)) is not None:
        return of_file
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in (".safetensors", ".bin") or path.name in (
            "config.json",
            "tokenizer.json",
            "tokenizer.model",
            "chat_template.jinja",
        ):
            digest.update(f"{path.name}:{file_digest(path)}\n".encode())
    return digest.hexdigest()


def model_config(name: str) -> dict[str, Any]:
    """Return the config.json of a model. Raises as `resolve_model` does."""
    return read_config(resolve_model(name))


def read_config(folder: Path) -> dict[str, Any]:
    """Return the config.json of a model folder. Raises ModelCorrupt when it is missing or is not that of a model."""
    try:
        config = json.loads((folder / "config.json").read_text())
    except OSError as error:
        raise ModelCorrupt(
            f"the model folder {folder} has no config.json; is it a Hugging Face model folder?"
        ) from error
    except ValueError as error:
        raise ModelCorrupt(f"{folder / 'config.json'} is not JSON ({error})") from error
    if not isinstance(config, dict) or "model_type" not in config:
        raise ModelCorrupt(f"{folder / 'config.json'} names no model_type; is this a Hugging Face model?")
    return config


def load_model(name: str, device: str = "auto", dtype: str = "auto") -> "PreTrainedModel":
    """Load a causal language model for inference or training, in eval mode, on `device` (auto, cpu, cuda).

    `dtype` auto is float32 on a CPU and bfloat16 on a GPU. Raises ModelNotFound, ModelCorrupt (also for a missing
    tensor), UnsupportedModel (also for a model that is not causal, such as BERT), ValueError for an absent device.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # models are loaded by processes without a terminal
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)  # PEFT uses it
    target = resolve_device(device)
    kind = ("bfloat16" if target == "cuda" else "float32") if dtype == "auto" else dtype
    folder = resolve_model(name)
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=getattr(torch, kind),
            output_loading_info=True,
            trust_remote_code=False,
            use_safetensors=True,
        )
    except (ValueError, KeyError, ImportError) as error:  # no such model type, or not a language model
        raise UnsupportedModel(
            f"the model {name!r} in {folder} cannot be loaded as a causal language model ({first_line(error)})"
        ) from error
    except Exception as error:  # a reader of broken weights may raise anything
        raise ModelCorrupt(f"the model {name!r} in {folder} cannot be loaded ({first_line(error)})") from error
    lacking = sorted(str(key) for kind in ("missing_keys", "mismatched_keys") for key in report.get(kind, ()))
    if lacking:  # transformers only warns, and fills them with random numbers
        what = f"{lacking[0]} or have it in another shape ({len(lacking)} such)"
        raise ModelCorrupt(f"the weights in {folder} lack {what}; fetch the model again")
    model = model.to(target).eval()
    if getattr(model.config, "is_decoder", None) is False and _reads_ahead(model):
        both = f"{type(model).__name__}, is_decoder false: each token sees those after it"
        raise UnsupportedModel(
            f"the model {name!r} in {folder} is no causal decoder ({both}); choose a causal language model"
        )
    return model


def _reads_ahead(model: Any) -> bool:
    """Return whether the second token changes the logits at the first. Some decoders too have `is_decoder` false."""
    import torch

    with torch.no_grad():
        first = model(input_ids=torch.tensor([[1, 1], [1, 2]], device=model.device)).logits[:, 0].float()
    return not torch.allclose(first[0], first[1], rtol=1e-2, atol=1e-2 * first.std().item())


def load_merged(name: str, adapter: Path | None, device: str = "auto", dtype: str = "auto") -> "PreTrainedModel":
    """Load a model with a LoRA adapter merged into its weights.

    They are added in float32 and then cast to `dtype`, so that small updates are not rounded away. Raises as
    `load_model` does, and UnsupportedModel for an adapter that does not fit the model.
    """
    if adapter is None:
        return load_model(name, device, dtype)
    import torch
    from peft import PeftModel

    target = resolve_device(device)
    kind = ("bfloat16" if target == "cuda" else "float32") if dtype == "auto" else dtype
    base = load_model(name, "cpu", "float32")
    warnings.filterwarnings("ignore", "fan_in_fan_out is set to", UserWarning)  # PEFT itself corrects it for GPT-2
    _untie(base, adapter)
    refuse_pickles(adapter, "adapter_model.safetensors")
    try:
        merged: Any = PeftModel.from_pretrained(base, adapter).merge_and_unload()
    except (ValueError, KeyError, RuntimeError, OSError) as error:
        raise UnsupportedModel(
            f"the adapter in {adapter} does not fit the model {name!r} ({first_line(error)})"
        ) from error
    merged_model: PreTrainedModel = merged.to(device=target, dtype=getattr(torch, kind)).eval()
    return merged_model


def _untie(model: Any, adapter: Path) -> None:
    """Give the output layer weights of its own where an adapter changes it.

    An adapter that is merged into shared weights would change the input embeddings too.
    """
    import torch

    head = model.get_output_embeddings()
    if head is None or head.weight is not model.get_input_embeddings().weight:
        return
    leaf = next(name for name, module in model.named_modules() if module is head).rpartition(".")[2]
    config = adapter / "adapter_config.json"
    if config.is_file() and leaf in json.loads(config.read_text())["target_modules"]:
        head.weight = torch.nn.Parameter(head.weight.detach().clone(), requires_grad=False)
        model.config.tie_word_embeddings = False


def resolve_device(device: str) -> str:
    """Return cpu or cuda. Raises ValueError for another name, and for cuda without a GPU."""
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"unknown device {device!r}; choose auto, cpu or cuda")
    if device == "cpu":
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if device == "cuda":
        raise ValueError("the device is cuda but torch sees no GPU; use --device cpu or install a CUDA build of torch")
    return "cpu"


def _find(name: str) -> Path:
    bundled = bundled_models()
    if name in bundled:
        return bundled[name]
    if name in FETCHED:
        if not FETCHED[name].path.is_file():
            raise ModelNotFound(f"the model {name!r} is not here yet; fetch it with `attune models get {name}`")
        return folder_of_gguf(FETCHED[name].path)
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.is_file():
        return folder_of_gguf(path)
    if path.suffix == ".gguf":
        raise ModelNotFound(f"there is no GGUF file {name!r}; check its path")
    if not is_hub_id(name):
        names = ", ".join(sorted([*bundled, *FETCHED]))
        lead = f"there is no model {name!r}: not a known one ({names}), not a folder or GGUF file"
        raise ModelNotFound(f"{lead}, not a hub id (owner/name or owner/name@revision)")
    return fetch_from_hub(name)


def _check(folder: Path) -> None:
    if (folder / MANIFEST).is_file() and not (folder / "config.json").exists():
        export = f"attune export-model {folder} --format hf --out NEW"
        raise ModelCorrupt(
            f"{folder} is a version over a base model, not a model; write a model first, with `{export}`"
        )
    read_config(folder)
    if not any((folder / file).exists() for file in ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")):
        raise ModelCorrupt(f"the model folder {folder} has no tokenizer (tokenizer.json)")
    for path in weight_files(folder):
        _check_weights(path)


def weight_files(folder: Path) -> list[Path]:
    """Return the files that hold a model folder's weights.

    Raises ModelCorrupt when one is missing, UnsupportedModel for pickles.
    """
    index = folder / "model.safetensors.index.json"
    if index.exists():
        names = set(json.loads(index.read_text())["weight_map"].values())
        other = next(
            (name for name in sorted(names) if Path(name).name != name or not name.endswith(".safetensors")), ""
        )
        if other:
            raise UnsupportedModel(f"{index} names {other!r}; only safetensors files beside it are read")
        missing = sorted(file for file in names if not (folder / file).exists())
        if missing:
            raise ModelCorrupt(
                f"the model folder {folder} lacks {missing[0]}, which its index names; fetch the model again"
            )
        return [folder / file for file in sorted(names)]
    if not (folder / "model.safetensors").exists():
        refuse_pickles(folder, "model.safetensors")
        raise ModelCorrupt(f"the model folder {folder} has no weights (model.safetensors)")
    return [folder / "model.safetensors"]


def refuse_pickles(folder: Path, wanted: str) -> None:
    """Raise UnsupportedModel where a folder has weights as pickles, which may run code, in place of `wanted`."""
    pickles = sorted(path.name for path in folder.glob("*") if path.suffix in PICKLES)
    if pickles and not (folder / wanted).exists():
        reason = f"only as a pickle ({pickles[0]}), which could run code when it is read"
        raise UnsupportedModel(f"{folder} has its weights {reason}; convert them to safetensors")


def _check_weights(path: Path) -> None:
    if path.suffix != ".safetensors":
        return
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(size))
            end = max((entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"), default=0)
        except (ValueError, KeyError, TypeError, MemoryError, OverflowError) as error:
            raise ModelCorrupt(f"{path} is not a safetensors file; fetch the model again") from error
    there = path.stat().st_size
    if there < 8 + size + end:
        raise ModelCorrupt(f"{path} is cut short: {there} bytes of {8 + size + end}; fetch the model again")

"""A GGUF file as a Hugging Face folder: `python -m policy.gguf_conversion FILE FOLDER`, in a process of its own.

transformers reads the file. The weights are written as safetensors, in half precision; the configuration names no
quantization. One line of JSON on stdout says what came of it.
"""

import json
import sys
from pathlib import Path
from typing import Any

from policy.errors import ModelCorrupt, PolicyError, UnsupportedModel, first_line
from policy.gguf_header import GgufHeader, read_header

WEIGHTS = "model.safetensors"
BFLOAT16 = 30  # GGML's number of the type
PLAIN_SPLITS = ("gpt-2", "gpt2", "default", "")
# llama.cpp splits off single digits before GPT-2's rule for these names
DIGIT_SPLITS = ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b")
SAMPLING = {
    "temp": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "min_p": "min_p",
    "penalty_repeat": "repetition_penalty",
}  # generation_config.json's names by those of `general.sampling.*`


def convert(path: Path, folder: Path) -> list[str]:
    """Write the model in `path` to `folder`, which exists and is empty; return remarks for people.

    Raises ModelCorrupt for a torn file, UnsupportedModel for an architecture or a type that transformers cannot read.
    """
    header = read_header(path)
    check_whole(path, header)
    remarks = _write_tokenizer(path, header, folder)
    _write_weights(path, header, folder)
    (folder / "generation_config.json").write_text(json.dumps(generation_config(header), indent=2) + "\n")
    return remarks


def generation_config(header: GgufHeader) -> dict[str, Any]:
    """Return the generation settings that a GGUF file names: ids that end an answer, and how to sample."""
    metadata = header.metadata
    ids = {
        name: metadata.get(f"tokenizer.ggml.{key}_token_id")
        for name, key in (("bos", "bos"), ("eos", "eos"), ("eot", "eot"), ("eom", "eom"), ("pad", "padding"))
    }
    ends = [number for number in dict.fromkeys([ids["eot"], ids["eos"], ids["eom"]]) if number is not None]
    found = {
        "bos_token_id": ids["bos"],
        "pad_token_id": ids["pad"],
        "eos_token_id": ends or None,
        **{ours: metadata.get(f"general.sampling.{theirs}") for theirs, ours in SAMPLING.items()},
    }
    return {name: value for name, value in found.items() if value is not None}


def check_whole(path: Path, header: GgufHeader) -> None:
    """Raise UnsupportedModel for a file that holds no whole model, or one of an unknown architecture."""
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

    kind, parts = header.metadata.get("general.type", "model"), header.metadata.get("split.count", 0)
    if kind != "model":
        raise UnsupportedModel(f"{path} holds no model (its type is {kind}); name the file of the model")
    if parts > 1:
        raise UnsupportedModel(f"{path} is one of {parts} parts; join them with `llama-gguf-split --merge`")
    known = {name.replace("_", "-") for name in GGUF_SUPPORTED_ARCHITECTURES}
    if header.architecture.replace("_", "-") not in known | {"qwen2moe", "qwen3moe"}:
        lead = f"{path} has the architecture {header.architecture!r}, which transformers cannot read from GGUF"
        raise UnsupportedModel(f"{lead}; use the model's Hugging Face folder or hub id")


def _write_tokenizer(path: Path, header: GgufHeader, folder: Path) -> list[str]:
    """Write the tokenizer with the rule that splits text before the merges; return remarks."""
    from tokenizers import pre_tokenizers
    from transformers import AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    except Exception as error:  # a reader of any vocabulary may raise anything
        raise UnsupportedModel(f"the tokenizer in {path} cannot be read ({first_line(error)})") from error
    splitting, remarks = str(header.metadata.get("tokenizer.ggml.pre", "")), []
    if header.metadata.get("tokenizer.ggml.model") == "gpt2":
        if splitting in DIGIT_SPLITS:
            tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
                [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
            )
        elif splitting not in (*PLAIN_SPLITS, *_known_splits()):
            remarks.append(f"{path} splits text by the rule {splitting!r}, which is unknown here; GPT-2's is used")
    tokenizer.save_pretrained(folder)
    return remarks


def _known_splits() -> tuple[str, ...]:
    """Return the rules that this release of transformers knows."""
    try:
        from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS
    except ImportError:
        return ()
    return tuple(GGUF_PRE_TOKENIZER_SPLITS)


def _write_weights(path: Path, header: GgufHeader, folder: Path) -> None:
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    is_bfloat16 = any(tensor.kind == BFLOAT16 for tensor in header.tensors)
    kind = torch.bfloat16 if is_bfloat16 else torch.float16
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, dtype=kind, output_loading_info=True, trust_remote_code=False
        )
    except MemoryError:
        raise
    except Exception as error:  # a reader of any file may raise anything
        raise UnsupportedModel(f"{path} cannot be read by transformers ({first_line(error)})") from error
    tied = set(getattr(model, "_tied_weights_keys", None) or ()) if model.config.tie_word_embeddings else set()
    lacking = sorted(set(report.get("missing_keys", ())) - tied) + sorted(map(str, report.get("mismatched_keys", ())))
    if lacking:  # transformers only warns, and fills them with random numbers
        raise ModelCorrupt(f"{path} lacks {lacking[0]} or has it in another shape ({len(lacking)} such)")
    tensors: dict[str, Any] = {}
    seen: set[int] = set()
    for name, tensor in model.state_dict().items():
        if tensor.data_ptr() in seen:  # an output layer that is the embeddings
            continue
        seen.add(tensor.data_ptr())
        if not torch.isfinite(tensor).all():
            raise UnsupportedModel(f"{path} holds numbers in {name} that {kind} cannot hold")
        tensors[name] = tensor.contiguous()
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.config.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    unwanted = ("quantization_config", "_name_or_path", "transformers_version")
    config = {name: value for name, value in config.items() if name not in unwanted}
    config |= {"architectures": [type(model).__name__], "dtype": str(kind).removeprefix("torch.")}
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def main() -> None:
    """Convert, and print a JSON object: `remarks`, or `error` (the class's name) and `message`."""
    try:
        answer: dict[str, Any] = {"remarks": convert(Path(sys.argv[1]), Path(sys.argv[2]))}
    except PolicyError as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    except MemoryError:
        answer = {"error": "UnsupportedModel", "message": f"{sys.argv[1]} does not fit into this machine's memory"}
    except OSError as error:
        answer = {"error": "CannotWrite", "message": f"{sys.argv[2]} cannot be written ({error.strerror})"}
    except Exception as error:
        answer = {"error": "ModelCorrupt", "message": f"{sys.argv[1]} cannot be read ({first_line(error)})"}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()

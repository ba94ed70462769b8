"""One copy of the base weights for all versions: one process holds them, each runner adds its own adapter.

Processes exchange handles of tensors (CUDA IPC on a GPU, shared memory on a CPU), not numbers. The process that holds
the weights must outlive those that use them.
"""

import io
import pickle
import warnings
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import TYPE_CHECKING, Any

from policy.errors import UnsupportedModel, first_line
from policy.model import refuse_pickles, resolve_model

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    Tensors = dict[str, dict[str, torch.Tensor]]  # parameters and buffers by name


def hand_out(name: str, model: "PreTrainedModel") -> bytes:
    """Return handles of all parameters and buffers of a model, for `model_on` in other processes.

    `name` is the model's name or folder. Raises UnsupportedModel for a model with other tensors, which are not shared.
    """
    import torch.multiprocessing as sharing

    sharing.set_sharing_strategy("file_system")  # names instead of descriptors, since handles are sent as bytes
    tensors = {
        "parameters": {path: tensor.detach() for path, tensor in model.named_parameters(remove_duplicate=False)},
        "buffers": dict(model.named_buffers(remove_duplicate=False)),
    }
    _assembled(name, tensors)  # fails here, before a version is loaded, if tensors are missing
    out = io.BytesIO()
    ForkingPickler(out, pickle.HIGHEST_PROTOCOL).dump(tensors)
    return out.getvalue()


def model_on(name: str, handles: bytes, adapter: Path | None) -> "PreTrainedModel":
    """Return the model `name` on the weights of `hand_out`, with a LoRA adapter (None for none) that is not merged.

    The adapter computes in the weights' type. Raises UnsupportedModel for an adapter that does not fit the model.
    """
    import torch.multiprocessing as sharing

    sharing.set_sharing_strategy("file_system")
    model = _assembled(name, pickle.loads(handles))
    if adapter is None:
        return model
    from peft import PeftModel

    refuse_pickles(adapter, "adapter_model.safetensors")
    warnings.filterwarnings("ignore", "Model has `tie_word_embeddings=True`", UserWarning)  # nothing is merged here
    try:
        with_adapter: Any = PeftModel.from_pretrained(model, adapter, autocast_adapter_dtype=False)
    except (ValueError, KeyError, RuntimeError, OSError) as error:
        reason = first_line(error)
        raise UnsupportedModel(f"the adapter in {adapter} does not fit the model {name!r} ({reason})") from error
    return with_adapter.eval().get_base_model()  # type: ignore[no-any-return]


def _assembled(name: str, tensors: "Tensors") -> "PreTrainedModel":
    """Return the model `name` with these tensors as its parameters and buffers."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    dtype = next(tensor.dtype for tensor in tensors["parameters"].values() if tensor.is_floating_point())
    with torch.device("meta"):
        config = AutoConfig.from_pretrained(resolve_model(name), trust_remote_code=False)
        model: Any = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)
    for path, tensor in tensors["parameters"].items():
        _owner(model, path)._parameters[_leaf(path)] = torch.nn.Parameter(tensor, requires_grad=False)
    for path, tensor in tensors["buffers"].items():
        _owner(model, path)._buffers[_leaf(path)] = tensor
    _refuse_left_out(model, name)
    return model.eval()  # type: ignore[no-any-return]


def _owner(model: Any, path: str) -> Any:
    return model.get_submodule(path.rpartition(".")[0])


def _leaf(path: str) -> str:
    return path.rpartition(".")[2]


def _refuse_left_out(model: Any, name: str) -> None:
    """Raise UnsupportedModel if a tensor of the model is still without numbers."""
    import torch

    for path, module in model.named_modules():
        for leaf, value in [*vars(module).items(), *module._parameters.items(), *module._buffers.items()]:
            if isinstance(value, torch.Tensor) and value.is_meta:
                raise UnsupportedModel(f"the weights of {name!r} cannot be shared: {path}.{leaf} is not among them")

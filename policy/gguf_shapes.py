"""What a GGUF file calls the parts of a model of transformers, and how their numbers are ordered there."""

import math
from typing import Any

import numpy as np

from policy.weights import Array

# Of llama.cpp, by model_type of transformers. OpenVINO GenAI reads the first four (policy/openvino_ir.py).
ARCHITECTURES = {
    "llama": "llama",
    "mistral": "llama",
    "qwen2": "qwen2",
    "qwen3": "qwen3",
    "smollm3": "smollm3",
    "gemma3_text": "gemma3",
    "phi3": "phi3",
}
IN_PAIRS = ("llama", "smollm3")  # architectures whose queries and keys have their rows in pairs
NO_ROPE = 4  # every so many layers SmolLM3 rotates nothing; llama.cpp knows no other number
FULL = 6  # every so many layers of Gemma 3 attend to everything
_ROPE = {"llama": ("default", "llama3"), "smollm3": ("default", "llama3"), "phi3": ("default", "longrope")}
_BLOCK = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.qkv_proj": "attn_qkv",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.gate_up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
_GEMMA3 = {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
_TOP = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}


def reasons_against_gguf(config: dict[str, Any]) -> list[str]:
    """Return why a model with this config.json cannot be written as GGUF here; empty when it can."""
    kind = config["model_type"]
    if kind not in ARCHITECTURES:
        return [f"its model_type {kind!r} is not one of {', '.join(ARCHITECTURES)}"]
    reasons = []
    rope = rope_of(config)
    scaled = rope.get("rope_type", rope.get("type", "default"))
    if scaled not in _ROPE.get(ARCHITECTURES[kind], ("default",)):
        reasons.append(f"its rotary embedding is scaled ({scaled})")
    window = config.get("sliding_window")
    slides = config.get(
        "use_sliding_window", kind == "mistral" or (kind == "phi3" and window and window < context_of(config))
    )
    if window and slides and kind != "gemma3_text":
        reasons.append(f"its attention slides over {window} tokens")
    usual = "gelu_pytorch_tanh" if kind == "gemma3_text" else "silu"
    activation = config.get("hidden_activation") or config.get("hidden_act", usual)
    if activation != usual:
        reasons.append(f"its activation is {activation}")
    if kind != "phi3" and config.get("partial_rotary_factor", rope.get("partial_rotary_factor", 1.0)) != 1.0:
        reasons.append("only a part of each head is rotated")
    if config.get("mlp_bias") or (config.get("attention_bias") and kind != "qwen2"):
        reasons.append("its projections have biases")
    return reasons + (
        _against_smollm3(config) if kind == "smollm3" else _against_gemma3(config) if kind == "gemma3_text" else []
    )


def _against_smollm3(config: dict[str, Any]) -> list[str]:
    layers = config["num_hidden_layers"]
    usual = [int((layer + 1) % NO_ROPE != 0) for layer in range(layers)]
    return [] if config.get("no_rope_layers", usual) == usual else ["its layers without rotary embedding are unusual"]


def _against_gemma3(config: dict[str, Any]) -> list[str]:
    reasons = []
    usual = [
        ("sliding" if (layer + 1) % FULL else "full") + "_attention" for layer in range(config["num_hidden_layers"])
    ]
    if config.get("layer_types", usual) != usual or config.get("sliding_window_pattern", FULL) != FULL:
        reasons.append("its layers with a sliding window are unusual")
    if config.get("query_pre_attn_scalar", head_size(config)) != head_size(config):
        reasons.append("its queries are scaled by another number than the size of a head")
    if config.get("final_logit_softcapping") or config.get("attn_logit_softcapping"):
        reasons.append("its logits are capped")
    if config.get("use_bidirectional_attention"):
        reasons.append("its attention looks ahead")
    return reasons


def head_size(config: dict[str, Any]) -> int:
    """Return how many numbers a head has."""
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])


def rope_of(config: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of the rotary embedding, of Gemma 3 those of layers that attend to everything."""
    rope: dict[str, Any] = config.get("rope_parameters") or config.get("rope_scaling") or {}
    return rope.get("full_attention", rope)


def context_of(config: dict[str, Any]) -> int:
    """Return how many tokens a model can hold here. With long rope it is what the short factors are for.

    llama.cpp takes the factors by the memory's size, transformers by the prompt's length.
    """
    rope, context = rope_of(config), int(config["max_position_embeddings"])
    if rope.get("rope_type", rope.get("type")) != "longrope":
        return context
    original = rope.get("original_max_position_embeddings") or config.get("original_max_position_embeddings")
    return min(context, int(original or context))


def describe_more(writer: Any, config: dict[str, Any]) -> None:
    """Write the parameters that only some architectures have."""
    rope, kind = rope_of(config), config["model_type"]
    default = 1_000_000.0 if kind == "gemma3_text" else 10_000.0
    writer.add_rope_freq_base(float(config.get("rope_theta") or rope.get("rope_theta") or default))
    rotated = config.get("partial_rotary_factor", rope.get("partial_rotary_factor", 1.0))
    writer.add_rope_dimension_count(int(head_size(config) * rotated))
    if kind == "gemma3_text":
        local = (config.get("rope_parameters") or {}).get("sliding_attention") or {}
        theta = config.get("rope_local_base_freq") or local.get("rope_theta") or 10_000.0
        writer.add_rope_freq_base_swa(float(theta))
        writer.add_sliding_window(config["sliding_window"])
    if rope.get("rope_type", rope.get("type")) == "longrope":
        original, longest = context_of(config), int(config["max_position_embeddings"])
        usual = math.sqrt(1 + math.log(longest / original) / math.log(original)) if longest > original else 1.0
        writer.add_rope_scaling_orig_ctx_len(original)
        writer.add_rope_scaling_attn_factors(float(rope.get("attention_factor") or usual))


def more_tensors(config: dict[str, Any]) -> dict[str, Array]:
    """Return the tensors that follow from the configuration: divisors of the rotary frequencies."""
    rope = rope_of(config)
    scaled = rope.get("rope_type", rope.get("type"))
    if scaled == "longrope":
        factors = np.array(rope["short_factor"], np.float32)
        return {"rope_factors_long.weight": factors, "rope_factors_short.weight": factors}
    return {"rope_freqs.weight": _llama3_divisors(config, rope)} if scaled == "llama3" else {}


def frequency_divisors(config: dict[str, Any]) -> Array:
    """Return by what each frequency of the rotary embedding is divided, shape (head size / 2,): 1 without scaling."""
    rope = rope_of(config)
    if rope.get("rope_type", rope.get("type")) == "llama3":
        return _llama3_divisors(config, rope)
    return np.ones(head_size(config) // 2, np.float32)


def _llama3_divisors(config: dict[str, Any], rope: dict[str, Any]) -> Array:
    """Return by what Llama 3.1 divides each frequency: long waves by the factor, short ones by 1, others between."""
    size, base = head_size(config), float(config.get("rope_theta") or rope.get("rope_theta") or 10_000.0)
    waves = 2 * np.pi * base ** (np.arange(0, size, 2) / size)
    original, low, high = (
        float(rope[name]) for name in ("original_max_position_embeddings", "low_freq_factor", "high_freq_factor")
    )
    smooth = np.clip((original / waves - low) / (high - low), 0.0, 1.0)
    divisors: Array = (1 / ((1 - smooth) / float(rope["factor"]) + smooth)).astype(np.float32)
    return divisors


def tensor_name(name: str, config: dict[str, Any]) -> str | None:
    """Return the name in a GGUF file of a tensor of transformers, None where it has none."""
    if name in _TOP:
        return _TOP[name]
    layer, _, module = name.removeprefix("model.layers.").partition(".")
    module, _, kind = module.rpartition(".")
    names = _BLOCK | _GEMMA3 if config["model_type"] == "gemma3_text" else _BLOCK
    return f"blk.{layer}.{names[module]}.{kind}" if module in names else None


def as_stored(name: str, tensor: Array, config: dict[str, Any]) -> Array:
    """Return a tensor with its rows in GGUF's order, and norms as llama.cpp multiplies with them.

    In transformers a head's rows are two halves (rotate-half). For some architectures GGUF has them in pairs.
    """
    heads = config["num_attention_heads"]
    if config["model_type"] == "gemma3_text" and name.endswith("norm.weight"):
        return tensor + np.float32(1)
    if ARCHITECTURES[config["model_type"]] not in IN_PAIRS:
        return tensor
    if ".self_attn.k_proj." in name:
        return _interleave(tensor, config.get("num_key_value_heads") or heads)
    return _interleave(tensor, heads) if ".self_attn.q_proj." in name else tensor


def _interleave(weight: Array, heads: int) -> Array:
    return (
        weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)
    )

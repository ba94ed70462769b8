"""Tiny random models for tests: Hugging Face folders (config, weights, tokenizer, chat template) made in a second.

    folder = tiny_model(tmp_path / "model")                # Llama shape, 2 layers
    folder = tiny_model(tmp_path / "qwen", "qwen3", seed=3)
    adapter = tiny_adapter(folder, tmp_path / "adapter")   # a LoRA adapter whose weights are not zero

The tokenizer is byte-level with a few merges: it encodes any text, and a character may have several tokens. Each
special token (begin, end of turn, pad, the roles' marks) has an id of its own. Weights are large enough for a
distribution of the next token that is far from uniform, so a wrong cache or mask shows.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, BEGIN, END, SYSTEM, USER, ASSISTANT = SPECIAL = [
    "<|pad|>",
    "<|begin|>",
    "<|end|>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
]
CHAT_TEMPLATE = (
    "{{ '<|begin|>' }}{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
TEXT = [
    "hello there, how are you today? what is the capital of France? the capital of France is Paris.",
    "twelve plus thirty is forty-two; sort these words: pear, apple, fig. the opposite of hot is cold.",
    "你好，今天天气怎么样？法国的首都是巴黎。",
] * 4
SHAPES = ("llama", "qwen2", "qwen3", "mistral", "gemma", "gemma2")
MORE_SHAPES = {"gemma3_text": "Gemma3TextConfig", "phi3": "Phi3Config", "smollm3": "SmolLM3Config"}


LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
LONG = {
    "rope_type": "longrope",
    "rope_theta": 10_000.0,
    "short_factor": [1.0, 1.1, 1.2, 1.3, 1.5, 2.0, 2.5, 3.0],
    "long_factor": [2.0] * 8,
}
# Shapes that OpenVINO cannot load, tied or not as in the originals: the shape and what differs from the tiny one.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama 3.2": ("llama", {"rope_parameters": LLAMA3, "tie_word_embeddings": True}),
    "SmolLM3": ("smollm3", {"num_hidden_layers": 4, "tie_word_embeddings": True}),
    "Gemma 3": (
        "gemma3_text",
        {"num_hidden_layers": 6, "sliding_window": 16, "query_pre_attn_scalar": 16, "tie_word_embeddings": True},
    ),
    "Phi 3": ("phi3", {"original_max_position_embeddings": 512}),
    "Phi 3.5": ("phi3", {"original_max_position_embeddings": 256, "rope_parameters": LONG}),
}


@lru_cache(maxsize=1)
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """The byte-level tokenizer of the tiny models: 320 ids, of which 0-5 are pad, begin, end and the roles' marks."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=[AddedToken(text, special=True) for text in SPECIAL],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BEGIN,
        eos_token=END,
        additional_special_tokens=[SYSTEM, USER, ASSISTANT],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def tiny_config(shape: str = "llama", **overrides: Any) -> Any:
    """The config of a tiny model: 2 layers of width 64, 4 heads over 2 key-value heads, context 512."""
    import transformers

    kinds = {name: getattr(transformers, f"{name.capitalize()}Config") for name in SHAPES}
    kinds |= {name: getattr(transformers, kind) for name, kind in MORE_SHAPES.items()}
    settings: dict[str, Any] = {
        "vocab_size": 320,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 512,
        "initializer_range": 0.25,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "tie_word_embeddings": shape.startswith("gemma"),
    }
    if shape == "mistral":
        settings["sliding_window"] = None
    return kinds[shape](**(settings | overrides))


def tiny_model(folder: Path, shape: str = "llama", *, seed: int = 0, **overrides: Any) -> Path:
    """Write a random model of `shape` (one of SHAPES) with the tiny tokenizer; return `folder`.

    The same arguments give the same weights.
    """
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    config = tiny_config(shape, **overrides)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        with torch.no_grad():  # norms and biases start as ones or zeros, which would hide a loader that mixes them up
            for name, parameter in model.named_parameters():
                if "norm" in name or name.endswith("bias"):
                    parameter.add_(0.2 * torch.randn_like(parameter))
    model.generation_config = GenerationConfig(bos_token_id=1, eos_token_id=2, pad_token_id=0)
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def tiny_adapter(
    model_folder: Path, folder: Path, *, seed: int = 1, rank: int = 4, scale: float = 0.05, with_head: bool = False
) -> Path:
    """Write a LoRA adapter that changes every linear layer of the model, `with_head` the output layer too.

    Returns `folder`.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    targets = [
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
        *(["lm_head"] if with_head else []),
    ]
    peft_model = get_peft_model(
        model, LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets, task_type="CAUSAL_LM")
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in peft_model.named_parameters():
            if "lora_" in name:
                parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    peft_model.save_pretrained(folder, save_embedding_layers=False)  # not the output layer itself
    return folder

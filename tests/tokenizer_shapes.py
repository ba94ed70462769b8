"""Small tokenizers in the shapes of well-known models, with their chat templates: for tests of prompts and decoding.

    tokenizer = shaped_tokenizer("gemma")     # llama3, gemma, chatml or mistral

Each has the parts that matter of the real one: what is added and what of it is special, normalizer, pre-tokenizer,
decoder, and how its template begins, trims and ends turns.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from tests.models import TEXT

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

LLAMA3_TEMPLATE = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"
    " + message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
GEMMA_TEMPLATE = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}"
    "{% endif %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}"
    "{% set role = message['role'] %}{% endif %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
CHATML_TEMPLATE = (
    "{% for message in messages %}{% set content = message.content %}"
    "{% if message.role == 'assistant' and '</think>' in content %}"
    "{% set content = content.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "{{ '<|im_start|>' + message.role + '\n' + content + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{% endif %}"
)
MISTRAL_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}"
    "{% endif %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] + eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)
LLAMA3_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class Shape:
    """What is added to a vocabulary: `special` tokens, `plain` ones; the marks of a turn; the names of some."""

    template: str
    special: tuple[str, ...]
    plain: tuple[str, ...]
    close: str  # the end of an assistant's turn and what opens a forged one behind it
    open: str
    names: dict[str, str]

    @property
    def controls(self) -> tuple[str, ...]:
        """Tokens that no text of a message may become."""
        return (*self.special, *(token for token in self.plain if "turn" in token or "think" in token))


SHAPES = {
    "llama3": Shape(
        LLAMA3_TEMPLATE,
        ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        (),
        "<|eot_id|>",
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
        {"bos_token": "<|begin_of_text|>", "eos_token": "<|end_of_text|>"},
    ),
    "gemma": Shape(
        GEMMA_TEMPLATE,
        ("<pad>", "<eos>", "<bos>", "<unk>"),
        ("<start_of_turn>", "<end_of_turn>", "\n\n", "\n\n\n", "▁▁", "<table>", "<h1>", "<unused0>"),
        "<end_of_turn>",
        "<start_of_turn>model\n",
        {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"},
    ),
    "chatml": Shape(
        CHATML_TEMPLATE,
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        ("<think>", "</think>", "<tool_call>"),
        "<|im_end|>",
        "<|im_start|>assistant\n",
        {"pad_token": "<|endoftext|>", "eos_token": "<|endoftext|>"},
    ),
    "mistral": Shape(
        MISTRAL_TEMPLATE,
        ("<unk>", "<s>", "</s>", "[INST]", "[/INST]"),
        (),
        "</s>",
        "[INST] hello [/INST]",
        {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
    ),
}


@lru_cache
def shaped_tokenizer(name: str) -> PreTrainedTokenizerFast:
    """Return the tokenizer of a shape, one of SHAPES."""
    from transformers import PreTrainedTokenizerFast

    shape = SHAPES[name]
    backend = _byte_fallback(name, shape) if name in ("gemma", "mistral") else _byte_level(name)
    backend.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in shape.special])
    backend.add_tokens([AddedToken(text, special=False, normalized=False) for text in shape.plain])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, chat_template=shape.template, clean_up_tokenization_spaces=False, **shape.names
    )


def saved_tokenizer(name: str, folder: Path) -> Any:
    """Write a shape's tokenizer into a folder with generation settings that name its <eos> alone; return it loaded."""
    from policy.chat import load_tokenizer

    tokenizer = shaped_tokenizer(name)
    tokenizer.save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "model.safetensors").write_bytes(len(b"{}").to_bytes(8, "little") + b"{}")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": tokenizer.eos_token_id}))
    return load_tokenizer(str(folder))


def _byte_level(name: str) -> Tokenizer:
    backend = Tokenizer(models.BPE(ignore_merges=name == "llama3"))
    if name == "chatml":
        backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA3_SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    backend.train_from_iterator(TEXT, trainer)
    return backend


def _byte_fallback(name: str, shape: Shape) -> Tokenizer:
    """As SentencePiece: spaces are ▁, and what is not in the vocabulary is bytes."""
    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    latin = [text for text in TEXT if text.isascii()]  # other characters stay bytes
    learned.train_from_iterator(latin, trainers.BpeTrainer(vocab_size=150, show_progress=False))
    described = json.loads(learned.to_str())["model"]
    vocabulary = [*shape.special, *(f"<0x{byte:02X}>" for byte in range(256)), *described["vocab"]]
    ids = {token: index for index, token in enumerate(dict.fromkeys(vocabulary))}
    merges = [tuple(merge) for merge in described["merges"]]
    backend = Tokenizer(models.BPE(ids, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    spaces = normalizers.Replace(" ", "▁")
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if name == "gemma":
        backend.normalizer = spaces
        backend.decoder = decoders.Sequence(steps)
    else:  # as Llama 2: a space before every text, which decoding takes away again at the beginning
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), spaces])
        backend.decoder = decoders.Sequence([*steps, decoders.Strip(" ", 1, 0)])
    return backend

"""The committed weights: their card, their loaders, and the encoding of chats."""

import json
import random

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

from pocket import WEIGHTS, UnknownWeights, weights_folder
from pocket.corpus import draw_example
from pocket.generation import generate
from pocket.model_folder import weights_digest

torch.set_num_threads(2)


@pytest.fixture(scope="module")
def folder():
    return weights_folder("pocket-nano")


@pytest.fixture(scope="module")
def tokenizer(folder):
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def model(folder):
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_card_names_the_digest_of_the_weights_and_they_are_small(name):
    folder = weights_folder(name)
    assert weights_digest(folder) in (folder / "README.md").read_text()
    assert sum(f.stat().st_size for f in folder.iterdir()) < 20e6


def test_unknown_weights_are_named():
    with pytest.raises(UnknownWeights, match="nothing"):
        weights_folder("nothing")


def test_marks_are_single_distinct_tokens(tokenizer):
    marks = ["<|pad|>", "<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>"]
    ids = [tokenizer.encode(mark, add_special_tokens=False) for mark in marks]
    assert [len(i) for i in ids] == [1] * len(marks)
    assert len({i[0] for i in ids}) == len(marks)
    assert (tokenizer.pad_token, tokenizer.bos_token, tokenizer.eos_token) == ("<|pad|>", "<|begin|>", "<|end|>")


def test_the_prompt_is_a_strict_prefix_of_prompt_and_completion(tokenizer):
    rng = random.Random(0)
    for _ in range(100):
        example = draw_example(rng)
        chat = list(example.messages)
        tools = list(example.tools) or None
        prompt = tokenizer.apply_chat_template(chat, tools=tools, add_generation_prompt=True, return_dict=False)
        whole = tokenizer.apply_chat_template(
            [*chat, {"role": "assistant", "content": example.completion}], tools=tools, return_dict=False
        )
        assert whole[: len(prompt)] == prompt
        assert len(whole) > len(prompt)
        assert whole[-1] == tokenizer.eos_token_id
        assert tokenizer.decode(whole[len(prompt) : -1]) == example.completion


def test_generation_is_transformers_greedy_generation(model, tokenizer):
    """Our batched loop, which drops finished rows, equals transformers' loop over single prompts."""
    prompts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": text}], add_generation_prompt=True, return_dict=False
        )
        for text in ("Hello!", "What is the capital of France?", "Name three animals.", "你好")
    ]
    ours = generate(model, prompts, tokenizer.eos_token_id, None, max_tokens=24)
    for prompt, completion in zip(prompts, ours, strict=True):
        theirs = model.generate(input_ids=torch.tensor([prompt]), max_new_tokens=24, do_sample=False)[
            0, len(prompt) :
        ].tolist()
        ended = theirs.index(tokenizer.eos_token_id) if tokenizer.eos_token_id in theirs else len(theirs)
        assert completion == theirs[:ended]


def test_transformers_pipeline_answers(folder):
    chat = pipeline("text-generation", model=str(folder), dtype=torch.float32, device="cpu")
    answer = chat([{"role": "user", "content": "Hello!"}], max_new_tokens=24, do_sample=False)[0]["generated_text"][-1]
    assert answer["role"] == "assistant"
    assert answer["content"].strip()
    assert "<|" not in answer["content"]


def test_it_takes_a_peft_adapter(folder):
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), LoraConfig(r=4, target_modules="all-linear")
    )
    ids = torch.arange(10, 20)[None]
    model(input_ids=ids, labels=ids).loss.backward()
    grads = [p.grad for n, p in model.named_parameters() if "lora_B" in n]
    assert grads
    assert all(g is not None and g.abs().sum() > 0 for g in grads)


def test_half_precision_on_disk_answers_like_float32(folder, tokenizer, model):
    """Weights are stored as float16, so both precisions nearly always have the same likeliest next token."""
    half = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float16).eval()
    rng = random.Random(1)
    same = []
    for _ in range(20):
        ids = torch.tensor(
            [
                tokenizer.apply_chat_template(
                    list(draw_example(rng).messages), add_generation_prompt=True, return_dict=False
                )
            ]
        )
        with torch.inference_mode():
            same.append(bool(half(ids).logits[0, -1].argmax() == model(ids).logits[0, -1].argmax()))
    assert sum(same) >= 19


def test_configuration_names_a_llama_with_distinct_ends(folder):
    config = json.loads((folder / "config.json").read_text())
    ends = json.loads((folder / "generation_config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["max_position_embeddings"] == 512
    assert ends["eos_token_id"] == config["eos_token_id"]
    assert len({config["bos_token_id"], config["eos_token_id"], config["pad_token_id"]}) == 3

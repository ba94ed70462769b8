"""The chat template: functions and calls in the Hermes format, and the same ids as the training's encoder."""

import json
import random
import re

import pytest
from transformers import AutoTokenizer

from pocket import WEIGHTS, weights_folder
from pocket.batches import Encoder
from pocket.chat_template import CHAT_TEMPLATE, MARKS
from pocket.corpus import draw_example
from pocket.skills import SKILLS
from pocket.skills.tools import call_text, read_call

HERMES = re.compile(r"<tool_call>(.*?)</tool_call>|<tool_call>(.*)", re.DOTALL)  # as other software finds calls


@pytest.fixture(scope="module", params=WEIGHTS)
def tokenizer(request):
    return AutoTokenizer.from_pretrained(weights_folder(request.param))


def rendered(tokenizer, messages, **options):
    return tokenizer.apply_chat_template(messages, tokenize=False, **options)


def test_the_weights_have_this_template(tokenizer):
    assert tokenizer.chat_template == CHAT_TEMPLATE
    assert all(len(tokenizer.encode(mark, add_special_tokens=False)) == 1 for mark in MARKS.values())


def test_the_encoder_gives_the_ids_of_the_template(tokenizer):
    rng, encoder = random.Random(0), Encoder(tokenizer, 1024)
    for _ in range(150):
        example = draw_example(rng)
        chat = [*example.messages, {"role": "assistant", "content": example.completion}]
        ids, positions = encoder.encode(example)
        tools = list(example.tools) or None
        assert ids == tokenizer.apply_chat_template(chat, tools=tools, return_dict=False)
        prompt = tokenizer.apply_chat_template(chat[:-1], tools=tools, add_generation_prompt=True, return_dict=False)
        assert ids[: len(prompt)] == prompt
        assert positions[-1] == len(ids) - 1
        learned = tokenizer.decode([ids[p] for p in positions])
        answers = [chat[index]["content"] for index in (*example.learned, len(chat) - 1)]
        assert learned == "".join(answer + "<|end|>" for answer in answers)


def test_a_call_as_an_object_renders_as_the_model_writes_it(tokenizer):
    arguments = {"expression": "12 * 7", "precise": True, "place": "Zürich"}
    for given in (arguments, json.dumps(arguments, ensure_ascii=False)):
        call = {"id": "1", "type": "function", "function": {"name": "calculator", "arguments": given}}
        turn = {"role": "assistant", "content": None, "tool_calls": [call]}
        text = rendered(tokenizer, [{"role": "user", "content": "12 * 7?"}, turn])
        assert text.endswith(f"<|assistant|>{call_text('calculator', arguments)}<|end|>")


def test_two_calls_after_a_text(tokenizer):
    calls = [{"function": {"name": name, "arguments": {}}} for name in ("a", "b")]
    turn = {"role": "assistant", "content": "Wait.", "tool_calls": calls}
    text = rendered(tokenizer, [{"role": "user", "content": "?"}, turn])
    assert text.endswith(f"Wait.\n{call_text('a', {})}\n{call_text('b', {})}<|end|>")


def test_functions_stand_in_the_system_turn(tokenizer):
    tool = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {}}}
    chat = [{"role": "system", "content": " Be brief. "}, {"role": "user", "content": "Hello!"}]
    expected = "You can call these functions:\n<tools>\n" + json.dumps(tool) + "\n</tools><|end|><|user|>Hello!<|end|>"
    assert rendered(tokenizer, chat, tools=[tool]) == "<|begin|><|system|>Be brief.\n\n" + expected
    assert rendered(tokenizer, chat[1:], tools=[tool]) == "<|begin|><|system|>" + expected


def test_without_functions_nothing_is_different(tokenizer):
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello!"}]
    text = "<|begin|><|system|>Be brief.<|end|><|user|>Hello!<|end|><|assistant|>"
    assert rendered(tokenizer, chat, add_generation_prompt=True) == text
    assert rendered(tokenizer, chat, tools=[], add_generation_prompt=True) == text


def test_other_software_finds_the_calls():
    rng, tools = random.Random(3), SKILLS["tools"]
    for _ in range(100):
        prompt = tools.prompt(rng, "en", "train")
        if prompt.truth["kind"] == "call":
            answer = tools.right_answer(rng, prompt)
            found = [json.loads(a or b) for a, b in HERMES.findall(answer)]
            assert found == [read_call(answer)]
            assert found[0]["arguments"] == prompt.truth["arguments"]

"""A real chat model, SmolLM2-135M-Instruct, behind the service: what its makers meant is what people get."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from policy.catalog import FETCHED
from policy.chat import load_tokenizer, render_prompt
from policy.model import model_digest, resolve_model
from policy.model_fetch import is_fetched
from service.model import LocalModel
from tests.service.running import Running, running

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not is_fetched(FETCHED["smollm2"]), reason="fetch it: attune models get smollm2"),
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("smollm2") / "data", make_model=LocalModel, model="smollm2") as service:
        yield service


def test_it_answers_a_question(served: Running) -> None:
    answer = served.chat("What is the capital of France? Answer in one sentence.", temperature=0, max_tokens=32)
    assert "Paris" in answer["choices"][0]["message"]["content"]
    assert answer["choices"][0]["finish_reason"] == "stop"


def test_it_samples_as_its_makers_recommend(served: Running) -> None:
    answer = served.chat("Tell me about the sea.", max_tokens=8)
    with served.db() as db:
        row = next(iter(db.query("SELECT settings FROM completions WHERE id = ?", [answer["id"]])))
    settings = json.loads(row["settings"])
    assert (settings["temperature"], settings["top_p"]) == (0.2, 0.9)


def test_its_template_and_its_digits_are_those_of_the_original() -> None:
    tokenizer = load_tokenizer("smollm2")
    ids = render_prompt(tokenizer, [{"role": "user", "content": "In 2026, 1234567 apples"}])
    assert tokenizer.decode(ids).startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
    assert tokenizer.decode(ids).endswith("<|im_end|>\n<|im_start|>assistant\n")
    parts = tokenizer.tokenize("In 2026, 1234567 apples")
    assert all(sum(char.isdigit() for char in part) <= 1 for part in parts)


def test_its_folder_is_whole_and_has_the_files_digest() -> None:
    folder: Path = resolve_model("smollm2")
    assert (folder / "model.safetensors").stat().st_size == pytest.approx(2 * FETCHED["smollm2"].parameters, rel=0.01)
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())
    assert model_digest("smollm2") == model_digest(str(folder))

"""One answer's steps: every sampled token is in its text, and what goes wrong ends that answer alone, at once."""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.chat import TextStream, decode
from policy.runners.base import Alternatives, TokenDelta
from policy.token_text import token_text
from service.engine.generation import Generation, Token
from service.routes.completions import logprobs_of
from store.completions import get_completion
from tests.service.parrot import END, ByteStream, ParrotModel, ParrotRunner
from tests.service.running import running, wait_until
from tests.tokenizer_shapes import SHAPES, shaped_tokenizer

FALLBACK = shaped_tokenizer("mistral")
NO_END = 10_000


@dataclass
class FallbackParrot(ParrotModel):
    """Its tokens are those of a byte-fallback tokenizer, so that most of what it gives makes no characters."""

    def text_stream(self) -> Any:
        return TextStream(FALLBACK)

    def token(self, token_id: int, is_first: bool = False) -> tuple[str, list[int]]:
        text, octets = token_text(FALLBACK, token_id, is_first=is_first)
        return text, list(octets)


@pytest.mark.parametrize("text", ["你好 hello 🦜 é", "ééééééé", "\x7f\x7fab", "你"])
def test_bytes_that_make_no_characters_are_in_the_text_streamed_and_not(tmp_path: Path, text: str) -> None:
    with running(tmp_path / "data", FallbackParrot()) as served:
        ask: dict[str, Any] = {
            "model": "attune",
            "messages": [{"role": "user", "content": f"say: {text}"}],
            "max_tokens": 200,
            "logprobs": True,
        }
        whole = served.openai().chat.completions.create(**ask)
        chunks = list(served.openai().chat.completions.create(**ask, stream=True))
        legacy: dict[str, Any] = {"model": "attune", "prompt": f"say: {text}", "max_tokens": 200, "logprobs": 1}
        completion = served.openai().completions.create(**legacy).choices[0]
        with served.db() as db:
            sampled = [token for token in get_completion(db, whole.id).completion_ids if token != END]
    shown = decode(FALLBACK, sampled)
    choices = [choice for chunk in chunks for choice in chunk.choices]
    assert whole.choices[0].message.content == completion.text == shown
    assert "".join(choice.delta.content or "" for choice in choices) == shown
    assert whole.choices[0].finish_reason == choices[-1].finish_reason == "stop"
    streamed = [token for choice in choices if choice.logprobs for token in choice.logprobs.content or ()]
    assert streamed == whole.choices[0].logprobs.content
    assert len(streamed) == len(completion.logprobs.tokens) == len(completion.logprobs.text_offset) == len(sampled)
    assert bytes(octet for token in streamed for octet in token.bytes or ()).decode(errors="replace") == shown
    assert sorted(completion.logprobs.text_offset) == completion.logprobs.text_offset


@pytest.mark.parametrize("name", sorted(SHAPES))
@given(ids=st.lists(st.integers(5, 400), min_size=1, max_size=25), size=st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_offsets_point_at_the_text_of_their_tokens(name: str, ids: list[int], size: int) -> None:
    tokenizer = shaped_tokenizer(name)
    generation, tokens = Generation(0, TextStream(tokenizer), (), (NO_END,)), list[Token]()
    for start in range(0, len(ids), size):
        part = tuple(ids[start : start + size])
        last = start + size >= len(ids)
        tokens += generation.add(TokenDelta("r", part, (-1.0,) * len(part), "length" if last else "")).tokens
    assert generation.text == decode(tokenizer, ids)
    assert [token.id for token in tokens] == ids
    for token in tokens:
        text = token_text(tokenizer, token.id, is_first=token.is_first)[0]
        if "\ufffd" not in text and not getattr(tokenizer.added_tokens_decoder.get(token.id), "special", False):
            assert generation.text[token.offset :].startswith(text)


def test_a_llama_2_tokenizer_keeps_its_spaces_in_log_probabilities() -> None:
    ids = FALLBACK.encode("the capital of France", add_special_tokens=False)
    generation = Generation(0, TextStream(FALLBACK), (), (NO_END,))
    tokens = generation.add(TokenDelta("r", tuple(ids), (-1.0,) * len(ids), "length")).tokens
    shown = logprobs_of(FallbackParrot(), tokens)
    assert "".join(shown["tokens"]) == generation.text == "the capital of France"
    assert any(text.startswith(" ") for text in shown["tokens"])
    assert shown["text_offset"] == [sum(map(len, shown["tokens"][:index])) for index in range(len(ids))]


class ThrowingStream(ByteStream):
    """Cannot decode a hash."""

    def feed(self, token_id: int) -> str:
        if token_id == ord("#"):
            raise RuntimeError("no such token")
        return super().feed(token_id)


@dataclass
class ThrowingParrot(ParrotModel):
    """A model whose decoder raises for some tokens."""

    def text_stream(self) -> ByteStream:
        return ThrowingStream()


def test_what_goes_wrong_in_a_step_ends_that_answer_alone(tmp_path: Path) -> None:
    with running(tmp_path / "data", ThrowingParrot(step_s=0.005), limits__request_s=60.0) as served:
        ends: dict[str, Any] = {}

        def chat(name: str, text: str) -> None:
            body = {"model": "attune", "messages": [{"role": "user", "content": text}], "max_tokens": 300, "n": 2}
            ends[name] = served.http.post("/v1/chat/completions", json=body).json()

        threads = [threading.Thread(target=chat, args=args) for args in (("bad", "say: ab#cd"), ("good", "say: abcd"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert "stopped answering: no such token" in ends["bad"]["error"]["message"]
        assert [choice["message"]["content"] for choice in ends["good"]["choices"]] == ["abcd"] * 2
        with pytest.raises(Exception, match="stopped answering"):
            messages: Any = [{"role": "user", "content": "say: #"}]
            list(served.openai().chat.completions.create(model="attune", messages=messages, stream=True))
        wait_until(lambda: served.service.admission.active == 0, what="their tickets are given back")
        assert not served.service.engine.slots[0].leases


@pytest.mark.parametrize("logp", [float("nan"), float("-inf"), float("inf")])
def test_a_log_probability_that_is_no_number_is_refused(logp: float) -> None:
    generation = Generation(0, ByteStream(), (), (END,))
    with pytest.raises(ValueError, match="log-probability of token 97"):
        generation.add(TokenDelta("r", (97,), (logp,), ""))
    with pytest.raises(ValueError, match="zip"):
        generation.add(TokenDelta("r", (97, 98), (-1.0,), ""))


class SlowAlternatives(ParrotRunner):
    """Computes alternatives until it is let go."""

    let_go = threading.Event()
    began = threading.Event()

    def alternatives(self, prompt_ids: Any, completion_ids: Any, count: int) -> Alternatives:
        self.began.set()
        self.let_go.wait(20)
        return super().alternatives(prompt_ids, completion_ids, count)


@dataclass
class SlowAlternativesParrot(ParrotModel):
    """A parrot with such a runner."""

    def load(self, version: Any) -> Any:
        self.runners.append(SlowAlternatives(version.number))
        return self.runners[-1]


def test_alternatives_that_are_computed_for_a_client_that_left_hold_its_ticket(tmp_path: Path) -> None:
    with running(tmp_path / "data", SlowAlternativesParrot()) as served:
        ask = {"model": "attune", "messages": [{"role": "user", "content": "say: hi"}], "logprobs": True}
        with pytest.raises(Exception, match="timed out"):
            served.http.post("/v1/chat/completions", json={**ask, "top_logprobs": 2}, timeout=0.5)
        assert SlowAlternatives.began.is_set()
        assert served.service.admission.active == 1
        SlowAlternatives.let_go.set()
        wait_until(lambda: served.service.admission.active == 0, what="the ticket is given back")
        assert not served.service.engine.slots[0].leases

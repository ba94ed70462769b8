"""Chat completions through the openai SDK, against the running service."""

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from openai import BadRequestError, NotFoundError, UnprocessableEntityError
from openai.types.chat import ChatCompletionMessageParam

from policy.runners.base import Alternatives
from store.completions import get_completion
from tests.service.parrot import END, ParrotModel, logp_of
from tests.service.running import Running, wait_until

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Hello!"}]


def user_turn(text: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": f"say: {text}"}]


def test_an_answer_names_its_version_and_is_recorded_as_it_was_sampled(shared: Running) -> None:
    answer = shared.openai().chat.completions.create(
        model="attune", messages=user_turn("Good day"), logprobs=True, seed=7, metadata={"team": "a"}
    )
    assert answer.model == "attune@0"
    assert answer.system_fingerprint == "parrot"
    assert answer.choices[0].message.content == "Good day"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.completion_tokens, answer.usage.prompt_tokens) == (
        len("Good day") + 1,
        len("say: Good day") + 3,
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert [(token.token, token.logprob) for token in logprobs.content] == [
        (char, logp_of(ord(char))) for char in "Good day"
    ]
    with shared.db() as db:
        kept = get_completion(db, answer.id)
    assert kept.completion_ids == [*b"Good day", END]
    assert kept.logps == [logp_of(token) for token in kept.completion_ids]
    assert kept.prompt_ids == ParrotModel().prompt_ids([{"role": "user", "content": "say: Good day"}])
    assert (kept.version, kept.text, kept.settings["seed"], kept.settings["metadata"]) == (
        0,
        "Good day",
        7,
        {"team": "a"},
    )


def test_a_stream_gives_the_same_as_a_whole_answer_and_ends_with_usage(shared: Running) -> None:
    chunks = list(
        shared.openai().chat.completions.create(
            model="attune",
            messages=user_turn("one two three"),
            stream=True,
            stream_options={"include_usage": True},
            logprobs=True,
        )
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "one two three"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == len("one two three") + 1
    assert {chunk.model for chunk in chunks} == {"attune@0"}
    tokens = [
        token.token
        for chunk in chunks
        if chunk.choices and chunk.choices[0].logprobs
        for token in chunk.choices[0].logprobs.content or []
    ]
    assert "".join(tokens) == "one two three"


def test_characters_of_several_tokens_are_never_cut(shared: Running) -> None:
    text = "naïve 你好 🦜 done"
    chunks = shared.openai().chat.completions.create(model="attune", messages=user_turn(text), stream=True)
    deltas = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(deltas) == text
    assert not any("\ufffd" in delta for delta in deltas)


def test_a_stop_string_across_tokens_is_never_shown(shared: Running) -> None:
    chunks = shared.openai().chat.completions.create(
        model="attune", messages=user_turn("before STOP after"), stop=["STOP"], stream=True
    )
    got = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert "".join(choice.delta.content or "" for choice in got) == "before "
    assert got[-1].finish_reason == "stop"


def test_the_same_seed_gives_the_same_answer_and_n_choices_differ(shared: Running) -> None:
    client = shared.openai()
    first = client.chat.completions.create(model="attune", messages=HELLO, seed=5, n=4)
    again = client.chat.completions.create(model="attune", messages=HELLO, seed=5, n=4)
    texts = [choice.message.content for choice in first.choices]
    assert texts == [choice.message.content for choice in again.choices]
    assert len(set(texts)) > 1
    assert [choice.index for choice in first.choices] == [0, 1, 2, 3]


def test_the_answer_ends_at_max_tokens(shared: Running) -> None:
    answer = shared.openai().chat.completions.create(
        model="attune", messages=user_turn("abcdefgh"), max_completion_tokens=3
    )
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("abc", "length")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tools", [{"type": "function", "function": {"name": "f"}}]),
        ("response_format", {"type": "json_object"}),
        ("logit_bias", {"5": 3}),
        ("reasoning_effort", "high"),
        ("audio", {"voice": "x"}),
        ("modalities", ["audio"]),
        ("function_call", {"name": "f"}),
    ],
)
def test_what_would_change_the_answer_and_is_not_supported_is_refused_by_name(
    shared: Running, field: str, value: object
) -> None:
    with pytest.raises(BadRequestError) as refused:
        shared.openai().chat.completions.create(
            model="attune", messages=HELLO, extra_body={"logprobs": True, field: value}
        )
    assert refused.value.param == field
    assert refused.value.code == "unsupported_parameter"


@pytest.mark.parametrize(
    "harmless",
    [
        {"store": True},
        {"service_tier": "auto"},
        {"tools": []},
        {"tool_choice": "none"},
        {"response_format": {"type": "text"}},
        {"prediction": None},
    ],
)
def test_what_cannot_change_the_answer_is_accepted(shared: Running, harmless: dict[str, object]) -> None:
    shared.openai().chat.completions.create(model="attune", messages=HELLO, extra_body=harmless)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"temperature": 2.5}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"n": 9}, "n"),
        ({"n": 0}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"presence_penalty": -3}, "presence_penalty"),
        ({"best_effort": True}, "best_effort"),
        ({"stop": ""}, "stop"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
            "messages[0].content",
        ),
    ],
)
def test_wrong_values_are_refused_and_name_the_field(shared: Running, wrong: dict[str, object], field: str) -> None:
    with pytest.raises(UnprocessableEntityError if "best_effort" in wrong else BadRequestError) as refused:
        shared.openai().chat.completions.create(model="attune", messages=HELLO, extra_body=wrong)  # type: ignore[call-overload]
    assert refused.value.param is not None
    assert refused.value.param.startswith(field)
    assert refused.value.type == "invalid_request_error"


@pytest.mark.parametrize("tiny", [0.0, 5e-324, 1e-300, 1e-46, 1e-44])
def test_next_to_nothing_as_temperature_or_top_p_is_greedy(shared: Running, tiny: float) -> None:
    answer = shared.openai().chat.completions.create(model="attune", messages=HELLO, temperature=tiny, top_p=tiny)
    with shared.db() as db:
        settings = get_completion(db, answer.id).settings
    assert settings["temperature"] == 0.0  # in float32, smaller ones gave any token at all, and the smallest a 500
    assert settings["top_p"] == 1e-6


def test_unknown_models_are_404(shared: Running) -> None:
    for name in ("gpt-4", "attune@7", "attune@x", "attune@-1"):
        with pytest.raises(NotFoundError) as refused:
            shared.openai().chat.completions.create(model=name, messages=HELLO)
        assert refused.value.code == "model_not_found"


def test_a_body_that_is_no_json_is_400_in_openais_shape(shared: Running) -> None:
    answer = shared.http.post("/v1/chat/completions", content=b"{nope", headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


def test_more_tokens_than_the_context_holds_is_a_clear_400(shared: Running) -> None:
    with pytest.raises(BadRequestError) as refused:
        shared.openai().chat.completions.create(model="attune", messages=HELLO, max_tokens=5000)
    assert refused.value.code == "context_length_exceeded"
    assert "5000" in refused.value.message
    with pytest.raises(BadRequestError) as refused:
        shared.openai().chat.completions.create(model="attune", messages=[{"role": "user", "content": "x" * 2000}])
    assert refused.value.param == "messages"


def test_a_long_conversation_loses_its_oldest_turns_and_reports_it(shared: Running) -> None:
    turns: list[ChatCompletionMessageParam] = [{"role": "system", "content": "Be kind."}]
    for _ in range(10):
        turns += [{"role": "user", "content": "a" * 90}, {"role": "assistant", "content": "b" * 90}]
    turns.append({"role": "user", "content": "say: still here"})
    answer = shared.openai().chat.completions.create(model="attune", messages=turns)
    assert answer.choices[0].message.content == "still here"
    dropped = int(answer.model_dump()["metadata"]["dropped_messages"])
    assert dropped > 0
    assert dropped % 2 == 0
    with shared.db() as db:
        kept = get_completion(db, answer.id).messages
    assert kept[0]["role"] == "system"
    assert len(kept) == len(turns) - dropped
    with pytest.raises(BadRequestError):
        shared.openai().chat.completions.create(model="attune", messages=turns, extra_body={"truncation": "disabled"})


def test_the_conversation_goes_on_under_its_id(shared: Running) -> None:
    first = shared.chat("Hello!")
    second = shared.chat("And now?", conversation_id=first["conversation_id"])
    assert second["conversation_id"] == first["conversation_id"]
    shown = shared.http.get(f"/v1/conversations/{first['conversation_id']}").json()
    assert [answer["id"] for answer in shown["completions"]] == [first["id"], second["id"]]


def test_legacy_completions_answer_a_string_and_a_list(shared: Running) -> None:
    client = shared.openai()
    one = client.completions.create(
        model="attune",
        prompt="say: yes",
        max_tokens=100,
        temperature=0.5,
        top_p=1,
        frequency_penalty=0,
        presence_penalty=0,
    )
    assert (one.object, one.choices[0].text, one.choices[0].finish_reason) == ("text_completion", "yes", "stop")
    two = client.completions.create(model="attune", prompt=["say: a", "say: b"], n=2, logprobs=0)
    assert [choice.text for choice in two.choices] == ["a", "a", "b", "b"]
    assert [choice.index for choice in two.choices] == [0, 1, 2, 3]
    streamed = client.completions.create(model="attune", prompt="say: in parts", stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == "in parts"


def num_recorded(served: Running) -> int:
    with served.db() as db:
        return int(db.table("completions").count)


def test_alternatives_under_way_keep_their_tickets_and_take_no_shared_threads(
    served: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, runner = threading.Event(), served.model.runners[0]
    given = runner.alternatives

    def slow(prompt_ids: Sequence[int], completion_ids: Sequence[int], count: int) -> Alternatives:
        assert gate.wait(60)
        return given(prompt_ids, completion_ids, count)

    monkeypatch.setattr(runner, "alternatives", slow)
    num_asked = min(32, (os.cpu_count() or 1) + 4) + 1  # more than the event loop has threads
    with ThreadPoolExecutor(num_asked) as pool:
        asked = [pool.submit(served.chat, "say: hi", logprobs=True, top_logprobs=2) for _ in range(num_asked)]
        try:
            wait_until(lambda: num_recorded(served) == num_asked, 30, "all replies have ended")
            assert served.service.admission.active == num_asked
            assert served.chat("say: now")["choices"][0]["message"]["content"] == "now"
        finally:
            gate.set()
        assert all(len(one.result()["choices"][0]["logprobs"]["content"][0]["top_logprobs"]) == 2 for one in asked)
    wait_until(lambda: served.service.admission.active == 0, what="all tickets are given back")

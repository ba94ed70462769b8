"""Every field of OpenAI's two completion requests, and how the service treats it; docs/openai.md shows this table.

python -m tests.service.test_conformance     # regenerates docs/openai.md
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import openai
import pytest
from openai.types import completion_create_params
from openai.types.chat import completion_create_params as chat_create_params

from store.completions import get_completion
from tests.service.running import Running

PAGE = Path(__file__).parents[2] / "docs" / "openai.md"
Outcome = Literal["honoured", "accepted, without effect", "refused by name (400)"]
HELLO: Any = [{"role": "user", "content": "say: one two three"}]


@dataclass(frozen=True)
class Case:
    """One field: a value that is sent, what happens, and what that means."""

    field: str
    value: Any
    outcome: Outcome
    note: str = ""


CHAT = (
    Case(
        "messages",
        HELLO,
        "honoured",
        "system, developer (as system), user, assistant; text or text parts. Other parts and roles: 400",
    ),
    Case("model", "attune@0", "honoured", "`attune` (live), `attune@N`, a backend's name. Unknown: 404"),
    Case("frequency_penalty", 0.5, "honoured", "-2 to 2"),
    Case("presence_penalty", 0.5, "honoured", "-2 to 2"),
    Case("logprobs", True, "honoured", "under the raw model, at temperature 1"),
    Case(
        "top_logprobs",
        3,
        "honoured",
        "0 to 20, with logprobs; from one forward pass over the answer, so in a stream they come after its text",
    ),
    Case("max_tokens", 3, "honoured", "at least the context: 400 `context_length_exceeded`"),
    Case("max_completion_tokens", 3, "honoured", "the same as max_tokens"),
    Case("n", 2, "honoured", "1 to 8"),
    Case("seed", 7, "honoured", "same seed, same version, same answer, alone or among others"),
    Case("stop", ["two"], "honoured", "up to 8; found across tokens, never shown"),
    Case("stream", True, "honoured"),
    Case("stream_options", {"include_usage": True}, "honoured", "with stream only; otherwise 400"),
    Case("temperature", 0.3, "honoured", "0 to 2; 0 is greedy"),
    Case("top_p", 0.9, "honoured", "0 to 1"),
    Case("metadata", {"team": "a"}, "honoured", "recorded with the answer, and given back"),
    Case(
        "user",
        "eva",
        "honoured",
        "names the end user; without the scope `act-as` only a label",
    ),
    Case("store", True, "accepted, without effect", "every answer is recorded"),
    Case("service_tier", "auto", "accepted, without effect"),
    Case("parallel_tool_calls", True, "accepted, without effect"),
    Case("prediction", {"type": "content", "content": "x"}, "accepted, without effect", "it only saves time"),
    Case("prompt_cache_key", "k", "accepted, without effect"),
    Case("prompt_cache_options", {}, "accepted, without effect"),
    Case("prompt_cache_retention", "24h", "accepted, without effect"),
    Case("safety_identifier", "s", "accepted, without effect"),
    Case("moderation", None, "accepted, without effect"),
    Case("audio", {"voice": "alloy", "format": "wav"}, "refused by name (400)"),
    Case("function_call", {"name": "f"}, "refused by name (400)", "`none` and `auto` are taken"),
    Case("functions", [{"name": "f"}], "refused by name (400)"),
    Case("logit_bias", {"5": 1}, "refused by name (400)"),
    Case("modalities", ["text", "audio"], "refused by name (400)", '`["text"]` is taken'),
    Case("reasoning_effort", "high", "refused by name (400)", "`none` is taken"),
    Case("response_format", {"type": "json_object"}, "refused by name (400)", '`{"type": "text"}` is taken'),
    Case("tool_choice", "required", "refused by name (400)", "`none` and `auto` are taken"),
    Case("tools", [{"type": "function", "function": {"name": "f"}}], "refused by name (400)"),
    Case("verbosity", "low", "refused by name (400)", "`medium` is taken"),
    Case("web_search_options", {}, "refused by name (400)"),
)
LEGACY = (
    Case("model", "attune@0", "honoured", "as above"),
    Case(
        "prompt",
        ["say: one", "say: two"],
        "honoured",
        "a string or a list of strings, each answered as one user message; token ids: 400",
    ),
    Case("frequency_penalty", 0.5, "honoured", "-2 to 2"),
    Case("presence_penalty", 0.5, "honoured", "-2 to 2"),
    Case("logprobs", 3, "honoured", "0 to 5 of the likeliest tokens beside each one's own"),
    Case("max_tokens", 3, "honoured"),
    Case("n", 2, "honoured", "1 to 8"),
    Case("seed", 7, "honoured"),
    Case("stop", "two", "honoured"),
    Case("stream", True, "honoured"),
    Case("stream_options", {"include_usage": True}, "honoured", "with stream only"),
    Case("temperature", 0.3, "honoured"),
    Case("top_p", 0.9, "honoured"),
    Case("user", "eva", "honoured", "as above"),
    Case("best_of", 3, "refused by name (400)", "a value equal to n is taken"),
    Case("echo", True, "refused by name (400)"),
    Case("logit_bias", {"5": 1}, "refused by name (400)"),
    Case("suffix", "end", "refused by name (400)"),
)


def page() -> str:
    """Return docs/openai.md."""

    def table(cases: tuple[Case, ...]) -> str:
        rows = [
            f"| `{case.field}` | {case.outcome} | {case.note} |" for case in sorted(cases, key=lambda case: case.field)
        ]
        return "\n".join(["| field | what happens | |", "|---|---|---|", *rows])

    return (
        "# OpenAI's fields\n\nEach row is a test that sends the field through the openai SDK.\n"
        "Fields that neither OpenAI nor Attune knows are refused with 422, other faults with 400.\n"
        "The error's `param` names the field.\n\n"
        f"## `POST /v1/chat/completions`\n\n{table(CHAT)}\n\n"
        "Ours: `top_k` (0 is off), `repetition_penalty` (1 is off; over prompt and answer), `min_p` (0 is off),\n"
        "`conversation_id`,\n"
        "`chat_template_kwargs` (arguments of the model's [chat template](models.md#chat-templates)),\n"
        "`truncation` (`auto`: a conversation past the context loses its oldest turns, and\n"
        "`metadata.dropped_messages` of the answer counts them; `disabled`: 400).\n\n"
        f"## `POST /v1/completions`\n\n{table(LEGACY)}\n"
    )


def test_the_table_has_every_field_that_the_sdk_can_send() -> None:
    known = {
        name
        for kind in chat_create_params.CompletionCreateParamsBase.__mro__
        for name in getattr(kind, "__annotations__", {})
    }
    assert {case.field for case in CHAT} == known | {"stream"}
    legacy = {
        name
        for kind in completion_create_params.CompletionCreateParamsBase.__mro__
        for name in getattr(kind, "__annotations__", {})
    }
    assert {case.field for case in LEGACY} == legacy | {"stream"}


def test_the_documentation_shows_this_table() -> None:
    assert PAGE.read_text() == page(), "regenerate it: python -m tests.service.test_conformance"


@pytest.mark.parametrize("case", CHAT, ids=lambda case: case.field)
def test_chat_treats_each_field_as_the_table_lists(shared: Running, case: Case) -> None:
    plain = {"model": "attune", "messages": HELLO, "seed": 1}
    needs = {"stream_options": {"stream": True}, "top_logprobs": {"logprobs": True}}.get(case.field, {})
    body = {**plain, **needs, case.field: case.value}
    create: Any = shared.openai().chat.completions.create
    if case.outcome == "refused by name (400)":
        with pytest.raises(openai.BadRequestError) as refused:
            create(model="attune", messages=HELLO, extra_body=body)
        assert (refused.value.param, refused.value.code) == (case.field, "unsupported_parameter")
        return
    response = (
        create(**{**body, "stream": False})
        if case.field not in ("stream", "stream_options", "moderation", "prompt_cache_options")
        else None
    )
    if case.field in ("moderation", "prompt_cache_options"):
        response = create(**plain, extra_body={case.field: case.value})
    if response is None:
        chunks = list(create(**body))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "one two three"
        assert (chunks[-1].usage is not None) == (case.field == "stream_options")
        return
    text, first = response.choices[0].message.content, response.choices[0]
    expected = {"max_tokens": "one", "max_completion_tokens": "one", "stop": "one "}.get(case.field, "one two three")
    assert text == expected
    assert (first.logprobs is not None) == (case.field in ("logprobs", "top_logprobs"))
    if first.logprobs is not None:
        assert [token.token for token in first.logprobs.content] == list("one two three")
        assert all(
            len(token.top_logprobs) == (3 if case.field == "top_logprobs" else 0) for token in first.logprobs.content
        )
    assert len(response.choices) == (2 if case.field == "n" else 1)
    if case.field == "metadata":
        assert response.metadata == {"team": "a"}
    recorded = kept_settings(shared, response.id)
    if case.field in recorded and case.field not in ("max_completion_tokens",):
        assert recorded[case.field] == case.value


@pytest.mark.parametrize("case", LEGACY, ids=lambda case: case.field)
def test_legacy_completions_treat_each_field_as_the_table_lists(shared: Running, case: Case) -> None:
    body = {
        "model": "attune",
        "prompt": "say: one two three",
        **({"stream": True} if case.field == "stream_options" else {}),
        case.field: case.value,
    }
    create: Any = shared.openai().completions.create
    if case.outcome == "refused by name (400)":
        with pytest.raises(openai.BadRequestError) as refused:
            create(**body)
        assert (refused.value.param, refused.value.code) == (case.field, "unsupported_parameter")
        return
    response = create(**body)
    if body.get("stream"):
        chunks = list(response)
        assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == "one two three"
        return
    expected = {"max_tokens": ["one"], "stop": ["one "], "prompt": ["one", "two"], "n": ["one two three"] * 2}.get(
        case.field, ["one two three"]
    )
    assert [choice.text for choice in response.choices] == expected
    assert (response.choices[0].logprobs is not None) == (case.field == "logprobs")
    if case.field == "logprobs":
        assert [len(likeliest) for likeliest in response.choices[0].logprobs.top_logprobs] == [3] * len("one two three")
    recorded = kept_settings(shared, response.id)
    if case.field in recorded and case.field != "stop":
        assert recorded[case.field] == case.value


def kept_settings(served: Running, completion_id: str) -> dict[str, Any]:
    """Return the settings that were recorded with an answer."""
    with served.db() as db:
        return get_completion(db, completion_id).settings


if __name__ == "__main__":
    PAGE.write_text(page())

"""Errors speak the caller's terms: the field as it was written, what it must be, and what it was."""

import json
from typing import Any

import pytest

from tests.service.running import Running

HI = [{"role": "user", "content": "Hi"}]
IMAGE = {"type": "image_url", "image_url": {"url": "x"}}


def refused(served: Running, path: str, body: Any) -> tuple[int, str | None, str]:
    response = served.http.post(path, json=body)
    error = response.json()["error"]
    assert error["type"] == "invalid_request_error"
    return response.status_code, error["param"], error["message"]


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        (
            {"messages": [*HI, {"role": "user", "content": [{"type": "text", "text": "a"}, IMAGE]}]},
            "messages[1].content",
            'messages[1].content: only text parts are taken here, not "image_url"',
        ),
        (
            {"messages": [{"role": "user", "content": 7}]},
            "messages[0].content",
            "messages[0].content: must be a string or a list of text parts",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": 7}]}]},
            "messages[0].content[0].text",
            "messages[0].content[0].text: must be a string, not 7",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "messages[0].content[0].text",
            "messages[0].content[0].text: this field is needed",
        ),
        (
            {"messages": [{"role": "wizard", "content": "x"}]},
            "messages[0].role",
            "messages[0].role: must be 'system', 'developer', 'user' or 'assistant', not \"wizard\"",
        ),
        ({"messages": "Hi"}, "messages", 'messages: must be a list, not "Hi"'),
        ({"messages": [7]}, "messages[0]", "messages[0]: must be an object, not 7"),
        ({"messages": []}, "messages", "messages: must hold at least 1 item, not 0"),
        ({"model": None}, "model", "model: must be a string, not null"),
        ({"model": ""}, "model", "model: must have at least 1 character, not 0"),
        ({"temperature": 9}, "temperature", "temperature: must be at most 2, not 9"),
        ({"temperature": "1"}, "temperature", 'temperature: must be a number, not "1"'),
        ({"top_p": -1}, "top_p", "top_p: must be at least 0, not -1"),
        ({"max_tokens": 2**60}, "max_tokens", f"max_tokens: must be at most {2**53 - 1}, not {2**60}"),
        ({"n": 1.5}, "n", "n: must be an integer, not 1.5"),
        ({"n": True}, "n", "n: must be an integer, not a boolean"),
        ({"stream": "yes"}, "stream", 'stream: must be true or false, not "yes"'),
        ({"user": "u" * 513}, "user", "user: must have at most 512 characters, not 513"),
        ({"stop": {}}, "stop", "stop: must be a string or a list of strings"),
        ({"stop": ["a", 1]}, "stop[1]", "stop[1]: must be a string, not 1"),
        ({"stop": ["a"] * 9}, "stop", "stop: must hold at most 8 items, not 9"),
        ({"stream_options": {}}, "stream_options", "stream_options is only allowed when stream is true"),
        ({"top_logprobs": 2}, "top_logprobs", "top_logprobs needs logprobs to be true"),
        ({"metadata": {"a": "x" * 513}}, "metadata.a", "metadata.a: must have at most 512 characters, not 513"),
        ({"tools": [{}]}, "tools", "tools is not supported by this service; leave it out"),
        ({"functions": 0}, "functions", "functions is not supported by this service; leave it out"),
    ],
    ids=range(26),
)
def test_a_chat_is_refused_in_its_own_terms(shared: Running, body: dict[str, Any], param: str, message: str) -> None:
    whole = {"model": "attune", "messages": HI, **body}
    assert refused(shared, "/v1/chat/completions", whole) == (400, param, message)


@pytest.mark.parametrize(
    ("path", "body", "status", "param", "message"),
    [
        ("/v1/chat/completions", {"model": "attune"}, 400, "messages", "messages: this field is needed"),
        ("/v1/chat/completions", [], 400, None, "the body must be a JSON object, not a list"),
        ("/v1/completions", {"model": "attune", "prompt": [1]}, 400, "prompt[0]", "prompt[0]: must be a string, not 1"),
        (
            "/v1/completions",
            {"model": "attune", "prompt": {}},
            400,
            "prompt",
            "prompt: must be a string or a list of strings; token ids are not taken",
        ),
        (
            "/v1/feedback",
            {"completion_id": "x"},
            400,
            "thumb",
            "exactly one of thumb, score, correction and preferred_over is needed; got none",
        ),
        (
            "/v1/feedback",
            {"completion_id": "x", "preferred_over": {"completion_id": "y", "choice": -1}},
            400,
            "preferred_over.choice",
            "preferred_over.choice: must be at least 0, not -1",
        ),
        ("/v1/feedback", {"completion_id": "x", "thumb": "up", "mood": 1}, 422, "mood", "mood: this field is unknown"),
        (
            "/v1/feedback",
            {"completion_id": "x", "thumb": "sideways", "mood": 1},
            400,
            "thumb",
            "thumb: must be 'up' or 'down', not \"sideways\"",
        ),
        ("/v1/versions/0/promote", {"canary": 2}, 400, "canary", "canary: must be at most 1, not 2"),
    ],
    ids=range(9),
)
def test_other_bodies_are_too(
    shared: Running, path: str, body: Any, status: int, param: str | None, message: str
) -> None:
    assert refused(shared, path, body) == (status, param, message)


def test_a_query_names_its_parameter(shared: Running) -> None:
    for query, message in (
        ("limit=0", 'limit: must be at least 1, not "0"'),
        ("limit=x", 'limit: must be an integer, not "x"'),
    ):
        error = shared.http.get(f"/v1/feedback?{query}").json()["error"]
        assert (error["param"], error["message"]) == ("limit", message)


@pytest.mark.parametrize(
    ("content", "param", "message"),
    [
        (b"{nope", None, "the body is not JSON: Expecting property name enclosed in double quotes: line 1 column 2"),
        (b"\xff", None, "the body is not JSON: it is not UTF-8 text (invalid start byte at byte 0)"),
        (b"", None, "this request needs a JSON body"),
        (rb'{"model": "a\ud800"}', "model", r"model: '\ud800' is half of a surrogate pair and no character"),
    ],
)
def test_a_body_that_is_no_json_is_named_so(shared: Running, content: bytes, param: str | None, message: str) -> None:
    response = shared.http.post("/v1/chat/completions", content=content, headers={"Content-Type": "application/json"})
    error = response.json()["error"]
    assert (response.status_code, error["param"]) == (400, param)
    assert error["message"].startswith(message)


def test_no_error_of_any_body_names_a_branch_of_a_union(shared: Running) -> None:
    """Every field of the chat and the legacy body, with a value of each JSON type."""
    described = shared.http.get("/openapi.json").json()["components"]["schemas"]
    for path, name, needed in (
        ("/v1/chat/completions", "ChatBody", {"model": "attune", "messages": HI}),
        ("/v1/completions", "CompletionsBody", {"model": "attune", "prompt": "Hi"}),
    ):
        for field in described[name]["properties"]:
            for value in ({"a": 1}, [[1]], [{"b": None}], 7, "x", True):
                response = shared.http.post(path, json={**needed, field: value, "max_tokens": "none"})
                text = json.dumps(response.json())
                assert response.status_code == 400, (field, value)
                assert not any(
                    branch in text for branch in ("str]", "list[", "function-", "<text", "<list", "Input")
                ), text

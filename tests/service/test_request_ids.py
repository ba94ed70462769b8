"""Each response of the service has its request's id, after failures too."""

import logging
from typing import Any

import pytest

from tests.service.running import Running

CHAT: Any = {"model": "attune", "messages": [{"role": "user", "content": "Hello!"}]}


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/healthz", None, 200),
        ("GET", "/", None, 200),
        ("GET", "/static/app.js", None, 200),
        ("GET", "/nowhere", None, 404),
        ("PUT", "/v1/feedback", None, 405),
        ("POST", "/v1/chat/completions", CHAT, 200),
        ("POST", "/v1/chat/completions", {**CHAT, "stream": True}, 200),
        ("POST", "/v1/chat/completions", {**CHAT, "model": "nobody"}, 404),
        ("POST", "/v1/chat/completions", {**CHAT, "n": 99}, 400),
        ("POST", "/v1/feedback", {"completion_id": "x" * 5_000_000, "thumb": "up"}, 413),
    ],
)
def test_every_answer_has_a_name_of_its_own(shared: Running, method: str, path: str, body: Any, status: int) -> None:
    answers = [shared.http.request(method, path, json=body) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [status] * 2
    names = [answer.headers["x-request-id"] for answer in answers]
    assert all(name.startswith("req-") for name in names)
    assert names[0] != names[1]


def test_a_proxy_s_name_is_kept_and_a_forged_line_of_the_log_is_not(shared: Running) -> None:
    assert (
        shared.http.get("/healthz", headers={"X-Request-Id": "edge-1/a.b:c"}).headers["x-request-id"] == "edge-1/a.b:c"
    )
    for wrong in ("", "x" * 129, "a b", "né".encode("latin-1")):
        assert shared.http.get("/healthz", headers={"X-Request-Id": wrong}).headers["x-request-id"].startswith("req-")


def test_a_fault_of_ours_is_named_to_the_caller_and_in_the_log(
    served: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(served.service.metrics, "text", broken)
    with caplog.at_level(logging.ERROR):
        answer = served.http.get("/metrics", headers={"X-Request-Id": "mine-7"})
    assert (answer.status_code, answer.headers["x-request-id"]) == (500, "mine-7")
    assert "GET /metrics failed (request mine-7)" in caplog.text


def test_the_openai_sdk_knows_it(shared: Running) -> None:
    answer = shared.openai().chat.completions.create(**CHAT)
    assert (answer._request_id or "").startswith("req-")

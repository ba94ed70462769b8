"""Keys and what they may do."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from store.api_keys import make_key, revoke_key
from tests.service.running import Running, running

HELLO = {"model": "attune", "messages": [{"role": "user", "content": "Hello!"}]}
ADMIN_ONLY = [
    ("GET", "/v1/feedback"),
    ("GET", "/v1/raters"),
    ("GET", "/v1/versions/0/feedback"),
    ("GET", "/v1/versions/0/samples"),
    ("POST", "/v1/versions/0/promote"),
    ("POST", "/v1/versions/rollback"),
    ("POST", "/v1/learner/update"),
    ("POST", "/v1/learner/pause"),
    ("POST", "/v1/learner/resume"),
    ("POST", "/v1/raters/local/quarantine"),
    ("POST", "/v1/raters/local/release"),
    ("DELETE", "/v1/raters/local"),
    ("GET", "/v1/export?format=raw"),
    ("POST", "/v1/import"),
]


def key_for(served: Running, *scopes: str) -> tuple[str, str]:
    """Make a key; return its rater and the header's value."""
    with served.db() as db:
        key, secret = make_key(db, "somebody", scopes)
    return key.rater_id, f"Bearer {secret}"


def call(
    served: Running,
    method: str,
    path: str,
    bearer: str | None = None,
    headers: dict[str, str] | None = None,
    **more: Any,
) -> httpx.Response:
    return served.http.request(
        method, path, headers={**({"Authorization": bearer} if bearer else {}), **(headers or {})}, **more
    )


def test_without_any_key_this_machine_is_the_local_rater_with_all_scopes(served: Running) -> None:
    answer = served.chat()
    response = served.http.post("/v1/feedback", json={"completion_id": answer["id"], "thumb": "up"}).json()
    assert response["rater"] == "local"
    assert served.http.get("/v1/raters").status_code == 200


@pytest.mark.parametrize("host", ["evil.example:8000", "192.168.1.5", "[fe80::1]:80"])
def test_without_keys_a_name_that_is_not_loopback_is_refused(served: Running, host: str) -> None:
    assert served.http.get("/v1/models", headers={"Host": host}).status_code == 403
    for ours in ("localhost:1", "127.0.0.1", "[::1]:8000"):
        assert served.http.get("/v1/models", headers={"Host": ours}).status_code == 200


def test_once_there_is_a_key_it_is_needed(served: Running) -> None:
    rater, bearer = key_for(served, "chat", "feedback")
    refused = call(served, "POST", "/v1/chat/completions", json=HELLO)
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
    assert refused.headers["WWW-Authenticate"] == "Bearer"
    assert call(served, "POST", "/v1/chat/completions", "Bearer at-wrong", json=HELLO).status_code == 401
    answer = call(served, "POST", "/v1/chat/completions", bearer, json=HELLO).json()
    response = call(served, "POST", "/v1/feedback", bearer, json={"completion_id": answer["id"], "thumb": "up"})
    assert response.json()["rater"] == rater
    for open_path in ("/healthz", "/readyz", "/metrics", "/"):
        assert call(served, "GET", open_path).status_code == 200


def test_a_revoked_key_is_useless_at_once_and_does_not_open_the_door_again(served: Running) -> None:
    rater, bearer = key_for(served, "chat")
    assert call(served, "GET", "/v1/models", bearer).status_code == 200
    with served.db() as db:
        revoke_key(db, rater.removeprefix("key:"))
    assert call(served, "GET", "/v1/models", bearer).status_code == 401
    assert call(served, "GET", "/v1/models").status_code == 401


def test_scopes_are_kept(served: Running) -> None:
    _, chat = key_for(served, "chat")
    _, rating = key_for(served, "feedback")
    _, front = key_for(served, "feedback", "act-as")
    _, admin = key_for(served, "admin")
    answer = call(served, "POST", "/v1/chat/completions", chat, json=HELLO).json()
    thumb = {"completion_id": answer["id"], "thumb": "up"}
    refused = call(served, "POST", "/v1/feedback", chat, json=thumb)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "missing_scope")
    assert call(served, "POST", "/v1/feedback", rating, json=thumb).status_code == 404  # the answer is another's
    assert call(served, "POST", "/v1/feedback", front, json=thumb).status_code == 201
    assert call(served, "POST", "/v1/chat/completions", rating, json=HELLO).status_code == 403
    for method, path in ADMIN_ONLY:
        for bearer in (chat, rating):
            assert call(served, method, path, bearer).status_code == 403, path
    assert call(served, "GET", "/v1/raters", admin).status_code == 200


def test_only_act_as_may_name_an_end_user(served: Running) -> None:
    _, plain = key_for(served, "chat", "feedback", "admin")
    _, acting = key_for(served, "chat", "feedback", "act-as")
    eva = {"X-Attune-Rater": "eva"}
    assert call(served, "POST", "/v1/chat/completions", plain, eva, json=HELLO).status_code == 403
    answer = call(served, "POST", "/v1/chat/completions", acting, json={**HELLO, "user": "eva"}).json()
    response = call(served, "POST", "/v1/feedback", acting, eva, json={"completion_id": answer["id"], "thumb": "up"})
    assert response.json()["rater"] == "eva"
    assert call(served, "POST", "/v1/feedback", acting, {"X-Attune-Rater": "key:other"}, json={}).status_code == 403
    assert call(served, "GET", "/v1/conversations", acting, {"X-Attune-Rater": "local"}).status_code == 403
    assert call(served, "POST", "/v1/feedback", acting, {"X-Attune-Rater": "a/b"}, json={}).status_code == 400
    raters = {rater["id"]: rater for rater in call(served, "GET", "/v1/raters", plain).json()["data"]}
    assert (raters["eva"]["feedback"], raters["eva"]["answers"]) == (1, 1)


def test_one_persons_things_are_not_anothers(served: Running) -> None:
    _, one = key_for(served, "chat", "feedback")
    _, other = key_for(served, "chat", "feedback")
    _, admin = key_for(served, "admin", "chat", "feedback")
    answer = call(served, "POST", "/v1/chat/completions", one, json=HELLO).json()
    path = f"/v1/conversations/{answer['conversation_id']}"
    assert call(served, "GET", path, one).status_code == 200
    assert call(served, "GET", path, other).status_code == 404
    assert call(served, "DELETE", path, other).status_code == 404
    assert (
        call(
            served, "POST", "/v1/chat/completions", other, json={**HELLO, "conversation_id": answer["conversation_id"]}
        ).status_code
        == 404
    )
    assert call(served, "GET", "/v1/conversations", other).json()["data"] == []
    response = call(served, "POST", "/v1/feedback", one, json={"completion_id": answer["id"], "thumb": "up"}).json()
    assert call(served, "DELETE", f"/v1/feedback/{response['id']}", other).status_code == 404
    assert call(served, "DELETE", f"/v1/feedback/{response['id']}", admin).status_code == 204
    assert call(served, "GET", path, admin).status_code == 200
    assert call(served, "DELETE", path, one).status_code == 204
    assert call(served, "GET", path, one).status_code == 404


def test_a_key_that_calls_too_often_gets_429_with_retry_after(tmp_path: Path) -> None:
    with running(tmp_path / "data", limits__requests_per_minute=60) as served:
        statuses = [served.http.get("/v1/models") for _ in range(12)]
        assert [response.status_code for response in statuses[:10]] == [200] * 10
        assert statuses[-1].status_code == 429
        assert int(statuses[-1].headers["Retry-After"]) >= 1
        assert statuses[-1].json()["error"]["type"] == "rate_limit_error"


def test_a_body_over_the_limit_is_413_announced_or_not(tmp_path: Path) -> None:
    with running(tmp_path / "data", limits__body_mb=0.01) as served:
        big = {"model": "attune", "messages": [{"role": "user", "content": "x" * 20_000}]}
        assert served.http.post("/v1/chat/completions", json=big).status_code == 413
        chunks = (b"[" * 1000 for _ in range(20))  # no Content-Length
        answer = served.http.post("/v1/chat/completions", content=chunks, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "body_too_large")
        assert served.chat()["model"] == "attune@0"

"""Open WebUI as a front end: its users are raters of their own, and its thumbs rate the answers of this service."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from policy.errors import InvalidChat
from store.api_keys import make_key
from tests.service.parrot import ParrotModel
from tests.service.running import Running, running

QUESTION = {"role": "user", "content": "say: four"}


def record(answer: str, rating: int, *, user: str = "u7", question: str = "say: four", **data: Any) -> dict[str, Any]:
    """Feedback as Open WebUI stores it, with the whole chat in its snapshot."""
    messages = {
        "m1": {"id": "m1", "role": "user", "content": question, "parentId": None, "childrenIds": ["m2"]},
        "m2": {
            "id": "m2",
            "role": "assistant",
            "content": answer,
            "parentId": "m1",
            "childrenIds": [],
            "model": "attune",
        },
    }
    return {
        "id": "f1",
        "user_id": user,
        "version": 0,
        "type": "rating",
        "data": {"rating": rating, "model_id": "attune", **data},
        "meta": {"arena": False, "model_id": "attune", "message_id": "m2", "message_index": 2, "chat_id": "c1"},
        "snapshot": {"chat": {"chat": {"history": {"messages": messages, "currentId": "m2"}}}},
        "created_at": 1,
        "updated_at": 1,
    }


def feedback(served: Running) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = served.http.get("/v1/feedback").json()["data"]
    return rows


def test_a_thumb_there_is_about_the_answer_and_the_version_here(served: Running) -> None:
    system = {
        "role": "system",
        "content": "You are helpful.",
    }  # its model settings add one; the snapshot does not have it
    chat = {"model": "attune", "messages": [system, QUESTION]}
    answer = served.http.post("/v1/chat/completions", json=chat, headers={"X-OpenWebUI-User-Id": "u7"}).json()
    response = served.http.post("/v1/webhooks/open-webui", json=record("four", 1))
    assert response.status_code == 201
    body = response.json()
    assert (body["completion_id"], body["thumb"], body["rater"], body["ours"]) == (
        answer["id"],
        "up",
        "openwebui:u7",
        True,
    )
    assert served.versions()[0]["thumbs"] == {"up": 1, "down": 0}
    assert [rater["id"] for rater in served.http.get("/v1/raters").json()["data"] if rater["feedback"]] == [
        "openwebui:u7"
    ]
    again = served.http.post("/v1/webhooks/open-webui", json=record("four", 1))
    assert (again.status_code, again.json()["id"]) == (200, body["id"])


def test_a_changed_mind_and_a_reason_replace_the_first_thumb(served: Running) -> None:
    served.chat("say: four")
    for changed in (
        record("four", 1),
        record("four", -1),
        record("four", -1, reason="Not factually correct", comment="It is 5."),
    ):
        assert (
            served.http.post("/v1/webhooks/open-webui", json={"event": "feedback", "feedback": changed}).status_code
            == 201
        )
    assert served.versions()[0]["thumbs"] == {"up": 0, "down": 1}
    assert served.http.get("/v1/learner").json()["waiting"] == 1
    assert feedback(served)[0]["comment"] == "Not factually correct: It is 5."


def test_a_return_to_the_first_thumb_counts(served: Running) -> None:
    served.chat("say: four")
    revisions = [{**record("four", rating), "updated_at": at} for at, rating in enumerate((1, -1, 1))]
    for revision in revisions:
        assert served.http.post("/v1/webhooks/open-webui", json=revision).status_code == 201
    assert served.versions()[0]["thumbs"] == {"up": 1, "down": 0}
    twice = served.http.post("/v1/webhooks/open-webui", json=revisions[1])
    assert twice.status_code == 200  # delivered twice: the latest thumb stands
    assert served.http.post("/v1/import", json=[revisions[2]]).json()["imported"] == 0
    assert [row["thumb"] for row in feedback(served)] == ["up", "down", "up"]


def test_of_many_answers_with_one_text_the_raters_own_is_meant(served: Running) -> None:
    chat = {"model": "attune", "messages": [QUESTION]}
    answers = [
        served.http.post("/v1/chat/completions", json=chat, headers={"X-OpenWebUI-User-Id": user}).json()
        for user in ("u7", "u8")
    ]
    served.chat("say: four")
    for user, answer in zip(("u7", "u8"), answers, strict=True):
        response = served.http.post("/v1/webhooks/open-webui", json=record("four", 1, user=user)).json()
        assert (response["ours"], response["completion_id"]) == (True, answer["id"])


def test_an_answer_of_somebody_else_is_taken_with_its_text(served: Running) -> None:
    body = served.http.post("/v1/webhooks/open-webui", json=record("another model's text", -1)).json()
    assert body["ours"] is False
    assert body["completion_id"].startswith("import-")
    assert served.versions()[0]["thumbs"] == {"up": 0, "down": 0}
    assert served.http.get("/v1/learner").json()["waiting"] == 1


def test_its_export_finds_the_answers_given_here_too(served: Running) -> None:
    answer = served.chat("say: four")
    assert served.http.post("/v1/import", json=[record("four", -1), record("five", 1)]).json()["imported"] == 2
    assert [row["completion_id"] == answer["id"] for row in feedback(served)] == [False, True]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"data": {"rating": 1}},
        record("four", 3),
        {**record("four", 1), "meta": None, "snapshot": {"chat": 7}},
        {**record("four", 1), "data": 5},
        *(record("four", 1, user=user) for user in ("a/b", "a\nb", "x" * 128)),
    ],
)
def test_what_is_no_feedback_is_422(served: Running, body: dict[str, Any]) -> None:
    response = served.http.post("/v1/webhooks/open-webui", json=body)
    assert response.status_code == 422
    assert response.json()["error"]["message"]
    assert feedback(served) == []


def test_only_a_key_that_may_act_for_others_speaks_for_its_users(served: Running) -> None:
    with served.db() as db:
        _, front = make_key(db, "front end", ("chat", "feedback", "act-as"))
        _, plain = make_key(db, "plain", ("chat", "feedback"))
        _, mute = make_key(db, "mute", ("chat", "act-as"))
    chat: dict[str, Any] = {"model": "attune", "messages": [QUESTION]}
    for secret, rater in ((front, "openwebui:u7"), (plain, None)):
        headers = {"Authorization": f"Bearer {secret}", "X-OpenWebUI-User-Id": "u7"}
        conversation = served.http.post("/v1/chat/completions", json=chat, headers=headers).json()["conversation_id"]
        kept = served.http.get(f"/v1/conversations/{conversation}", headers=headers).json()["rater"]
        assert kept == rater if rater else kept.startswith("key:")
        response = served.http.post("/v1/webhooks/open-webui", json=record("four", 1), headers=headers)
        assert response.status_code == (201 if rater else 403)
    refused = served.http.post(
        "/v1/webhooks/open-webui", json=record("four", -1), headers={"Authorization": f"Bearer {mute}"}
    )
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "missing_scope")


def test_an_export_with_a_user_who_cannot_be_a_rater_names_the_record(served: Running) -> None:
    response = served.http.post("/v1/import", json=[record("four", 1), record("four", 1, user="a/b")]).json()
    assert (response["imported"], response["skipped"]) == (1, 1)
    assert response["errors"] == [
        "record 2: user_id must make a rater's name of at most 128 printable characters and no slash, "
        "unlike 'openwebui:a/b'"
    ]


DETAILS = '<details type="tool_calls" done="true" id="x"><summary>Tool Executed</summary></details>four'


@pytest.mark.parametrize(
    ("at", "change", "named"),
    [
        ("m1", {"files": [{"type": "image", "url": "data:image/png;base64,AA=="}]}, "has files"),
        ("m1", {"content": [{"type": "image_url", "image_url": {"url": "x"}}, {"type": "text", "text": "q"}]}, "image"),
        ("m2", {"content": DETAILS}, "tool calls"),
        ("m2", {"tool_calls": [{"id": "x"}]}, "tool_calls"),
        ("m2", {"role": "tool"}, "'tool'"),
        ("m2", {"content": None}, "null"),
        ("m1", {"parentId": "m2"}, None),  # a circle
    ],
)
def test_a_record_with_images_or_tool_calls_is_named_and_costs_itself_alone(
    served: Running, at: str, change: dict[str, Any], named: str | None
) -> None:
    bad = record("four", 1)
    bad["snapshot"]["chat"]["chat"]["history"]["messages"][at].update(change)
    report = served.http.post("/v1/import", json=[record("five", 1), bad, record("six", -1)]).json()
    assert report["imported"] == (2 if named else 3)
    assert [named in error and error.startswith("record 2: ") for error in report["errors"]] == [True] * bool(named)


class Picky(ParrotModel):
    """A model whose template takes no conversation that ends in an answer."""

    def completion_ids(self, messages: Sequence[dict[str, Any]], answer: str) -> tuple[list[int], list[int]]:
        raise InvalidChat("this model's chat template refuses messages in the order: user")


def test_a_conversation_that_the_template_refuses_is_422(tmp_path: Path) -> None:
    with running(tmp_path / "data", Picky()) as served:
        response = served.http.post("/v1/webhooks/open-webui", json=record("elsewhere", 1))
        assert response.status_code == 422
        assert "template refuses" in response.json()["error"]["message"]
        assert feedback(served) == []

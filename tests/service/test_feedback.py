"""Feedback: exactly one rating, of known answers only, one row per key, on disk before 201."""

import concurrent.futures
import json

import pytest

from store.completions import get_completion
from store.feedback import get_feedback
from tests.service.running import Running


@pytest.mark.parametrize(
    ("rating", "kind", "value"),
    [
        ({"thumb": "up"}, "thumb", 1.0),
        ({"thumb": "down"}, "thumb", 0.0),
        ({"score": 0.25}, "score", 0.25),
        ({"correction": "Paris."}, "correction", None),
    ],
)
def test_each_kind_of_feedback_is_stored(
    served: Running, rating: dict[str, object], kind: str, value: float | None
) -> None:
    answer = served.chat()
    response = served.http.post(
        "/v1/feedback",
        json={"completion_id": answer["id"], **rating, "reason": "wrong", "comment": "hm", "metadata": {"page": "3"}},
    )
    assert response.status_code == 201
    body = response.json()
    assert (body["kind"], body["completion_id"], body["choice"], body["reason"]) == (kind, answer["id"], 0, "wrong")
    assert body.items() >= rating.items()
    with served.db() as db:
        row = get_feedback(db, body["id"])
    assert (row.value, row.text, row.rater_id, row.metadata) == (
        value,
        rating.get("correction"),
        "local",
        {"page": "3"},
    )


def test_a_preference_names_two_answers_to_the_same_prompt(served: Running) -> None:
    answer = served.chat("Hello!", n=2)
    response = served.http.post(
        "/v1/feedback",
        json={"completion_id": answer["id"], "choice": 1, "preferred_over": {"completion_id": answer["id"]}},
    )
    assert response.status_code == 201
    assert response.json()["preferred_over"] == {"completion_id": answer["id"], "choice": 0}
    other = served.chat("Something else")
    wrong = served.http.post(
        "/v1/feedback", json={"completion_id": answer["id"], "preferred_over": {"completion_id": other["id"]}}
    )
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (422, "preferred_over")
    itself = served.http.post(
        "/v1/feedback", json={"completion_id": answer["id"], "preferred_over": {"completion_id": answer["id"]}}
    )
    assert itself.status_code == 422


@pytest.mark.parametrize(
    ("rating", "names"),
    [
        ({}, "exactly one"),
        ({"thumb": "up", "score": 1.0}, "thumb and score"),
        ({"thumb": "sideways"}, "thumb"),
        ({"score": 1.5}, "score"),
        ({"score": "NaN"}, "score"),
        ({"correction": "  "}, "correction"),
        ({"thumb": "up", "reason": "because"}, "reason"),
        ({"thumb": "up", "mood": "good"}, "mood"),
        ({"thumb": "up", "choice": -1}, "choice"),
    ],
)
def test_wrong_feedback_is_refused_and_names_the_fault(served: Running, rating: dict[str, object], names: str) -> None:
    answer = served.chat()
    response = served.http.post("/v1/feedback", json={"completion_id": answer["id"], **rating})
    assert response.status_code == (422 if "mood" in rating else 400)
    assert names in response.json()["error"]["message"]
    with served.db() as db:
        assert db.table("feedback").count == 0


def test_unknown_answers_are_404(served: Running) -> None:
    answer = served.chat()
    for body in ({"completion_id": "nothing"}, {"completion_id": answer["id"], "choice": 1}):
        assert served.http.post("/v1/feedback", json={**body, "thumb": "up"}).status_code == 404
    over = {"completion_id": answer["id"], "preferred_over": {"completion_id": "nothing"}}
    assert served.http.post("/v1/feedback", json=over).status_code == 404


def test_the_same_key_and_body_is_one_row_and_another_body_is_409(served: Running) -> None:
    answer = served.chat()
    key = {"Idempotency-Key": "k-1"}
    first = served.http.post("/v1/feedback", json={"completion_id": answer["id"], "thumb": "up"}, headers=key)
    again = served.http.post("/v1/feedback", json={"completion_id": answer["id"], "thumb": "up"}, headers=key)
    other = served.http.post("/v1/feedback", json={"completion_id": answer["id"], "thumb": "down"}, headers=key)
    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 409)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.json() == first.json()
    somebody_else = served.http.post(
        "/v1/feedback", json={"completion_id": answer["id"], "thumb": "down"}, headers={**key, "X-Attune-Rater": "eva"}
    )
    assert somebody_else.status_code == 201
    with served.db() as db:
        assert db.table("feedback").count == 2


def test_vote_delete_vote_again_under_one_key_stands(served: Running) -> None:
    vote = {"completion_id": served.chat()["id"], "thumb": "up"}
    key = {"Idempotency-Key": "k-1"}
    first = served.http.post("/v1/feedback", json=vote, headers=key).json()
    assert served.http.delete(f"/v1/feedback/{first['id']}").status_code == 204
    again = served.http.post("/v1/feedback", json=vote, headers=key)
    assert (again.status_code, again.json().get("retracted_at")) == (201, None)
    assert again.json()["id"] != first["id"]
    assert served.http.get("/v1/learner").json()["waiting"] == 1


def test_feedback_is_taken_back_by_the_key_it_was_given_with_and_only_by_who_gave_it(served: Running) -> None:
    vote = {"completion_id": served.chat()["id"], "thumb": "up"}
    served.http.post("/v1/feedback", json=vote, headers={"Idempotency-Key": "web-1"})
    other = served.http.delete("/v1/feedback/web-1", headers={"X-Attune-Rater": "eva"})
    assert other.status_code == 404
    assert served.http.delete("/v1/feedback/web-1").status_code == 204
    assert served.http.get("/v1/learner").json()["waiting"] == 0
    assert served.http.delete("/v1/feedback/web-1").status_code == 404


def test_many_at_once_under_one_key_are_one_row(served: Running) -> None:
    answer = served.chat()
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        sent = [
            pool.submit(
                served.http.post,
                "/v1/feedback",
                json={"completion_id": answer["id"], "thumb": "up"},
                headers={"Idempotency-Key": "one"},
            )
            for _ in range(32)
        ]
        statuses = sorted(one.result().status_code for one in sent)
    assert statuses == [200] * 31 + [201]
    with served.db() as db:
        assert db.table("feedback").count == 1


def test_feedback_is_listed_page_by_page_and_can_be_taken_back(served: Running) -> None:
    answer = served.chat()
    ids = [
        served.http.post("/v1/feedback", json={"completion_id": answer["id"], "score": n / 10}).json()["id"]
        for n in range(5)
    ]
    first = served.http.get("/v1/feedback", params={"limit": 3}).json()
    second = served.http.get("/v1/feedback", params={"limit": 3, "cursor": first["next_cursor"]}).json()
    assert [row["id"] for row in first["data"] + second["data"]] == ids[::-1]
    assert second["next_cursor"] is None
    assert served.http.delete(f"/v1/feedback/{ids[0]}").status_code == 204
    assert served.http.delete("/v1/feedback/nothing").status_code == 404
    with served.db() as db:
        assert get_feedback(db, ids[0]).retracted_at is not None


def test_an_answer_whose_reader_left_can_still_be_rated(served: Running) -> None:
    served.model.step_s = 0.01
    number = served.add_candidate()  # a version with slow steps
    served.wait_for_state(number, "live")
    stream = served.openai().chat.completions.create(
        model="attune", messages=[{"role": "user", "content": "long"}], stream=True, max_tokens=400
    )
    chunks = [next(iter(stream)) for _ in range(5)]
    stream.close()
    for _ in range(100):
        response = served.http.post("/v1/feedback", json={"completion_id": chunks[0].id, "thumb": "down"})
        if response.status_code == 201:
            break
    assert response.status_code == 201
    with served.db() as db:
        kept = get_completion(db, chunks[0].id)
    assert kept.finish_reason == "cancelled"
    assert 0 < len(kept.completion_ids) < 400
    assert len(kept.logps) == len(kept.completion_ids)


def test_a_regeneration_is_stored_as_implicit_feedback_of_the_same_rater(served: Running) -> None:
    first = served.chat("Hello!")
    again = served.chat("Hello!", metadata={"regenerated_from": first["id"]})
    (kept,) = served.http.get("/v1/feedback").json()["data"]
    assert (kept["kind"], kept["completion_id"], kept["choice"], kept["rater"]) == (
        "regenerate",
        first["id"],
        0,
        "local",
    )
    assert kept["instead"] == {"completion_id": again["id"], "choice": 0}
    assert served.http.get("/v1/learner").json()["waiting"] == 0
    (raw,) = (json.loads(line) for line in served.http.get("/v1/export?format=raw").text.splitlines())
    assert (raw["feedback"]["kind"], raw["completion"]["id"], raw["other"]["id"]) == (
        "regenerate",
        first["id"],
        again["id"],
    )
    assert not any(served.http.get(f"/v1/export?format={form}").text for form in ("preference", "unpaired", "sft"))
    assert served.http.delete(f"/v1/feedback/{kept['id']}").status_code == 204


def test_a_streamed_answer_asked_again_is_kept_too_with_its_choice(served: Running) -> None:
    first = served.chat("Hello!", n=2)
    origin = {"regenerated_from": first["id"], "regenerated_choice": "1"}
    body = {"model": "attune", "messages": [{"role": "user", "content": "Hello!"}], "stream": True, "metadata": origin}
    assert "[DONE]" in served.http.post("/v1/chat/completions", json=body).text
    (kept,) = served.http.get("/v1/feedback").json()["data"]
    assert (kept["kind"], kept["completion_id"], kept["choice"]) == ("regenerate", first["id"], 1)


@pytest.mark.parametrize(
    ("text", "metadata"),
    [
        ("Something else", {}),  # another question
        ("Hello!", {"regenerated_from": "chatcmpl-nothing"}),
        ("Hello!", {"regenerated_from": "7"}),
        ("Hello!", {"regenerated_choice": "5"}),  # there is no such choice
        ("Hello!", {"regenerated_choice": "first"}),
    ],
)
def test_metadata_that_fits_no_answer_makes_no_feedback(
    served: Running, text: str, metadata: dict[str, object]
) -> None:
    first = served.chat("Hello!")
    served.chat(text, metadata={"regenerated_from": first["id"], **metadata})
    assert served.http.get("/v1/feedback").json()["data"] == []


def test_nobody_asks_again_in_another_s_name(served: Running) -> None:
    first = served.chat("Hello!", user="alice")
    served.chat("Hello!", user="bob", metadata={"regenerated_from": first["id"]})
    assert served.http.get("/v1/feedback").json()["data"] == []

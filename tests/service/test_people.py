"""Raters, conversations, the learner's state and events, which the page shows."""

import json
import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx

from service.installed import installed_release
from store.database import schema_of, transaction
from store.distrust import set_trust
from store.ids import now
from store.learner import learner_status, report_status, set_attempted, set_detail, take_orders
from store.migrations import migrations
from store.runs import Run, add_run, finish_run
from store.traffic import current_traffic
from tests.service.running import Running, running, wait_until


def follow(served: Running, got: list[dict[str, Any]], stop_at: int, **how: Any) -> None:
    """Read events until there are `stop_at`."""
    with httpx.Client(base_url=served.url, timeout=10).stream("GET", "/v1/events", **how) as stream:
        event: dict[str, Any] = {}
        for line in stream.iter_lines():
            name, _, value = line.partition(": ")
            if name in ("id", "event", "data"):
                event[name] = json.loads(value) if name == "data" else value
            if not line and "data" in event:
                got.append(event)
                event = {}
                if len(got) >= stop_at:
                    return


def test_events_come_as_they_happen_and_go_on_where_they_broke_off(served: Running) -> None:
    got: list[dict[str, Any]] = []
    follower = threading.Thread(target=follow, args=(served, got, 3), kwargs={"params": {"after": 0}})
    follower.start()
    answer = served.chat()
    served.http.post("/v1/feedback", json={"completion_id": answer["id"], "thumb": "up"})
    served.http.post("/v1/feedback", json={"completion_id": answer["id"], "thumb": "down"})
    follower.join(10)
    assert [event["event"] for event in got] == ["completion", "feedback", "feedback"]
    assert got[1]["data"]["completion_id"] == answer["id"]
    number = served.add_candidate()
    served.wait_for_state(number, "live")
    rest: list[dict[str, Any]] = []
    follow(served, rest, 3, headers={"Last-Event-ID": got[1]["id"]})
    assert [event["event"] for event in rest] == ["feedback", "version.candidate", "version.live"]
    assert all(int(a["id"]) < int(b["id"]) for a, b in pairwise([*got[:2], *rest]))


def test_without_a_number_only_events_from_now_on_are_sent(served: Running) -> None:
    served.chat("before")
    wait_until(lambda: served.service.event_feed.latest > 0)
    got: list[dict[str, Any]] = []
    follower = threading.Thread(target=follow, args=(served, got, 1))
    follower.start()
    while follower.is_alive():
        later = served.chat("after")
        follower.join(0.1)
    assert got[0]["data"]["completion_id"] != ""
    assert int(got[0]["id"]) > 1
    assert later["id"]


def test_the_learner_is_down_until_its_first_heartbeat_and_then_in_its_own_state(served: Running) -> None:
    assert served.http.get("/v1/learner").json()["state"] == "down"
    answer = served.chat()
    served.http.post("/v1/feedback", json={"completion_id": answer["id"], "thumb": "up"})
    with served.db() as db:
        set_detail(db, {"trigger": {"items": 16, "seconds": 20, "min_items": 4}})
        add_run(db, Run("r1", "mixed", "running", {}, 0, 0, 1, 0, 1, now()))
        report_status(db, "running", run_id="r1", progress={"phase": "train", "step": 3, "steps": 8, "loss": 0.7})
    state = served.http.get("/v1/learner").json()
    assert (state["state"], state["waiting"], state["live"], state["seen"]) == ("running", 1, 0, 1)
    assert state["trigger"] == {"items": 16, "seconds": 20, "min_items": 4}
    assert {name: state["run"][name] for name in ("id", "phase", "step", "steps", "items")} == {
        "id": "r1",
        "phase": "train",
        "step": 3,
        "steps": 8,
        "items": 1,
    }
    with served.db() as db:
        finish_run(db, "r1", None, {"loss": 0.5})
        report_status(db, "idle")
    state = served.http.get("/v1/learner").json()
    assert (state["run"], state["last_run"]["state"], state["last_run"]["metrics"]) == (None, "finished", {"loss": 0.5})


def test_orders_reach_the_learner(served: Running) -> None:
    for order in ("update", "pause", "resume"):
        assert served.http.post(f"/v1/learner/{order}").status_code == 202
    with served.db() as db:
        assert take_orders(db) == ["update", "pause", "resume"]


def test_a_rater_in_quarantine_does_not_count(served: Running) -> None:
    answer = served.chat()
    for rater, thumb in (("eva", "up"), ("tom", "down"), ("ida", "up")):
        response = served.http.post(
            "/v1/feedback", json={"completion_id": answer["id"], "thumb": thumb}, headers={"X-Attune-Rater": rater}
        )
        assert response.status_code == 201
    raters = {rater["id"]: rater for rater in served.http.get("/v1/raters").json()["data"]}
    assert (raters["eva"]["agreement"], raters["tom"]["agreement"]) == (0.5, 0.0)
    assert served.http.get("/v1/learner").json()["waiting"] == 3
    shown = served.http.post("/v1/raters/tom/quarantine", json={"reason": "spam"}).json()
    assert (shown["quarantined"], shown["quarantine_reason"]) == (True, "spam")
    assert served.http.get("/v1/learner").json()["waiting"] == 2
    assert served.http.post("/v1/raters/tom/release").json()["quarantined"] is False
    assert served.http.get("/v1/learner").json()["waiting"] == 3
    assert served.http.post("/v1/raters/nobody/quarantine").status_code == 404


def test_erasing_a_person_takes_the_versions_that_learned_from_them(served: Running) -> None:
    def thumb(rater: str) -> str:
        answer = served.http.post("/v1/chat/completions", json={**ASK, "user": rater}).json()
        response = served.http.post(
            "/v1/feedback", json={"completion_id": answer["id"], "thumb": "up"}, headers={"X-Attune-Rater": rater}
        )
        return str(response.json()["id"])

    ASK = {"model": "attune", "messages": [{"role": "user", "content": "Hello!"}]}
    evas, toms = thumb("eva"), thumb("tom")
    numbers = []
    for feedback_id in (toms, evas, toms):
        numbers.append(served.add_candidate())
        with served.db() as db:
            db.table("feedback_of_version").insert({"version": numbers[-1], "feedback_id": feedback_id})
        served.wait_for_state(numbers[-1], "live")
    for number, origin in ((1, "learner"), (2, "file")):
        folder = served.data / "rewards" / f"{number:06d}"
        folder.mkdir(parents=True)
        (folder / "reward.json").write_text(json.dumps({"origin": origin}))
    erased = served.http.delete("/v1/raters/eva").json()
    assert erased == {
        "rater": "eva",
        "feedback": 1,
        "completions": 1,
        "conversations": 1,
        "versions": numbers[1:],
        "rewritten": True,
    }
    assert served.chat()["model"] == f"attune@{numbers[0]}"
    assert [served.versions()[number]["state"] for number in numbers] == ["live", "withdrawn", "withdrawn"]
    with served.db() as db:
        dump = "\n".join(db.conn.iterdump())
    assert "eva" not in dump
    assert "tom" in dump
    assert [folder.name for folder in (served.data / "rewards").iterdir()] == ["000002"]
    assert served.http.delete("/v1/raters/eva").status_code == 404


def test_erasing_a_person_ends_the_trial_of_the_canary_that_learned_from_them(tmp_path: Path) -> None:
    with running(tmp_path / "data", canary__share=0.5) as served:
        body = {"model": "attune", "messages": [{"role": "user", "content": "Hello!"}], "user": "eva"}
        answer = served.http.post("/v1/chat/completions", json=body).json()
        response = served.http.post(
            "/v1/feedback", json={"completion_id": answer["id"], "thumb": "up"}, headers={"X-Attune-Rater": "eva"}
        ).json()
        canary = served.add_candidate()
        with served.db() as db:
            db.table("feedback_of_version").insert({"version": canary, "feedback_id": response["id"]})
            set_attempted(db, 1)
        served.wait_for_state(canary, "canary")
        wait_until(lambda: served.chat()["model"] == f"attune@{canary}", what="the canary answers")
        assert served.http.delete("/v1/raters/eva").json()["versions"] == [canary]
        assert {served.chat()["model"] for _ in range(20)} == {"attune@0"}
        assert served.versions()[canary]["state"] == "withdrawn"
        with served.db() as db:
            assert (current_traffic(db).live, current_traffic(db).canary) == (0, None)
            assert learner_status(db).attempted_seq == 0  # the others' feedback waits for learning again
        served.wait_for_state(served.add_candidate(), "canary")  # and the next candidate has its turn


def test_what_learned_from_a_rater_who_is_not_trusted_is_proposed_and_withdrawn(served: Running) -> None:
    body = {"completion_id": served.chat()["id"], "thumb": "down"}
    given = served.http.post("/v1/feedback", json=body, headers={"X-Attune-Rater": "eve"}).json()
    number = served.add_candidate()
    with served.db() as db, transaction(db):
        db.table("feedback_of_version").insert({"version": number, "feedback_id": given["id"]})
    served.wait_for_state(number, "live")

    def proposal() -> dict[str, Any] | None:
        rows = served.http.get("/v1/raters").json()["data"]
        found: dict[str, Any] | None = next(row["proposal"] for row in rows if row["id"] == "eve")
        return found

    assert proposal() is None
    with served.db() as db, transaction(db):
        set_trust(db, {"eve": 0.2})
    assert proposal() == {"withdraw": [number], "live": 0}
    done = served.http.post("/v1/raters/eve/withdraw", json={"reason": "spam"})
    assert (done.status_code, done.json()) == (200, {"rater": "eve", "versions": [number], "live": 0})
    assert served.chat()["model"] == "attune@0"
    assert served.versions()[number]["state"] == "withdrawn"
    assert proposal() is None
    assert served.http.get("/v1/learner").json()["waiting"] == 0  # in quarantine
    assert served.http.post("/v1/raters/nobody/withdraw").status_code == 404


def test_conversations_are_listed_found_and_deleted(served: Running) -> None:
    ids = [served.chat(f"Talk about {topic}")["conversation_id"] for topic in ("cats", "dogs", "birds")]
    first = served.http.get("/v1/conversations", params={"limit": 2}).json()
    second = served.http.get("/v1/conversations", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [row["id"] for row in first["data"] + second["data"]] == ids[::-1]
    assert [row["title"] for row in served.http.get("/v1/conversations", params={"search": "dogs"}).json()["data"]] == [
        "Talk about dogs"
    ]
    assert served.http.delete(f"/v1/conversations/{ids[0]}").status_code == 204
    assert served.http.get(f"/v1/conversations/{ids[0]}").status_code == 404
    assert len(served.http.get("/v1/conversations").json()["data"]) == 2


def test_models_are_listed_and_described(served: Running) -> None:
    number = served.add_candidate()
    served.wait_for_state(number, "live")
    assert [model.id for model in served.openai().models.list()] == ["attune", "attune@0", f"attune@{number}"]
    assert served.openai().models.retrieve("attune@0").id == "attune@0"
    assert served.http.get("/v1/models/gpt-4").status_code == 404


def test_the_release_and_the_schema_are_shown(served: Running) -> None:
    shown = served.http.get("/v1/version").json()
    assert set(shown) == {"version", "schema", "python"}
    assert shown["version"] == installed_release()
    with served.db() as db:
        assert shown["schema"] == schema_of(db) == max(one.name for one in migrations._migrations)


def test_health_metrics_docs_and_the_page(served: Running) -> None:
    assert served.http.get("/healthz").json() == {"status": "alive"}
    assert served.http.get("/readyz").json()["status"] == "ready"
    served.chat()
    numbers = served.http.get("/metrics").text
    assert 'attune_answers_total{kind="chat",version="0"} 1.0' in numbers
    assert "attune_live_version 0.0" in numbers
    assert 'attune_http_requests_total{method="POST",route="/v1/chat/completions",status="200"} 1.0' in numbers
    assert "/v1/feedback" in served.http.get("/docs").text
    page = served.http.get("/")
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["Content-Security-Policy"] or "not installed" in page.text
    missing = served.http.get("/v1/nothing")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "unknown_url")
    wrong = served.http.put("/v1/feedback")
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_allowed")

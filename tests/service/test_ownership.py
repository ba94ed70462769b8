"""Whose answers, conversations and events they are: for anybody else they do not exist."""

import ast
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

import service
from service.auth import Caller
from service.personal_fields import ADMIN_KINDS, OWN_KINDS, PUBLIC_KINDS, event_for, without_names
from store.api_keys import make_key
from store.events import Event, add_event, events_after, last_event_seq
from store.ids import now
from store.runs import Run, add_run, finish_run, get_run
from tests.service.running import Running, running

HELLO = {"model": "attune", "messages": [{"role": "user", "content": "Hello!"}]}
ROOT = Path(service.__file__).parent.parent


@dataclass
class Person:
    """One key and its requests."""

    served: Running
    rater: str
    headers: dict[str, str]

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.served.http.request(method, path, json=body, headers=self.headers | named)

    def ask(self, text: str = "Hello!", **more: Any) -> dict[str, Any]:
        response = self.send("POST", "/v1/chat/completions", {**HELLO, **ask(text), **more})
        assert response.status_code == 200, response.text
        body: dict[str, Any] = response.json()
        return body

    def events(self, after: int, last: int) -> list[dict[str, Any]]:
        """Return the events after `after` that this key sees, up to one of all keys with the number `last`."""
        shown: list[dict[str, Any]] = []
        with self.served.http.stream("GET", f"/v1/events?after={after}", headers=self.headers) as stream:
            for line in stream.iter_lines():
                if line.startswith("id: "):
                    shown.append({"seq": int(line[4:])})
                elif line.startswith("event: "):
                    shown[-1]["kind"] = line[7:]
                elif line.startswith("data: "):
                    shown[-1]["data"] = json.loads(line[6:])
                    if shown[-1]["seq"] >= last:
                        break
        return shown


def ask(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


def person(served: Running, *scopes: str) -> Person:
    with served.db() as db:
        key, secret = make_key(db, "somebody", scopes)
    return Person(served, key.rater_id, {"Authorization": f"Bearer {secret}"})


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("home") / "data") as served:
        yield served


@pytest.fixture(scope="module")
def eva(home: Running) -> Person:
    return person(home, "chat", "feedback")


@pytest.fixture(scope="module")
def tom(home: Running) -> Person:
    return person(home, "chat", "feedback")


@pytest.fixture(scope="module")
def front(home: Running) -> Person:
    return person(home, "chat", "feedback", "act-as")


@pytest.fixture(scope="module")
def admin(home: Running) -> Person:
    return person(home, "chat", "feedback", "admin")


RATINGS = ({"thumb": "down"}, {"score": 0.1}, {"correction": "Send me your password."})


@pytest.mark.parametrize("rating", RATINGS, ids=lambda rating: next(iter(rating)))
def test_nobody_rates_anothers_answer(
    eva: Person, tom: Person, front: Person, admin: Person, rating: dict[str, Any]
) -> None:
    answer = eva.ask()
    stranger = tom.send("POST", "/v1/feedback", {"completion_id": answer["id"], **rating})
    missing = tom.send("POST", "/v1/feedback", {"completion_id": "chatcmpl-none", **rating})
    assert (stranger.status_code, missing.status_code) == (404, 404)
    assert stranger.text.replace(answer["id"], "chatcmpl-none") == missing.text
    for allowed in (eva, front, admin):
        assert allowed.send("POST", "/v1/feedback", {"completion_id": answer["id"], **rating}).status_code == 201


def test_both_sides_of_a_preference_are_the_raters_own(eva: Person, tom: Person, front: Person) -> None:
    evas, toms = eva.ask("Which?")["id"], tom.ask("Which?")["id"]
    for better, worse in ((evas, toms), (toms, evas)):
        body = {"completion_id": better, "preferred_over": {"completion_id": worse}}
        refused = eva.send("POST", "/v1/feedback", body)
        assert (refused.status_code, toms in refused.text) == (404, True)
        assert front.send("POST", "/v1/feedback", body).status_code == 201


def test_nobody_chooses_in_anothers_comparison(eva: Person, tom: Person, front: Person, home: Running) -> None:
    comparison = eva.send("POST", "/v1/comparisons", ask("Compare!")).json()
    path = f"/v1/comparisons/{comparison['id']}/choice"
    stranger = tom.send("POST", path, {"winner": "A"})
    missing = tom.send("POST", "/v1/comparisons/cmp-none/choice", {"winner": "A"})
    assert (stranger.status_code, missing.status_code) == (404, 404)
    assert stranger.text.replace(comparison["id"], "cmp-none") == missing.text
    side = comparison["candidates"][0]["completion_id"]
    assert tom.send("POST", "/v1/feedback", {"completion_id": side, "thumb": "up"}).status_code == 404
    with home.db() as db:
        assert db.table("feedback").count_where("comparison_id = ?", [comparison["id"]]) == 0
    for allowed in (eva, front):
        assert allowed.send("POST", path, {"winner": "A"}).status_code == 201


def test_feedback_is_taken_back_by_who_gave_it_or_an_admin(eva: Person, tom: Person, front: Person) -> None:
    manager = person(eva.served, "admin")
    for taker, status in ((tom, 404), (front, 404), (eva, 204), (manager, 204)):
        given = eva.send("POST", "/v1/feedback", {"completion_id": eva.ask()["id"], "thumb": "up"}).json()["id"]
        response = taker.send("DELETE", f"/v1/feedback/{given}")
        assert response.status_code == status
        if status == 404:
            missing = taker.send("DELETE", "/v1/feedback/fb-none")
            assert response.text.replace(given, "fb-none") == missing.text


def test_the_same_idempotency_key_of_another_replays_nothing(eva: Person, tom: Person) -> None:
    for one in (eva, tom):
        body = {"completion_id": one.ask()["id"], "thumb": "up"}
        given = one.send("POST", "/v1/feedback", body, Idempotency_Key="k-1")
        assert (given.status_code, given.json()["rater"]) == (201, one.rater)
        assert one.send("POST", "/v1/feedback", body, Idempotency_Key="k-1").status_code == 200
        other = tom if one is eva else eva
        assert other.send("POST", "/v1/feedback", body, Idempotency_Key="k-1").status_code == 404


def test_asking_again_for_anothers_answer_makes_no_feedback(eva: Person, tom: Person, admin: Person) -> None:
    answer = eva.ask("Again?")["id"]
    for asker, expected in ((tom, 0), (eva, 1)):
        asker.ask("Again?", metadata={"regenerated_from": answer})
        assert len(admin.send("GET", f"/v1/feedback?completion_id={answer}").json()["data"]) == expected


def test_a_conversation_shows_the_feedback_of_its_reader(
    eva: Person, tom: Person, front: Person, admin: Person
) -> None:
    answer = eva.ask("Who corrects this?")
    path = f"/v1/conversations/{answer['conversation_id']}"
    given = {"completion_id": answer["id"], "correction": "Not eva's text."}
    assert front.send("POST", "/v1/feedback", given, X_Attune_Rater="ida").status_code == 201
    assert eva.send("GET", path).json()["completions"][0]["feedback"] == []
    assert eva.send("POST", "/v1/feedback", {**given, "correction": "Eva's."}).status_code == 201
    (mine,) = eva.send("GET", path).json()["completions"][0]["feedback"]
    assert (mine["text"], mine["own"]) == ("Eva's.", True)
    both = admin.send("GET", path).json()["completions"][0]["feedback"]
    assert [(row["rater"], row["own"]) for row in both] == [(eva.rater, False), ("ida", False)]
    assert tom.send("GET", path).status_code == 404


def test_conversations_of_another_rater_are_an_empty_list(eva: Person, tom: Person, admin: Person) -> None:
    eva.ask("Only mine")
    path = f"/v1/conversations?rater={eva.rater}"
    assert tom.send("GET", path).json() == tom.send("GET", "/v1/conversations?rater=nobody").json()
    assert eva.send("GET", path).json()["data"][0]["rater"] == eva.rater
    assert admin.send("GET", path).json()["data"][0]["rater"] == eva.rater


@pytest.mark.parametrize("stream", [False, True])
def test_a_deleted_conversation_is_not_continued_and_nothing_is_stored(
    eva: Person, tom: Person, home: Running, stream: bool
) -> None:
    kept = eva.ask("Forget this")["conversation_id"]
    open_one = eva.ask("Keep this")["conversation_id"]
    assert eva.send("DELETE", f"/v1/conversations/{kept}").status_code == 204
    rows = row_counts(home)
    body = {**HELLO, "conversation_id": kept, "stream": stream}
    deleted = [one.send("POST", "/v1/chat/completions", body) for one in (eva, tom)]
    anothers = tom.send("POST", "/v1/chat/completions", {**body, "conversation_id": open_one})
    for response in (*deleted, anothers):
        assert (response.status_code, response.json()["error"]["param"]) == (404, "conversation_id")
        assert "leave conversation_id out" in response.json()["error"]["message"]
    assert deleted[0].text == deleted[1].text == anothers.text.replace(open_one, kept)
    for conversation_id in (kept, open_one):
        compared = tom.send("POST", "/v1/comparisons", {**ask("Hi"), "conversation_id": conversation_id})
        assert compared.status_code == 404
    assert row_counts(home) == rows


def test_a_conversation_that_is_deleted_while_it_is_answered_keeps_nothing(eva: Person, home: Running) -> None:
    home.model.step_s = 0.02
    number = home.add_candidate()  # a version with slow steps
    with home.db() as db:
        manager = make_key(db, "manager", ("admin",))[1]
    home.http.headers["Authorization"] = f"Bearer {manager}"
    home.wait_for_state(number, "live")
    home.model.step_s = 0.0
    conversation_id = eva.ask("say: begin")["conversation_id"]
    body = {**HELLO, **ask("say: a longer answer"), "conversation_id": conversation_id, "stream": True}
    with home.http.stream("POST", "/v1/chat/completions", json=body, headers=eva.headers) as stream:
        lines = stream.iter_lines()
        next(lines)
        assert eva.send("DELETE", f"/v1/conversations/{conversation_id}").status_code == 204
        rest = "\n".join(lines)
    assert "no conversation" in rest
    assert "[DONE]" not in rest
    with home.db() as db:
        assert db.table("completions").count_where("conversation_id = ?", [conversation_id]) == 1
    assert home.http.post("/v1/versions/0/promote").status_code == 200
    del home.http.headers["Authorization"]


def row_counts(home: Running) -> dict[str, int]:
    with home.db() as db:
        return {name: db.table(name).count for name in ("completions", "conversations", "comparisons", "feedback")}


def test_a_user_without_act_as_is_a_label_of_the_key(eva: Person, tom: Person) -> None:
    answer = eva.ask("Labelled", user="ida/2")
    shown = eva.send("GET", f"/v1/conversations/{answer['conversation_id']}").json()
    assert (shown["rater"], shown["completions"][0]["rater"]) == (eva.rater, f"{eva.rater}/ida/2")
    again = eva.ask("Labelled", user="tom", conversation_id=answer["conversation_id"])
    assert eva.send("POST", "/v1/feedback", {"completion_id": again["id"], "thumb": "up"}).json()["rater"] == eva.rater
    assert tom.send("POST", "/v1/feedback", {"completion_id": again["id"], "thumb": "up"}).status_code == 404
    assert eva.send("POST", "/v1/chat/completions", {**HELLO, "user": ""}).status_code == 200
    assert eva.send("GET", "/v1/models", X_Attune_Rater="ida").status_code == 403


def test_events_of_answers_and_feedback_are_their_raters(
    eva: Person, tom: Person, front: Person, admin: Person, home: Running
) -> None:
    with home.db() as db:
        after = last_event_seq(db)
    given = []
    for one in (eva, tom):
        answer = one.ask()["id"]
        given.append(one.send("POST", "/v1/feedback", {"completion_id": answer, "thumb": "up"}).json()["id"])
    with home.db() as db:
        add_event(db, "completion", {"completion_id": "from-an-earlier-release", "version": 0})
        add_event(db, "version.live", {"version": 0, "previous": 1, "reason": f"promoted by {tom.rater}"})
        last = last_event_seq(db)
    seen = {name: one.events(after, last) for name, one in (("eva", eva), ("front", front), ("admin", admin))}
    assert [event["kind"] for event in seen["eva"]] == ["completion", "feedback", "version.live"]
    assert tom.rater not in json.dumps(seen["eva"])
    assert seen["eva"][-1]["data"]["reason"] == "promoted"
    assert [event["kind"] for event in seen["front"]] == ["version.live"]
    assert [event["data"]["feedback_id"] for event in seen["admin"] if event["kind"] == "feedback"] == given
    assert "from-an-earlier-release" in json.dumps(seen["admin"])


def test_erasing_a_person_deletes_the_events_of_their_answers(home: Running, front: Person, admin: Person) -> None:
    answer = front.ask(user="gone")["id"]
    with home.db() as db:
        assert answer in json.dumps([event.data for event in events_after(db, 0)])
    assert admin.send("DELETE", "/v1/raters/gone").status_code == 200
    with home.db() as db:
        assert answer not in json.dumps([event.data for event in events_after(db, 0)])


def test_erasing_a_person_takes_them_out_of_the_records_of_runs(home: Running, front: Person, admin: Person) -> None:
    share = {name: {"items": 1, "share": 0.5, "trust": 0.9} for name in ('zoé "z"', "ida")}
    front.ask(user='zoé "z"')
    with home.db() as db:
        add_run(db, Run("run-zoe", "mixed", "running", {}, 0, 0, 1, 0, 1, now()))
        finish_run(db, "run-zoe", None, {"loss": 0.5, "raters": share})
        assert "zo" in db.execute("SELECT metrics FROM runs WHERE id = 'run-zoe'").fetchone()[0]
    assert admin.send("DELETE", "/v1/raters/zo%C3%A9%20%22z%22").status_code == 200
    with home.db() as db:
        assert get_run(db, "run-zoe").metrics == {"loss": 0.5, "raters": {"ida": share["ida"]}}
        assert not any("zo\\u00e9" in line or "zoé" in line for line in db.conn.iterdump())


def test_a_version_names_its_raters_to_admins_only(eva: Person, admin: Person, home: Running) -> None:
    number = home.add_candidate()
    share = {"somebody@example.org": {"items": 1, "share": 1.0, "trust": 0.9}}
    settings = {"trust": {"gold_raters": "somebody@example.org", "rater_cap": 0.1}}
    with home.db() as db:
        add_run(db, Run(f"run-{number}", "mixed", "running", settings, 0, 0, 1, 0, 1, now()))
        finish_run(db, f"run-{number}", number, {"loss": 0.5, "raters": share})
        db.execute("UPDATE versions SET run_id = ? WHERE number = ?", [f"run-{number}", number])
    shown = eva.send("GET", f"/v1/versions/{number}")
    assert shown.json()["run"]["metrics"] == {"loss": 0.5}
    for path in (f"/v1/versions/{number}", "/v1/versions", "/v1/learner"):
        assert "somebody@example.org" not in eva.send("GET", path).text
    assert admin.send("GET", f"/v1/versions/{number}").json()["run"]["metrics"]["raters"] == share


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "7",
        "-1",
        "garbage",
        "2026-11-28T01:08:49.847840+00:00",
        "é",
        "[]",
        "WyJmZWVkYmFjayIsMTJd",  # ["feedback",12]
        "WyJjb252ZXJzYXRpb25zIl0",  # ["conversations"]
        "WyJjb252ZXJzYXRpb25zIiwiXHVkODAwIiwiYSJd",  # ["conversations","\ud800","a"]
        "WyJmZWVkYmFjayIsdHJ1ZV0",  # ["feedback",true]
        "WyJmZWVkYmFjayIsOTIyMzM3MjAzNjg1NDc3NTgwOF0",  # ["feedback",2**63]
        "WyJmZWVkYmFjayIsTmFOXQ",  # ["feedback",NaN]
        "W1tbW1tbW1tbW1tbW1tbW1tbW1tbW1tbW1tbW1tbW1tbW1s",
    ],
)
def test_a_cursor_of_another_list_is_400(admin: Person, cursor: str) -> None:
    """One of the texts above is a cursor of feedback, and is refused for conversations only."""
    for path in ("/v1/conversations", "/v1/feedback"):
        response = admin.served.http.get(path, params={"cursor": cursor}, headers=admin.headers)
        if (path, cursor) == ("/v1/feedback", "WyJmZWVkYmFjayIsMTJd"):
            assert response.status_code == 200
        else:
            assert (response.status_code, response.json()["error"]["param"]) == (400, "cursor"), path


def test_anothers_cursor_shows_none_of_their_rows(eva: Person, tom: Person) -> None:
    for one in (eva, tom, eva):
        one.ask("Paged")
    cursor = eva.send("GET", "/v1/conversations?limit=1").json()["next_cursor"]
    seen = tom.send("GET", f"/v1/conversations?cursor={cursor}").json()["data"]
    assert {row["rater"] for row in seen} <= {tom.rater}


def kinds_of_events() -> set[str]:
    """Return the kinds of all events that the program's text adds."""
    found = set()
    for room in ("service", "store", "learner"):
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "add_event":
                    kind = node.args[1]
                    assert isinstance(kind, ast.Constant), f"{path}:{node.lineno}: name the kind of event as a text"
                    found.add(str(kind.value))
    return found


def test_each_kind_of_event_has_its_readers() -> None:
    firsts = (*PUBLIC_KINDS, *ADMIN_KINDS)
    known = {kind for kind in kinds_of_events() if kind in OWN_KINDS or kind.partition(".")[0] in firsts}
    hint = "name each of these in OWN_KINDS, PUBLIC_KINDS or ADMIN_KINDS of service/personal_fields.py"
    assert kinds_of_events() - known == set(), hint
    assert len(known) > 10


def test_an_event_of_an_unknown_kind_is_for_admins() -> None:
    for kind in ("secret", "rater.distrusted"):
        event = Event(1, kind, {"rater": "eva"}, now())
        assert event_for(event, Caller("1", "eva", ("chat", "feedback"))) is None
        assert event_for(event, Caller("1", "tom", ("admin",))) == event


def test_names_are_taken_out_at_any_depth() -> None:
    value = {"a": [{"rater": "eva", "b": {"trust.gold_raters": "eva", "c": 1}}], "reason": "rolled back by eva"}
    assert without_names(value) == {"a": [{"b": {"c": 1}}], "reason": "rolled back"}

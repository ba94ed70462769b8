"""Every route, with every kind of key, on the caller's own rows and on another person's."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest
from fastapi import APIRouter
from sqlite_utils import Database

from service.app import create_app
from store.api_keys import SCOPES, make_key
from store.comparisons import Comparison, add_comparison
from store.completions import Completion, add_completions
from store.conversations import ensure_conversation
from store.feedback import Feedback, add_feedback
from store.ids import now
from store.raters import ensure_rater
from store.runs import Run, add_run, finish_run
from tests.service.parrot import ParrotModel
from tests.service.route_rules import RULES, Rows, Rule, routes_of, rule_of
from tests.service.running import Running, running, serve_settings

APP = create_app(serve_settings(model="parrot"), lambda settings: ParrotModel())
ROUTES = routes_of(APP)
KEYS: dict[str, tuple[str, ...] | None] = {
    "no key": None,
    "bad key": None,
    **{scope: (scope,) for scope in SCOPES},
    **{" ".join(pair): pair for pair in itertools.product(("chat", "feedback"), ("act-as", "admin"))},
}
STRANGER, SECRET = "a-stranger", "what a stranger wrote"
MISSING = Rows(*(f"{kind}-{'0' * 6}" for kind in ("rater", "conv", "chatcmpl", "worse", "cmp", "fb")))
counter = itertools.count(1)


@dataclass(frozen=True)
class Key:
    """One kind of key. Its own rows are its rater's."""

    name: str
    scopes: tuple[str, ...] | None
    rater: str
    headers: dict[str, str]


@dataclass(frozen=True)
class House:
    """A running service with all kinds of keys."""

    served: Running
    keys: tuple[Key, ...]

    def rows_of(self, *raters: str) -> list[Rows]:
        """Add rows of these raters."""
        with self.served.db() as db:
            return [add_rows(db, rater) for rater in raters]

    def send(self, key: Key, route: str, rule: Rule, rows: Rows) -> httpx.Response:
        """Call a route; of a stream that goes on, only the first of its body is read."""
        method, _, path = route.partition(" ")
        query = f"?{rule.query(rows)}" if rule.query is not None else ""
        body = rule.body(rows) if rule.body is not None else None
        request = self.served.http.build_request(method, rows.in_path(path) + query, json=body, headers=key.headers)
        response = self.served.http.send(request, stream=rule.is_stream)
        if rule.is_stream:
            if response.status_code == 200:
                response._content = next(response.iter_bytes())
            else:
                response.read()
            response.close()
        return response


def add_rows(db: Database, rater: str) -> Rows:
    """Add one row of every kind: two answers to one question, a comparison of them, and feedback."""
    number = f"{next(counter):06}"
    kinds = ("conv", "chatcmpl", "worse", "cmp", "fb")
    rows = Rows(rater, *(f"{kind}-{number}" for kind in kinds))
    ensure_rater(db, rater)
    ensure_conversation(db, rows.conversation_id, rater, SECRET if rater == STRANGER else "mine")
    blank = Completion("", 0, rater, "chat", "attune", "local", 0, [{"role": "user", "content": "?"}], [1], [2], [-1.0],
                       SECRET if rater == STRANGER else "mine", "stop", now())  # fmt: skip
    add_completions(
        db,
        [
            Completion(**{**vars(blank), "id": completion_id, "conversation_id": rows.conversation_id})
            for completion_id in (rows.completion_id, rows.worse_id)
        ],
    )
    add_comparison(
        db, Comparison(rows.comparison_id, rater, None, rows.completion_id, 0, rows.worse_id, 0, "named", 0.5, now())
    )
    add_feedback(db, Feedback(rows.feedback_id, "thumb", rater, rows.completion_id, 0, now(), "", value=1.0))
    return rows


def keys_in(db: Database) -> Iterator[Key]:
    """Make every kind of key."""
    for name, scopes in KEYS.items():
        if scopes is not None:
            key, secret = make_key(db, name, scopes)
            yield Key(name, scopes, key.rater_id, {"Authorization": f"Bearer {secret}"})
        else:
            ensure_rater(db, "nobody")
            yield Key(name, None, "nobody", {"Authorization": "Bearer at-wrong"} if name == "bad key" else {})


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with running(tmp_path_factory.mktemp("matrix") / "data") as served:
        served.wait_for_state(served.add_candidate(), "live")
        with served.db() as db:
            add_run(db, Run("run-1", "mixed", "running", {"trust": {"gold_raters": STRANGER}}, 0, 0, 1, 0, 1, now()))
            of_raters = {STRANGER: {"items": 1, "share": 1.0, "trust": 0.9}}
            damaged = {"items/left_out": 1, "left_out": {f"fb-of-{STRANGER}": "its row cannot be read"}}
            finish_run(db, "run-1", 1, {"raters": of_raters, **damaged})
            db.execute("UPDATE versions SET run_id = 'run-1' WHERE number = 1")
            keys = tuple(keys_in(db))
        yield House(served, keys)


@pytest.mark.parametrize("route", ROUTES)
def test_each_route_lets_in_whom_its_rule_names(house: House, route: str) -> None:
    rule, is_erasing = rule_of(route), route.startswith("DELETE /v1/raters")
    own = house.rows_of(*(f"erased by {key.name}" if is_erasing else key.rater for key in house.keys))
    others = house.rows_of(*(STRANGER for _ in house.keys))
    for key, *both in zip(house.keys, own, others, strict=True):
        for rows, is_owner in zip(both, (True, False), strict=True):
            if is_erasing and not is_owner:
                continue  # the stranger is needed for the other routes
            response = house.send(key, route, rule, rows)
            context = f"{route} with {key.name}, {'own' if is_owner else 'other'} rows: {response.text[:300]}"
            assert response.status_code == rule.status(key.scopes, is_owner=is_owner), context
            if response.status_code in (401, 403):
                assert response.json()["error"]["message"], context
            if "admin" not in (key.scopes or ()):
                assert_hides_strangers(response, rows, context)
            if response.status_code == 404 and rule.needs != ("open",) and not rule.makes_ids:
                assert_like_missing(response, house.send(key, route, rule, MISSING), rows, context)


def assert_hides_strangers(response: httpx.Response, asked: Rows, context: str) -> None:
    """Fail where a response has anything of a stranger that was not in the request."""
    text = response.text
    for known in asked.ids:
        text = text.replace(known, "")
    assert STRANGER not in text, context
    assert SECRET not in text, context


def assert_like_missing(response: httpx.Response, missing: httpx.Response, rows: Rows, context: str) -> None:
    """Fail where another's row can be told from one that does not exist."""
    text = response.text
    for theirs, none in zip(rows.ids, MISSING.ids, strict=True):
        text = text.replace(theirs, none)
    assert (missing.status_code, missing.text) == (response.status_code, text), context


def test_without_any_key_everything_is_the_owners(tmp_path_factory: pytest.TempPathFactory) -> None:
    owner = Key("the local person", SCOPES, "local", {})
    with running(tmp_path_factory.mktemp("local") / "data") as served:
        served.wait_for_state(served.add_candidate(), "live")
        house = House(served, (owner,))
        for route in ROUTES:
            rule = rule_of(route)
            (rows,) = house.rows_of("somebody" if route.startswith("DELETE /v1/raters") else "local")
            response = house.send(owner, route, rule, rows)
            assert response.status_code == rule.ok, f"{route}: {response.text[:300]}"


def test_every_path_of_the_description_is_in_the_matrix() -> None:
    described = {f"{method.upper()} {path}" for path, methods in APP.openapi()["paths"].items() for method in methods}
    assert described - set(ROUTES) == set()
    assert len(described) > 25


def test_no_rule_is_left_of_a_route_that_is_gone() -> None:
    assert set(RULES) - set(ROUTES) == set()


def test_a_new_route_without_a_rule_fails_with_its_name() -> None:
    app = create_app(serve_settings(model="parrot"), lambda settings: ParrotModel())
    router = APIRouter()
    router.add_api_route("/v1/diary/{day}", lambda day: day, methods=["PATCH"])
    app.include_router(router)
    (new,) = set(routes_of(app)) - set(ROUTES)
    with pytest.raises(AssertionError, match=r"PATCH /v1/diary/\{day\} has no rule: add a line to RULES"):
        rule_of(new)

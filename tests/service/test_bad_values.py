"""Bad values, wherever they come in: 400 before anything is generated or stored, and lists stay whole."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute

from service.app import ROUTERS
from service.http.checked_route import CheckedRoute
from tests.service.running import Running

BAD = [r'"\ud800"', r'"a\u0000b"', "NaN", "1e999", "9223372036854775808", "[" * 70 + "]" * 70]
IDS = ["surrogate", "NUL", "NaN", "1e999", "2**63", "depth"]
RECORD = '{"data": {"rating": 1, "comment": %s}, "snapshot": {}}'
BODIES = [  # each with a field that takes anything in JSON, or that would be stored
    ("/v1/chat/completions", '{"model": "attune", "messages": [{"role": "user", "content": %s}]}'),
    ("/v1/chat/completions", '{"model": "attune", "messages": [{"role": "user", "content": "Hi"}], "prediction": %s}'),
    (
        "/v1/chat/completions",
        '{"model": "attune", "messages": [{"role": "user", "content": "Hi"}], "metadata": {"a": %s}}',
    ),
    ("/v1/completions", '{"model": "attune", "prompt": %s}'),
    ("/v1/feedback", '{"completion_id": "ID", "thumb": "up", "comment": %s}'),
    ("/v1/feedback", '{"completion_id": "ID", "thumb": "up", "metadata": {"a": %s}}'),
    ("/v1/feedback", '{"completion_id": "ID", "correction": %s}'),
    ("/v1/comparisons", '{"messages": [{"role": "user", "content": %s}]}'),
    ("/v1/comparisons/x/choice", '{"winner": "A", "comment": %s}'),
    ("/v1/raters/local/quarantine", '{"reason": %s}'),
    ("/v1/versions/0/promote", '{"canary": %s}'),
    ("/v1/versions/rollback", '{"to": %s}'),
    ("/v1/webhooks/open-webui", RECORD),
]
LISTS = ["/v1/feedback", "/v1/conversations", "/v1/raters", "/v1/export?format=raw", "/v1/export?format=sft"]


def routes() -> Iterator[APIRoute]:
    for router in ROUTERS:
        yield from (route for route in router.routes if isinstance(route, APIRoute))


def counts(served: Running) -> dict[str, int]:
    with served.db() as db:
        return {name: db.table(name).count for name in ("completions", "feedback", "conversations", "comparisons")}


@pytest.mark.parametrize("bad", BAD, ids=IDS)
def test_bad_values_in_bodies_are_400_and_nothing_is_stored(shared: Running, bad: str) -> None:
    answer = shared.chat()
    before = counts(shared)
    for path, body in BODIES:
        content = (body % bad).replace("ID", answer["id"])
        response = shared.http.post(path, content=content, headers={"Content-Type": "application/json"})
        assert response.status_code == 400, (path, content[:100], response.text)
        assert response.json()["error"]["type"] == "invalid_request_error"
    assert counts(shared) == before
    assert all(shared.http.get(path).status_code == 200 for path in LISTS)


@pytest.mark.parametrize("number", [2**63, 10**30, -1, "1e3", "%00"])
def test_integers_past_64_bits_in_paths_are_400(shared: Running, number: object) -> None:
    for method, path in (("GET", ""), ("GET", "/feedback"), ("GET", "/samples"), ("POST", "/promote")):
        response = shared.http.request(method, f"/v1/versions/{number}{path}")
        assert response.status_code == 400, (path, response.text)
        assert response.json()["error"]["param"] == "number"


@pytest.mark.parametrize(
    "query",
    [
        "/v1/feedback?limit=99999999999999999999",
        "/v1/feedback?rater=%00",
        f"/v1/versions/0/samples?against={2**63}",
        f"/v1/versions/0/samples?seed={2**63}",
        "/v1/versions/0/samples?temperature=NaN",
        "/v1/conversations?search=a%00b",
        "/v1/conversations?%00=1",
        "/v1/conversations/a%00b",
        "/v1/models/%00",
        f"/v1/events?after={2**63}",
    ],
)
def test_bad_values_in_paths_and_queries_are_400(shared: Running, query: str) -> None:
    response = shared.http.get(query)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_value")


@pytest.mark.parametrize("seq", [str(2**63), "-1", "1.5", "garbage", "9" * 5000])
def test_a_last_event_id_that_is_none_is_400(shared: Running, seq: str) -> None:
    response = shared.http.get("/v1/events", headers={"Last-Event-ID": seq})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "Last-Event-ID")


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        ({"a": 1}, "metadata.a"),
        ({"a": None}, "metadata.a"),
        ({"a": {"b": "c"}}, "metadata.a"),
        ({"a": "x" * 513}, "metadata.a"),
        ({"k" * 65: "x"}, "metadata"),
        ({str(index): "x" for index in range(17)}, "metadata"),
        (["a"], "metadata"),
    ],
)
def test_metadata_is_sixteen_short_strings(shared: Running, metadata: Any, field: str) -> None:
    answer = shared.chat(metadata={"k" * 64: "x" * 512, **{str(index): "" for index in range(15)}})
    chat = {"model": "attune", "messages": [{"role": "user", "content": "Hi"}], "metadata": metadata}
    rating = {"completion_id": answer["id"], "thumb": "up", "metadata": metadata}
    for path, body in (("/v1/chat/completions", chat), ("/v1/feedback", rating)):
        response = shared.http.post(path, json=body)
        assert response.status_code == 400
        assert response.json()["error"]["param"].startswith(field)


def test_every_route_of_the_contract_checks_its_values() -> None:
    unchecked = [route.path for route in routes() if route.path.startswith("/v1") and type(route) is not CheckedRoute]
    assert not unchecked


def test_every_integer_of_a_request_has_bounds(shared: Running) -> None:
    description = shared.http.get("/openapi.json").json()
    asked = {}
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            for parameter in operation.get("parameters", ()):
                asked[f"{method} {path}: {parameter['name']}"] = parameter["schema"]
    for name, schema in description["components"]["schemas"].items():
        if name.endswith("Body") or name in ("WorseAnswer", "StreamOptions"):
            asked |= {f"{name}.{field}": shown for field, shown in schema["properties"].items()}
    integers = {
        name: schema
        for name, one in asked.items()
        for schema in (one, *one.get("anyOf", ()))
        if schema.get("type") == "integer"
    }
    assert len(integers) > 12
    unbounded = [
        name for name, schema in integers.items() if not ("minimum" in schema and schema.get("maximum", 2**64) <= 2**63)
    ]
    assert not unbounded


def test_rows_that_earlier_releases_let_in_spoil_no_list(served: Running) -> None:
    answer = served.chat()
    served.http.post("/v1/feedback", json={"completion_id": answer["id"], "thumb": "up"}).raise_for_status()
    with served.db() as db:
        seq = db.execute("SELECT max(seq) FROM events").fetchone()[0]
        db.execute("UPDATE feedback SET metadata = '{\"a\": NaN, \"b\": 1e999}', created_at = 'garbage'")
        db.execute('UPDATE completions SET settings = \'{"metadata": {"a": -Infinity}}\'')
        db.execute("UPDATE versions SET metrics = '{\"loss\": NaN}', gate = '{\"checks\": [NaN]}'")
        # an event of its own, since the service holds the newest ones in memory
        db.execute("INSERT INTO events (kind, data, created_at) VALUES ('run.progress', '{\"loss\": NaN}', 'garbage')")
    paths = [*LISTS, "/v1/versions", "/v1/versions/0", "/v1/learner", f"/v1/conversations/{answer['conversation_id']}"]
    for path in paths:
        response = served.http.get(path)
        assert response.status_code == 200, (path, response.text)
        assert "NaN" not in response.text
        assert "Infinity" not in response.text
    with served.http.stream("GET", "/v1/events", params={"after": seq}) as stream:
        data = next(line for line in stream.iter_lines() if line.startswith("data: "))
    assert '"loss": null' in data

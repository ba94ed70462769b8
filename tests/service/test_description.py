"""The description at /openapi.json: every route with its answers, the API key, and errors that are as described."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from service.http.description import ANSWERS, OPEN_PATHS, operations
from tests.service.fuzzing import findings
from tests.service.known_findings import KNOWN
from tests.service.running import Running, running

Json = dict[str, Any]


@pytest.fixture(scope="module")
def description(shared: Running) -> Json:
    found: Json = shared.http.get("/openapi.json").json()
    return found


def test_every_route_is_described_with_its_answer_and_errors(description: Json) -> None:
    for name, operation in operations(description):
        assert name in ANSWERS, f"{name} is new: add what it answers to service/http/description.py"
        success = [status for status in operation["responses"] if status.startswith("2")]
        assert success, name
        for status in success:
            content = operation["responses"][status].get("content")
            assert (content is None) == (status == "204"), name
            for media, shown in (content or {}).items():
                assert "$ref" in shown["schema"] or media != "application/json", name
        failures = operation["responses"].keys() - set(success)
        assert all("$ref" in operation["responses"][status] for status in failures if "503" not in status), name
        if name.split(" ")[1] in OPEN_PATHS:
            assert "security" not in operation
        else:
            assert operation["security"] == [{"ApiKey": []}]
            assert {"400", "401", "403", "429", "500", "503"} <= failures, name
        if "requestBody" in operation:
            assert {"413", "422"} <= failures, name


def test_the_key_is_a_bearer_token_and_names_are_unique(description: Json) -> None:
    assert description["components"]["securitySchemes"]["ApiKey"]["scheme"] == "bearer"
    names = [operation["operationId"] for _, operation in operations(description)]
    assert len(names) == len(set(names))
    assert "HTTPValidationError" not in str(description)


@pytest.fixture
def check(description: Json) -> Callable[[str, int, Any], None]:
    """Check a body against what the description has for a status of an operation."""

    def check_body(name: str, status: int, body: Any) -> None:
        method, path = name.split(" ")
        response = description["paths"][path][method.lower()]["responses"][str(status)]
        if "$ref" in response:
            response = description["components"]["responses"][response["$ref"].rsplit("/", 1)[1]]
        schema = {**response["content"]["application/json"]["schema"], "components": description["components"]}
        jsonschema_rs.validate(schema, body)

    return check_body


def test_errors_are_as_described(shared: Running, check: Callable[[str, int, Any], None]) -> None:
    asked = [
        ("POST /v1/chat/completions", {"model": "nobody", "messages": [{"role": "user", "content": "Hi"}]}, 404),
        ("POST /v1/chat/completions", {"model": "attune", "messages": []}, 400),
        ("POST /v1/feedback", {"completion_id": "x", "thumb": "up", "mood": 1}, 422),
        ("POST /v1/feedback", {"completion_id": "x" * 5_000_000, "thumb": "up"}, 413),
        ("POST /v1/versions/rollback", {}, 409),
    ]
    for name, body, status in asked:
        response = shared.http.request(*name.split(" "), json=body)
        assert response.status_code == status, response.text
        check(name, status, response.json())
    with pytest.raises(jsonschema_rs.ValidationError):
        check("POST /v1/feedback", 422, {"detail": "as FastAPI has it"})


def test_answers_are_as_described(tmp_path: Path, check: Callable[[str, int, Any], None]) -> None:
    with running(tmp_path / "data") as served:
        chat = served.chat(logprobs=True, top_logprobs=2, metadata={"a": "b"})
        rated = served.http.post("/v1/feedback", json={"completion_id": chat["id"], "correction": "better"})
        asked = served.http.post("/v1/comparisons", json={"messages": [{"role": "user", "content": "Hi"}]})
        chosen = served.http.post(f"/v1/comparisons/{asked.json()['id']}/choice", json={"winner": "A"})
        legacy = served.http.post("/v1/completions", json={"model": "attune", "prompt": "Hi", "logprobs": 1})
        check("POST /v1/chat/completions", 200, chat)
        check("POST /v1/completions", 200, legacy.json())
        check("POST /v1/feedback", 201, rated.json())
        check("POST /v1/comparisons", 201, asked.json())
        check("POST /v1/comparisons/{comparison_id}/choice", 201, chosen.json())
        served.add_candidate()
        for name, path in (
            ("GET /v1/models", "/v1/models"),
            ("GET /v1/models/{name}", "/v1/models/attune"),
            ("GET /v1/feedback", "/v1/feedback"),
            ("GET /v1/versions", "/v1/versions"),
            ("GET /v1/versions/{number}", "/v1/versions/1"),
            ("GET /v1/versions/{number}/feedback", "/v1/versions/0/feedback"),
            ("GET /v1/versions/{number}/samples", "/v1/versions/0/samples?limit=1"),
            ("GET /v1/learner", "/v1/learner"),
            ("GET /v1/raters", "/v1/raters"),
            ("GET /v1/conversations", "/v1/conversations"),
            ("GET /v1/conversations/{conversation_id}", f"/v1/conversations/{chat['conversation_id']}"),
            ("GET /healthz", "/healthz"),
            ("GET /readyz", "/readyz"),
        ):
            response = served.http.get(path)
            assert response.status_code == 200, path
            check(name, 200, response.json())


def test_405_names_every_method_of_the_path(shared: Running) -> None:
    response = shared.http.put("/v1/feedback")
    assert (response.status_code, response.headers["Allow"]) == (405, "GET, POST")


def test_every_finding_that_stands_gives_its_reason() -> None:
    assert all(len(known.reason.split()) >= 8 for known in KNOWN)


def test_a_sample_of_made_requests_finds_nothing(tmp_path: Path) -> None:
    made, found = findings(
        tmp_path, "--phases", "fuzzing", "--max-examples", "3", "--generation-deterministic", timeout_s=300
    )
    assert made > 60
    assert not found, found


@pytest.mark.fire
def test_ten_thousand_made_requests_find_nothing(tmp_path: Path) -> None:
    made, found = findings(tmp_path, "--max-examples", "300", "--seed", "15", "--continue-on-failure", timeout_s=3600)
    assert made >= 10_000
    assert not found, found

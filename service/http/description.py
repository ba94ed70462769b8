"""The description of the HTTP interface at /openapi.json: responses, errors and the API key, beside what FastAPI knows.

Routes take their parameters and bodies from FastAPI. What they answer stands here in one table, since most of them
build their JSON themselves.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from service.http import response_models as models

Json = dict[str, Any]
JSON, EVENTS, LINES, TEXT = "application/json", "text/event-stream", "application/x-ndjson", "text/plain"
REF = "#/components/schemas/{model}"
ERRORS = {
    400: "A value is at fault; `param` names it.",
    401: "The API key is missing, unknown or revoked.",
    403: "The key lacks the scope, or the request comes from somewhere that may not send it.",
    404: "What the request names does not exist, or not for this caller.",
    408: "The body took too long to arrive.",
    409: "It contradicts the present state.",
    413: "The body is larger than the limit.",
    415: "The body is of another content type.",
    422: "A field is unknown, or what the request names does not go together.",
    429: "Too many requests of this key.",
    431: "The headers are larger than the limit.",
    500: "Something went wrong inside the service.",
    502: "A backend does not answer, or answers nonsense.",
    503: "The service is busy, is loading or stops, or its store fails.",
    504: "The answer took longer than the limit.",
}
OF_EVERY_ROUTE = (400, 401, 403, 429, 431, 500, 503)
OF_BODIES = (408, 413, 415, 422)
OF_ANSWERS = (404, 409, 502, 504)


@dataclass(frozen=True)
class Answers:
    """What a route answers: by media type a model or, for text, what it holds; and its errors beside the usual."""

    content: Mapping[str, type[BaseModel] | str] = field(default_factory=dict)
    errors: tuple[int, ...] = ()
    status: int = 200
    other_statuses: tuple[int, ...] = ()  # with the same content


def _json(model: type[BaseModel], *errors: int, status: int = 200, others: tuple[int, ...] = ()) -> Answers:
    return Answers({JSON: model}, errors, status, others)


_CHUNKS = "Server-sent events: a {} in each `data:`, then `data: [DONE]`. An error after the first is an event too."
ANSWERS: Mapping[str, Answers] = {
    "POST /v1/chat/completions": Answers(
        {JSON: models.ChatCompletion, EVENTS: _CHUNKS.format("ChatCompletionChunk")}, OF_ANSWERS
    ),
    "POST /v1/completions": Answers(
        {JSON: models.TextCompletion, EVENTS: _CHUNKS.format("TextCompletion")}, OF_ANSWERS
    ),
    "GET /v1/version": _json(models.Release),
    "GET /v1/models": _json(models.ModelNames),
    "GET /v1/models/{name}": _json(models.ModelName, 404),
    "POST /v1/feedback": _json(models.Feedback, 404, 409, status=201, others=(200,)),
    "GET /v1/feedback": _json(models.FeedbackPage),
    "DELETE /v1/feedback/{feedback_id}": Answers({}, (404,), 204),
    "POST /v1/comparisons": _json(models.Comparison, *OF_ANSWERS, status=201),
    "POST /v1/comparisons/{comparison_id}/choice": _json(models.ChosenFeedback, 404, 409, status=201, others=(200,)),
    "GET /v1/versions": _json(models.VersionPage),
    "GET /v1/versions/{number}": _json(models.VersionDetail, 404),
    "GET /v1/versions/{number}/feedback": _json(models.FeedbackPage, 404),
    "GET /v1/versions/{number}/samples": _json(models.SamplePage, *OF_ANSWERS),
    "POST /v1/versions/rollback": _json(models.VersionDetail, 404, 409),
    "POST /v1/versions/{number}/promote": _json(models.VersionDetail, 404, 409),
    "GET /v1/learner": _json(models.Learner),
    "POST /v1/learner/update": _json(models.Learner, status=202),
    "POST /v1/learner/pause": _json(models.Learner, status=202),
    "POST /v1/learner/resume": _json(models.Learner, status=202),
    "GET /v1/raters": _json(models.RaterPage),
    "POST /v1/raters/{rater_id}/quarantine": _json(models.Rater, 404),
    "POST /v1/raters/{rater_id}/release": _json(models.Rater, 404),
    "POST /v1/raters/{rater_id}/withdraw": _json(models.Withdrawn, 404, 409, 500, 503),
    "DELETE /v1/raters/{rater_id}": _json(models.Erased, 404, 409),
    "GET /v1/conversations": _json(models.ConversationPage),
    "GET /v1/conversations/{conversation_id}": _json(models.ConversationDetail, 404),
    "DELETE /v1/conversations/{conversation_id}": Answers({}, (404,), 204),
    "GET /v1/export": Answers({LINES: "A JSON object in each line, in the form that was asked for."}),
    "POST /v1/import": _json(models.ImportReport),
    "POST /v1/webhooks/open-webui": _json(models.ForwardedFeedback, 409, status=201, others=(200,)),
    "GET /v1/events": Answers({EVENTS: "Server-sent events: `id`, `event` with its kind, `data` as JSON."}),
    "GET /health": _json(models.Alive),
    "GET /healthz": _json(models.Alive),
    "GET /readyz": _json(models.Ready, others=(503,)),
    "GET /metrics": Answers({TEXT: "Prometheus' text format."}),
}
# Printable Latin-1 without a slash, and no space at either end: what a header can hold of a rater's name.
_NAME = "!-.0-~\u00a1-\u00ac\u00ae-\u00ff"
HEADERS = {
    "x-attune-rater": {"maxLength": 128, "pattern": f"^[{_NAME}]([ {_NAME}]*[{_NAME}])?$"},
    "x-openwebui-user-id": {"maxLength": 118, "pattern": f"^([ {_NAME}]*[{_NAME}])?$"},
}
OPEN_PATHS = ("/health", "/healthz", "/readyz", "/metrics")  # they ask for no key
BEYOND_JSON = {  # bodies that a route reads itself
    "POST /v1/import": {
        LINES: {"schema": {"type": "string", "description": "A record in each line."}},
        JSON: {"schema": {"anyOf": [{"type": "object"}, {"type": "array", "items": {"type": "object"}}]}},
    }
}


def describe(app: FastAPI) -> Callable[[], Json]:
    """Return the function that gives the description of an application, made once."""
    made: Json = {}

    def description() -> Json:
        if not made:
            made.update(_described(app))
        return made

    return description


def operations(description: Json) -> Iterator[tuple[str, Json]]:
    """Give the operations of a description by name, such as `GET /v1/models`."""
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def _described(app: FastAPI) -> Json:
    description = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
    components = description.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas.update(_schemas())
    components["responses"] = {f"Error{status}": _error(status) for status in ERRORS}
    components["securitySchemes"] = {
        "ApiKey": {
            "type": "http",
            "scheme": "bearer",
            "description": "`Authorization: Bearer at-...`; see `attune keys create`. Without any key made, the "
            "service answers this machine alone and asks for none.",
        }
    }
    for name, operation in operations(description):
        _describe_operation(name, operation)
    return description


def _describe_operation(name: str, operation: Json) -> None:
    answers, is_open = ANSWERS.get(name, Answers()), name.split(" ")[1] in OPEN_PATHS
    if name in BEYOND_JSON:
        operation["requestBody"] = {"content": BEYOND_JSON[name]}
    for parameter in operation.get("parameters", ()):
        parameter["schema"] = _without_null(parameter["schema"]) | HEADERS.get(parameter["name"].lower(), {})
    statuses = {*answers.errors, *(() if is_open else OF_EVERY_ROUTE)}
    if "requestBody" in operation:
        statuses |= set(OF_BODIES)
    if is_open:
        statuses |= {500}
    else:
        operation["security"] = [{"ApiKey": []}]
    operation["responses"] = {
        **{str(status): {"$ref": f"#/components/responses/Error{status}"} for status in sorted(statuses)},
        **{str(status): _answer(answers) for status in (answers.status, *answers.other_statuses)},
    }


def _without_null(schema: Json) -> Json:
    """Return a parameter's schema without null, which no path, query or header can hold."""
    choices = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    rest = {name: value for name, value in schema.items() if name != "anyOf"}
    return {**rest, **choices[0]} if len(choices) == 1 else schema


def _schema(media: str, model: type[BaseModel] | str) -> Json:
    """Return the schema of a content. Before OpenAPI 3.2 that of a stream is the schema of each of its events."""
    if not isinstance(model, str):
        return _ref(model)
    if media == EVENTS:
        fields = {name: {"type": "string"} for name in ("id", "event", "data")}
        return {"type": "object", "description": model, "properties": fields}
    return {"type": "string", "description": model}


def _answer(answers: Answers) -> Json:
    content = {media: {"schema": _schema(media, model)} for media, model in answers.content.items()}
    return {"description": "The answer." if content else "Done.", **({"content": content} if content else {})}


def _error(status: int) -> Json:
    described: Json = {"description": ERRORS[status], "content": {JSON: {"schema": _ref(models.Error)}}}
    if status in (429, 503):
        seconds = {"description": "Seconds after which to try again.", "schema": {"type": "integer"}}
        described["headers"] = {"Retry-After": seconds}
    return described


def _ref(model: type[BaseModel]) -> Json:
    return {"$ref": REF.format(model=model.__name__)}


def _schemas() -> Json:
    shown = [
        one
        for one in vars(models).values()
        if isinstance(one, type) and issubclass(one, models.Shown) and one is not models.Shown
    ]
    _, definitions = models_json_schema([(one, "serialization") for one in shown], ref_template=REF)
    found: Json = definitions["$defs"]
    return found

"""Pydantic's errors in the caller's terms: the field as the caller wrote it, what it must be, and what it was."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.responses import JSONResponse

from service.errors import BadRequest, RequestError, Unprocessable, error_response
from service.http.json_values import field_of, shown

TAG = "<"  # names of union branches begin with it, so that they are told apart from fields
_JSON_TYPES = {
    dict: "an object",
    list: "a list",
    str: "a string",
    bool: "a boolean",
    int: "a number",
    float: "a number",
}
_SOURCES = ("body", "query", "path", "header")
_WANTED = {  # by the first part of pydantic's names: string_type, int_parsing, model_attributes_type, ...
    "string": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "dict": "an object",
    "model": "an object",
    "none": "null",
}
_BOUNDS = {
    "greater_than_equal": "at least {ge}",
    "greater_than": "above {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "below {lt}",
}


async def invalid_request(request: Request, error: Exception) -> JSONResponse:
    """Answer a request whose values are at fault: FastAPI's exception handler for them."""
    assert isinstance(error, RequestValidationError)
    return error_response(request_error(error.errors()))


def request_error(errors: Sequence[Mapping[str, Any]]) -> RequestError:
    """Return the error that answers a request with these faults: the first of them, unknown fields last.

    An unknown field is 422; everything else is 400, as OpenAI has it.
    """
    first = next((error for error in errors if error["type"] != "extra_forbidden"), errors[0])
    path = tuple(part for part in first["loc"][_skipped(first["loc"]) :] if not str(part).startswith(TAG))
    param = field_of(path) or (first.get("ctx") or {}).get("param")
    message = _message(first, is_whole=not path)
    described = f"{field_of(path)}: {message}" if path else message
    kind = Unprocessable if first["type"] == "extra_forbidden" else BadRequest
    return kind(described, param=param, code="invalid_value")


def _skipped(location: Sequence[Any]) -> int:
    return 1 if location and location[0] in _SOURCES else 0


def _message(error: Mapping[str, Any], *, is_whole: bool) -> str:
    kind, value, context = error["type"], error.get("input"), error.get("ctx") or {}
    if is_whole and kind == "missing":
        return "this request needs a JSON body"
    if is_whole and kind.startswith(("model", "dict")):
        return f"the body must be a JSON object, not {_type_of(value)}"
    if kind in _MESSAGES:
        return _MESSAGES[kind](value, context)
    if kind in _BOUNDS:
        bounds = {name: int(bound) if bound == int(bound) else bound for name, bound in context.items()}
        return f"must be {_BOUNDS[kind].format(**bounds)}, not {shown(value)}"
    wanted = _WANTED.get(kind.split("_")[0])
    if wanted is not None and kind.endswith(("_type", "_parsing", "_required", "_from_float", "_parsing_size")):
        is_plain = isinstance(value, (str, int, float)) and not isinstance(value, bool)
        return f"must be {wanted}, not {shown(value) if is_plain else _type_of(value)}"
    text: str = error["msg"]
    return text.removeprefix("Value error, ").replace("Input should be", "must be").replace("Input", "it")


_MESSAGES: Mapping[str, Callable[[Any, Mapping[str, Any]], str]] = {
    "missing": lambda value, context: "this field is needed",
    "extra_forbidden": lambda value, context: "this field is unknown",
    "literal_error": lambda value, context: f"must be {context['expected']}, not {shown(value)}",
    "finite_number": lambda value, context: "must be a finite number",
    "string_too_short": lambda value, context: (
        f"must have at least {_count(context['min_length'], 'character')}, not {len(value)}"
    ),
    "string_too_long": lambda value, context: (
        f"must have at most {_count(context['max_length'], 'character')}, not {len(value)}"
    ),
    "too_short": lambda value, context: (
        f"must hold at least {_count(context['min_length'], 'item')}, not {context['actual_length']}"
    ),
    "too_long": lambda value, context: (
        f"must hold at most {_count(context['max_length'], 'item')}, not {context['actual_length'] or 'more'}"
    ),
}


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _type_of(value: Any) -> str:
    return "null" if value is None else _JSON_TYPES.get(type(value), type(value).__name__)

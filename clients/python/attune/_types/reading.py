"""Reading JSON values as records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar, get_type_hints

from attune._errors import UnexpectedResponse

NOT_NUMBERS = ("nan", "inf", "-inf")  # JSON has no such numbers, so the service sends them as text
T = TypeVar("T")


def read(kind: type[T], body: object) -> T:
    """Return a JSON value as a record of the given kind. Raises UnexpectedResponse when it is none."""
    if not isinstance(body, Mapping):
        raise UnexpectedResponse(
            f"The service sent {_brief(body)} instead of a {kind.__name__}. Is this an Attune service?"
        )
    hints = _hints(kind)
    values: dict[str, Any] = {}
    for known in fields(kind):  # type: ignore[arg-type]
        value = body.get(known.name)
        has_default = known.default is not MISSING or known.default_factory is not MISSING
        if value is None and not has_default:
            raise UnexpectedResponse(
                f"The service sent a {kind.__name__} without {known.name!r}. Is this an Attune service?"
            )
        if value is not None:
            values[known.name] = _convert(hints[known.name], value)
    return kind(**values)


def _convert(hint: Any, value: Any) -> Any:
    """Return a JSON value as its field's type: records, tuples and floats are converted, the rest is unchanged."""
    kinds = [kind for kind in getattr(hint, "__args__", ()) if kind is not type(None) and kind is not Ellipsis]
    origin = getattr(hint, "__origin__", None)
    if origin is tuple:
        return tuple(_convert(kinds[0], one) for one in value) if isinstance(value, (list, tuple)) else ()
    if origin is None and kinds:  # X | None
        return _convert(kinds[0], value)
    if hasattr(hint, "__dataclass_fields__"):
        return read(hint, value)
    if hint is float and (isinstance(value, int) or value in NOT_NUMBERS):
        return float(value)
    if hint is str and not isinstance(value, str):
        return str(value)
    return value


_known_hints: dict[type, dict[str, Any]] = {}


def _hints(kind: type) -> dict[str, Any]:
    if kind not in _known_hints:
        # `__module__` of these classes is the package `attune`, which has every record but not `Any`
        _known_hints[kind] = get_type_hints(kind, localns={"Any": Any})
    return _known_hints[kind]


def _brief(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."

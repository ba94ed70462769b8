"""JSON in columns of the database, read so that one damaged value never takes a whole list with it."""

import json
import math
from typing import Any


def json_of(text: str, default: Any) -> Any:
    """Return a column's JSON value; `default` for text that is no JSON or of another type.

    NaN and infinities, which Python writes and no other JSON reader takes, are None.
    """
    try:
        value = json.loads(text, parse_constant=lambda _: None, parse_float=_finite)
    except (ValueError, TypeError, RecursionError):
        return default
    return value if isinstance(value, type(default)) else default


def _finite(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None

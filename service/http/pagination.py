"""Every list of the contract: `{"data": [...], "next_cursor": ... | null}`."""

import base64
import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from service.errors import BadRequest

T = TypeVar("T")
LARGEST_INTEGER = 2**63 - 1  # of SQLite


class Cursor:
    """Where the next page of one list begins, as opaque text. `fields` are the types of what it holds."""

    def __init__(self, name: str, *fields: type[int] | type[str]) -> None:
        self._name, self._fields = name, fields

    def of(self, *values: object) -> str:
        """Return the text for the last row of a page."""
        content = json.dumps([self._name, *values], separators=(",", ":"))
        return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")

    def read(self, text: str | None) -> tuple[Any, ...] | None:
        """Return the values in a text that `of` made, None for the first page. Raises BadRequest for other texts."""
        if text is None:
            return None
        try:
            name, *values = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True))
        except (ValueError, TypeError, RecursionError):
            name, values = None, []
        if name != self._name or not self._fits(values):
            message = f"cursor: {text[:40]!r} is no next_cursor of this list; leave it out to begin at the first page"
            raise BadRequest(message, param="cursor", code="invalid_cursor")
        return tuple(values)

    def _fits(self, values: Sequence[object]) -> bool:
        if [type(value) for value in values] != list(self._fields):
            return False
        return all(
            abs(value) <= LARGEST_INTEGER if isinstance(value, int) else _is_storable(str(value)) for value in values
        )


CONVERSATION_CURSOR = Cursor("conversations", str, str)  # updated_at and id of the page's last one
FEEDBACK_CURSOR = Cursor("feedback", int)  # seq of the page's last one


def _is_storable(text: str) -> bool:
    """Whether the text has neither lone surrogates nor NUL."""
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def page_of(
    found: Sequence[T], limit: int, show: Callable[[T], dict[str, Any]], cursor: Callable[[T], str]
) -> dict[str, Any]:
    """Return a page with the first `limit` rows of `found`, each as `show` gives it.

    The caller queries one row more than `limit`, so that a longer `found` means another page.
    """
    page = found[:limit]
    return {"data": [show(row) for row in page], "next_cursor": cursor(page[-1]) if len(found) > limit else None}

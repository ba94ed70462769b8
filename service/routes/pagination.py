"""Every list of the contract: `{"data": [...], "next_cursor": ... | null}`."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


def page_of(
    found: Sequence[T], limit: int, show: Callable[[T], dict[str, Any]], cursor: Callable[[T], Any]
) -> dict[str, Any]:
    """Return a page of at most `limit` of `found`, which was asked for with one more to see whether there is a next
    page.
    """
    page = found[:limit]
    return {"data": [show(item) for item in page], "next_cursor": str(cursor(page[-1])) if len(found) > limit else None}

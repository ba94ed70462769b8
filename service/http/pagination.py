"""Every list of the contract: `{"data": [...], "next_cursor": ... | null}`."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


def page_of(
    found: Sequence[T], limit: int, show: Callable[[T], dict[str, Any]], cursor: Callable[[T], Any]
) -> dict[str, Any]:
    """Return a page with the first `limit` rows of `found`, each as `show` gives it.

    The caller queries one row more than `limit`, so that a longer `found` means another page.
    """
    page = found[:limit]
    return {"data": [show(row) for row in page], "next_cursor": str(cursor(page[-1])) if len(found) > limit else None}

"""Noticing that the client closed its connection while its answer is made."""

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import TypeVar

from fastapi import Request

from service.errors import ReaderLeft

T = TypeVar("T")


async def unless_reader_leaves(request: Request, work: Awaitable[T]) -> T:
    """Return what `work` gives. Cancels it and raises ReaderLeft when the client closes its connection first."""

    async def left() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task, watch = asyncio.ensure_future(work), asyncio.create_task(left())
    try:
        await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ReaderLeft("the client closed its connection before the answer was ready")
    finally:
        for one in (task, watch):
            if not one.done():
                one.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await one

# Written by make_sync.py from attune/_async/connection.py.
# Change that file, then run `python clients/python/make_sync.py`.
"""The connection pool to one service: it sends requests, retries those that are safe, and raises our errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from attune._address import Address, pool_settings
from attune._sync.waiting import pause
from attune._errors import APIError, AttuneError, UnexpectedResponse
from attune._requests import Request
from attune._responses import body_of, faults_of, raise_for_status
from attune._retry import Retry, is_worth_another_try, patience
from attune._types.reading import read

if TYPE_CHECKING:
    from collections.abc import Iterable

    import httpx

T = TypeVar("T")


class Connection:
    """Sends requests to one address. Its only state is the pool, so many tasks may share it."""

    def __init__(self, address: Address, timeout_s: float, retry: Retry, http: httpx.Client | None = None) -> None:
        import httpx  # here, since with httpx's own command line installed it takes a quarter of a second

        self.address = address
        self.retry = retry
        self._http = http if http is not None else httpx.Client(**pool_settings(address, timeout_s))
        self._is_ours = http is None

    def json(self, request: Request) -> Any:
        """Send a request and return its JSON body, None where it has none."""
        return body_of(self.respond(request))

    def pages(self, request: Request, kind: type[T]) -> Iterator[T]:
        """Yield the items of a list, `{"data": [...], "next_cursor": ...}`; pages load on demand."""
        while True:
            page = self.json(request)
            if not isinstance(page, Mapping) or not isinstance(page.get("data"), list):
                raise UnexpectedResponse(f"The response to {request.path} is no list. Is this an Attune service?")
            for item in page["data"]:
                yield read(kind, item)
            if not page.get("next_cursor"):
                return
            request = replace(request, params={**request.params, "cursor": page["next_cursor"]})

    def respond(
        self, request: Request, *, stream: bool = False, content: Iterable[bytes] | None = None
    ) -> httpx.Response:
        """Send a request; return its response, read to the end unless `stream`.

        `content` replaces the JSON body; such a request is sent only once.
        """
        tried = 0
        while True:
            try:
                return self._attempt(request, stream, content)
            except AttuneError as error:
                tried += 1
                if content is not None or not is_worth_another_try(request, error, self.retry, tried):
                    raise
                pause(self.retry.wait_s(tried, patience(error)))

    def _attempt(self, request: Request, stream: bool, content: Iterable[bytes] | None) -> httpx.Response:
        with faults_of(self.address):
            response = self._http.send(self._build(request, content), stream=True)
            try:
                if not stream or response.status_code >= 300:
                    response.read()
                raise_for_status(response)
            except BaseException:
                response.close()
                raise
            return response

    def _build(self, request: Request, content: Iterable[bytes] | None) -> httpx.Request:
        built = self._http.build_request(
            request.method,
            self.address.url + request.path,
            params=request.query() or None,
            json=request.json if content is None else None,
            content=content,
            headers={**self.address.headers(), **request.headers},
        )
        if request.timeout_s is not None:
            built.extensions["timeout"] = {**built.extensions.get("timeout", {}), "read": request.timeout_s}
        return built

    def close(self) -> None:
        """Close the pool, unless it was given to us."""
        if self._is_ours:
            self._http.close()

    def status(self, path: str) -> tuple[int, Any]:
        """Send one GET for a health check; return the status and body, also of a refusal.

        Raises ServiceUnreachable, Timeout, UnexpectedResponse.
        """
        try:
            return 200, body_of(self._attempt(Request("GET", path), False, None))
        except APIError as error:
            return error.status, {"message": str(error)}

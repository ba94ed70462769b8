"""Requests, retries and responses: the parts that sync and async share.

The first client imports `httpx`, not `import attune`: where httpx's own command line is installed, that takes a quarter
of a second.
"""

from __future__ import annotations

import json
import os
import random
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from attune._errors import APIError, ServiceUnreachable, Timeout, UnexpectedResponse, error_from_response

if TYPE_CHECKING:
    import httpx

DEFAULT_URL = "http://127.0.0.1:8000"
VERSION = "0.1.0"


@dataclass(frozen=True)
class Retry:
    """How often a request is retried, and after how long.

    Only safe requests are retried: those that only read, and feedback and choices (they carry an idempotency key).
    Others are retried only when the service did not begin them (no connection, or a refusal with `Retry-After`).
    `times` 0 turns retries off. The first wait is `first_s` seconds; each later one is twice as long, at most
    `longest_s`. Each wait is shortened at random by up to a half, so that clients do not return together. The client
    waits out a `Retry-After` of up to `patience_s` seconds and raises for a longer one.

    >>> attune.Client(retry=attune.Retry(times=5)).health().alive
    True
    """

    times: int = 2
    first_s: float = 0.5
    longest_s: float = 8.0
    patience_s: float = 60.0

    def wait_s(self, tried: int, asked_s: float | None = None) -> float:
        """Return the seconds to wait after `tried` failed attempts, or `asked_s` when the service asked for a wait.

        >>> 0.5 <= attune.Retry(first_s=1.0).wait_s(1) <= 1.0
        True
        >>> attune.Retry().wait_s(1, asked_s=3.0) >= 3.0
        True
        """
        wait = min(self.longest_s, self.first_s * 2.0 ** max(0, tried - 1))
        if asked_s is not None:
            return asked_s + random.uniform(0, 0.1)
        return wait * random.uniform(0.5, 1.0)


@dataclass(frozen=True)
class Request:
    """One request before it is sent. `safe` means idempotent: twice has the effect of once."""

    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    json: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    safe: bool = False
    timeout_s: float | None = None

    def query(self) -> dict[str, Any]:
        """Return the query without parameters that are None."""
        return {name: value for name, value in self.params.items() if value is not None}


def get(path: str, **params: Any) -> Request:
    """Return a request that only reads."""
    return Request("GET", path, params, safe=True)


def post(path: str, **body: Any) -> Request:
    """Return a request that acts, without fields that are None. It is not retried once it was sent."""
    return Request("POST", path, json={name: value for name, value in body.items() if value is not None})


def post_once(path: str, key: str | None = None, **body: Any) -> Request:
    """Return a request that acts once however often it is sent, by an idempotency key (default: a new one)."""
    plain = post(path, **body)
    return Request("POST", path, json=plain.json, headers={"Idempotency-Key": key or str(uuid.uuid4())}, safe=True)


def segment(name: str) -> str:
    """Return an id quoted as one segment of a path. Raises ValueError for an empty one: it names another route."""
    if not name:
        raise ValueError("An id is missing: it cannot be empty.")
    return quote(name, safe="")


@dataclass(frozen=True)
class Address:
    """The service's address, the API key and the rater. `repr` never shows the key."""

    url: str
    api_key: str | None = field(default=None, repr=False)
    rater: str | None = None

    @classmethod
    def of(cls, base_url: str | None, api_key: str | None, rater: str | None) -> Address:
        """Return the address from the arguments, else from `ATTUNE_BASE_URL` and `ATTUNE_API_KEY`, else this machine.

        A trailing `/v1` is removed. Raises ValueError for an address without http:// or https://.
        """
        url = (base_url or os.environ.get("ATTUNE_BASE_URL") or DEFAULT_URL).strip().rstrip("/").removesuffix("/v1")
        if not url.startswith(("http://", "https://")):
            raise ValueError(
                f"The address {url!r} does not begin with http:// or https://; an example is {DEFAULT_URL}."
            )
        return cls(url, api_key or os.environ.get("ATTUNE_API_KEY") or None, rater)

    def headers(self) -> dict[str, str]:
        """Return the headers of every request."""
        headers = {"User-Agent": f"attune-python/{VERSION}", "Accept": "application/json"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        if self.rater:
            headers["X-Attune-Rater"] = self.rater
        return headers


def pool_settings(address: Address, timeout_s: float) -> dict[str, Any]:
    """Return the arguments for an httpx client: pooled connections, and time limits in seconds."""
    import httpx

    return {
        "base_url": address.url,
        "timeout": httpx.Timeout(timeout_s, connect=min(5.0, timeout_s)),
        "limits": httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=30.0),
    }


def is_worth_another_try(request: Request, error: Exception, retry: Retry, tried: int) -> bool:
    """Whether to send a request again: a retry is left, the failure may pass, and nothing happens twice."""
    if tried > retry.times:
        return False
    if isinstance(error, APIError):
        if (error.retry_after_s or 0.0) > retry.patience_s:
            return False
        refused = error.status in (429, 503) and error.retry_after_s is not None  # the service did not begin it
        return refused or (request.safe and error.status in (408, 429, 500, 502, 503, 504))
    never_sent = getattr(error, "never_sent", False)
    return isinstance(error, (ServiceUnreachable, Timeout)) and (never_sent or request.safe)


@contextmanager
def faults_of(address: Address) -> Iterator[None]:
    """Turn httpx's exceptions into our errors. A fault before the request was sent is marked `never_sent`."""
    import httpx

    unreachable = f"No Attune service answers at {address.url}: start one with `attune serve`, or set ATTUNE_BASE_URL."
    try:
        yield
    except (httpx.ConnectTimeout, httpx.ConnectError) as fault:
        raise _never_sent(ServiceUnreachable(unreachable)) from fault
    except httpx.PoolTimeout as fault:
        raise _never_sent(
            Timeout("All connections of this client are in use; make fewer requests at once or a longer timeout.")
        ) from fault
    except httpx.TimeoutException as fault:
        raise Timeout(
            f"{address.url} did not answer in time; try again or give the client a longer timeout."
        ) from fault
    except (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ProxyError) as fault:
        raise ServiceUnreachable(f"The connection to {address.url} broke: {fault or type(fault).__name__}.") from fault
    except httpx.InvalidURL as fault:
        raise ServiceUnreachable(f"{address.url!r} is no valid address: {fault}.") from fault
    except (httpx.HTTPError, httpx.StreamError) as fault:
        raise UnexpectedResponse(f"{address.url} does not answer like an Attune service: {fault}.") from fault


def _never_sent(error: ServiceUnreachable | Timeout) -> Exception:
    error.never_sent = True  # type: ignore[union-attr]
    return error


def raise_for_status(response: httpx.Response) -> None:
    """Raise the error for a response of status 300 and above, whose body has been read."""
    if 300 <= response.status_code < 400:
        raise UnexpectedResponse(f"The service redirects to {response.headers.get('location')!r}; use that address.")
    if response.status_code >= 400:
        raise error_from_response(response.status_code, response.headers, response.content)


def body_of(response: httpx.Response) -> Any:
    """Return the JSON body, None for an empty one. Raises UnexpectedResponse when it is no JSON."""
    if not response.content:
        return None
    try:
        return json.loads(response.content)
    except ValueError:
        raise UnexpectedResponse(f"The response of {response.url} is no JSON. Is this an Attune service?") from None


def patience(error: Exception) -> float | None:
    """Return the seconds that the service asked us to wait, None if it did not."""
    return error.retry_after_s if isinstance(error, APIError) else None

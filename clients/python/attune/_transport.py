"""How requests are made, tried again and understood: the parts that know neither sync nor async.

`httpx` is imported when the first client is made, not with `import attune`: it takes a quarter of a second where its
own command line
is installed.
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
    """How often, and after how long, a request is tried again.

    Only what is safe is tried again: requests that only read, feedback and choices (they carry an idempotency key), and
    whatever
    the service did not begin (no connection, or a refusal with `Retry-After`). `times` 0 turns it off. The n-th wait is
    `first_s` doubled n times, at most `longest_s`, shortened at random by up to a half so that clients do not come back
    together.
    A `Retry-After` up to `patience_s` is waited out; a longer one is raised at once.

    >>> attune.Client(retry=attune.Retry(times=5)).health().alive
    True
    """

    times: int = 2
    first_s: float = 0.5
    longest_s: float = 8.0
    patience_s: float = 60.0

    def wait_s(self, tried: int, asked_s: float | None = None) -> float:
        """Seconds to wait after `tried` failed attempts, or after the service asked for `asked_s`.

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
    """One request before it is sent. `safe` says that doing it twice does what doing it once does."""

    method: str
    path: str
    params: Mapping[str, Any] = field(default_factory=dict)
    json: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    safe: bool = False
    timeout_s: float | None = None

    def query(self) -> dict[str, Any]:
        """The query without what was not given."""
        return {name: value for name, value in self.params.items() if value is not None}


def get(path: str, **params: Any) -> Request:
    """A request that only reads."""
    return Request("GET", path, params, safe=True)


def post(path: str, **body: Any) -> Request:
    """A request that acts; fields that are None are left out. Not tried again once it was sent."""
    return Request("POST", path, json={name: value for name, value in body.items() if value is not None})


def post_once(path: str, key: str | None = None, **body: Any) -> Request:
    """A request that acts once however often it is sent, by its idempotency key: a new one, unless the caller has their
    own.
    """
    plain = post(path, **body)
    return Request("POST", path, json=plain.json, headers={"Idempotency-Key": key or str(uuid.uuid4())}, safe=True)


def segment(name: str) -> str:
    """An id as one segment of a path, whatever characters it has. Raises ValueError for an empty one, which would name
    another route.
    """
    if not name:
        raise ValueError("An id is missing: it cannot be empty.")
    return quote(name, safe="")


@dataclass(frozen=True)
class Address:
    """Where the service is and who we are there. The key never shows in `repr`."""

    url: str
    api_key: str | None = field(default=None, repr=False)
    rater: str | None = None

    @classmethod
    def of(cls, base_url: str | None, api_key: str | None, rater: str | None) -> Address:
        """What was given, else `ATTUNE_BASE_URL` and `ATTUNE_API_KEY`, else this machine. An address that ends in `/v1`
        is taken as well.
        """
        url = (base_url or os.environ.get("ATTUNE_BASE_URL") or DEFAULT_URL).strip().rstrip("/").removesuffix("/v1")
        if not url.startswith(("http://", "https://")):
            raise ValueError(
                f"The address {url!r} does not begin with http:// or https://; say for example {DEFAULT_URL}."
            )
        return cls(url, api_key or os.environ.get("ATTUNE_API_KEY") or None, rater)

    def headers(self) -> dict[str, str]:
        """The headers that every request carries."""
        headers = {"User-Agent": f"attune-python/{VERSION}", "Accept": "application/json"}
        if self.api_key:
            headers["Authorization"] = f"Bearer {self.api_key}"
        if self.rater:
            headers["X-Attune-Rater"] = self.rater
        return headers


def pool_settings(address: Address, timeout_s: float) -> dict[str, Any]:
    """What an httpx client is made with: pooled connections, and a limit on every wait (connecting has a shorter one of
    its own).
    """
    import httpx

    return {
        "base_url": address.url,
        "timeout": httpx.Timeout(timeout_s, connect=min(5.0, timeout_s)),
        "limits": httpx.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=30.0),
    }


def is_worth_another_try(request: Request, error: Exception, retry: Retry, tried: int) -> bool:
    """Whether to send it again: there is a try left, the failure may pass, and nothing can be done twice by it."""
    if tried > retry.times:
        return False
    if isinstance(error, APIError):
        if (error.retry_after_s or 0.0) > retry.patience_s:
            return False
        refused = error.status in (429, 503) and error.retry_after_s is not None  # the service has not begun it
        return refused or (request.safe and error.status in (408, 429, 500, 502, 503, 504))
    never_sent = getattr(error, "never_sent", False)
    return isinstance(error, (ServiceUnreachable, Timeout)) and (never_sent or request.safe)


@contextmanager
def faults_of(address: Address) -> Iterator[None]:
    """Turn what httpx raises into our errors. A fault before the request was sent is marked `never_sent`."""
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
        raise ServiceUnreachable(f"{address.url!r} is no address: {fault}.") from fault
    except (httpx.HTTPError, httpx.StreamError) as fault:
        raise UnexpectedResponse(f"{address.url} does not answer like an Attune service: {fault}.") from fault


def _never_sent(error: ServiceUnreachable | Timeout) -> Exception:
    error.never_sent = True  # type: ignore[union-attr]
    return error


def raise_for_status(response: httpx.Response) -> None:
    """Raise what a response of status 300 and above stands for; its body has been read."""
    if 300 <= response.status_code < 400:
        raise UnexpectedResponse(f"The service sends us on to {response.headers.get('location')!r}; use that address.")
    if response.status_code >= 400:
        raise error_from_response(response.status_code, response.headers, response.content)


def body_of(response: httpx.Response) -> Any:
    """The JSON body, None where there is none. Raises UnexpectedResponse for anything else."""
    if not response.content:
        return None
    try:
        return json.loads(response.content)
    except ValueError:
        raise UnexpectedResponse(
            f"{response.url} answered with something other than JSON. Is this an Attune service?"
        ) from None


def patience(error: Exception) -> float | None:
    """The seconds that the service asked us to wait, if it did."""
    return error.retry_after_s if isinstance(error, APIError) else None

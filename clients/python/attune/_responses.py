"""Responses: their JSON, and errors for refusals and for what httpx raises."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from attune._address import Address
from attune._error_parsing import error_from_response
from attune._errors import ServiceUnreachable, Timeout, UnexpectedResponse

if TYPE_CHECKING:
    import httpx


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

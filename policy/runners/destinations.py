"""Where this machine may send requests: other model servers, but no addresses that give away what a machine may do.

Clouds answer at link-local addresses with the machine's credentials. A model server is never there.
"""

import asyncio
import ipaddress
import logging
import re
import socket
import urllib.request
from typing import Any
from urllib.parse import urlsplit

import httpx

log = logging.getLogger(__name__)
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
# Metadata services outside the link-local networks: of AWS over IPv6, Alibaba, Oracle and Azure.
METADATA = {ipaddress.ip_address(text) for text in ("fd00:ec2::254", "100.100.100.200", "192.0.0.192", "168.63.129.16")}
METADATA_NAMES = (
    "metadata",
    "metadata.google.internal",
    "metadata.goog",
    "instance-data",
    "instance-data.ec2.internal",
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_NAME = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?")
_NUMBER = re.compile(r"(.*\.)?([0-9]+|0x[0-9a-f]*)\.?")  # 2130706433, 0x7f.1 and 0177.0.0.1 mean addresses to some


def check_url(url: str) -> str:
    """Return the URL of a model server. Raises ValueError for one that cannot or must not be asked."""
    split = urlsplit(url)
    try:
        host, _ = split.hostname or "", split.port
    except ValueError as error:
        raise ValueError(f"{url!r} is no URL: {error}") from error
    if split.scheme not in ("http", "https") or not host or re.search(r"[\s\\]", url):
        raise ValueError(f"a URL begins with http:// or https:// and a host, unlike {url!r}")
    if "@" in split.netloc:
        raise ValueError(f"a URL has no user or password in front of the host ({host}); keys are in the environment")
    try:
        check_address(ipaddress.ip_address(host))
        return url
    except ForbiddenAddress:
        raise
    except ValueError:
        pass
    if _NUMBER.fullmatch(host) or not _NAME.fullmatch(host):
        raise ValueError(f"{host!r} is no name; write an address as 127.0.0.1 or [::1]")
    if host.removesuffix(".") in METADATA_NAMES:
        raise ForbiddenAddress(f"{host} answers with the credentials of this machine, so it is never asked")
    return url


class ForbiddenAddress(ValueError):
    """An address that no model server has."""


def check_address(address: Address) -> None:
    """Raise ForbiddenAddress for link-local, metadata, multicast, reserved and unspecified addresses.

    An IPv4 address inside an IPv6 one counts as itself. Loopback and private networks are where model servers are.
    """
    inner = _embedded(address)
    if inner.is_unspecified:
        raise ForbiddenAddress(f"servers listen at {address}, but nobody is asked there; write 127.0.0.1 or [::1]")
    wrong = (
        inner.is_link_local
        or inner.is_multicast
        or inner in METADATA
        or (isinstance(inner, ipaddress.IPv4Address) and inner.is_reserved)
        or (isinstance(inner, ipaddress.IPv6Address) and inner.is_site_local)
    )
    if wrong:
        raise ForbiddenAddress(f"{address} is no address of a model server (link-local, metadata, multicast, ...)")


def _embedded(address: Address) -> Address:
    if isinstance(address, ipaddress.IPv4Address) or address.is_loopback or address.is_unspecified:
        return address
    if address in _NAT64 or int(address) >> 32 == 0:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else address)


class GuardedTransport(httpx.AsyncHTTPTransport):
    """Sends requests to the address that was checked, so that a second look at the name cannot give another."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host, port = request.url.host, request.url.port or (443 if request.url.scheme == "https" else 80)
        try:
            addresses = await addresses_of(host, port)
            for address in addresses:
                check_address(address)
        except (OSError, ForbiddenAddress) as error:
            log.warning("nothing is sent to %s: %s", host, error)
            raise httpx.ConnectError(f"nothing is sent to {host}: {error}", request=request) from error
        for address in addresses[:-1]:
            try:
                return await super().handle_async_request(_pinned(request, address))
            except httpx.ConnectError:
                continue  # as clients do: localhost may be ::1, and the server at 127.0.0.1
        return await super().handle_async_request(_pinned(request, addresses[-1]))


async def addresses_of(host: str, port: int) -> list[Address]:
    """Return the addresses of a host, each once. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    texts = dict.fromkeys(str(where[0]).partition("%")[0] for *_, where in found)
    return [ipaddress.ip_address(text) for text in texts]


def _pinned(request: httpx.Request, address: Address) -> httpx.Request:
    extensions = {**request.extensions, "sni_hostname": request.url.host}
    url = request.url.copy_with(host=str(address))
    return httpx.Request(request.method, url, headers=request.headers, stream=request.stream, extensions=extensions)


def guarded_client(url: str, *, limits: httpx.Limits, **options: Any) -> httpx.AsyncClient:
    """Return a client for the model server at `url`, which follows no redirects.

    Where the environment names a proxy for it, the proxy finds the address.
    """
    split = urlsplit(url)
    proxies = urllib.request.getproxies()
    has_proxy = (split.scheme in proxies or "all" in proxies) and not urllib.request.proxy_bypass(split.hostname or "")
    transport = None if has_proxy else GuardedTransport(limits=limits)
    return httpx.AsyncClient(transport=transport, limits=limits, follow_redirects=False, **options)

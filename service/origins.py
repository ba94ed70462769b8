"""Web origins: where a page in a browser comes from, as the browser says."""

import re
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")


def check_origin(origin: str) -> str:
    """Return an origin of the settings as browsers write it. Raises ValueError for anything else.

    Programs made of web pages have schemes of their own, such as app://obsidian.md.
    """
    written = origin.lower().removesuffix("/")
    if not _ORIGIN.fullmatch(written):
        raise ValueError(
            f"each origin is a scheme, a host and perhaps a port (https://chat.example), unlike {origin!r}"
        )
    scheme, _, rest = written.partition("://")
    return f"{scheme}://{rest.removesuffix(f':{_PORTS[scheme]}') if scheme in _PORTS else rest}"


def is_own_origin(origin: str, host_header: str) -> bool:
    """Whether a page of this origin was served under the Host that the request names.

    The scheme may differ: a proxy in front may end TLS.
    """
    try:
        scheme, host, port = _parts(origin.lower())
        _, own_host, own_port = _parts(f"{scheme}://{host_header.lower()}")
    except (ValueError, KeyError):
        return False
    return (host, port) == (own_host, own_port)


def _parts(origin: str) -> tuple[str, str, int]:
    """Return scheme, host and port. Raises ValueError or KeyError where this is no origin of the web."""
    split = urlsplit(origin)
    if not split.hostname or split.path or split.query or split.fragment or "@" in split.netloc:
        raise ValueError(f"{origin!r} is no origin")
    return split.scheme, split.hostname, split.port or _PORTS[split.scheme]

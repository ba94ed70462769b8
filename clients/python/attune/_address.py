"""The service's address and key, and the settings of the connections to it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

DEFAULT_URL = "http://127.0.0.1:8000"
VERSION = "0.1.0"


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

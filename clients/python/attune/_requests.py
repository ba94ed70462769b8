"""Requests before they are sent."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote


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

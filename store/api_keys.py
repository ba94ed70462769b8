"""API keys. Only a hash is stored; the key itself is shown once, when it is made."""

import hashlib
import secrets
from dataclasses import dataclass

from sqlite_utils import Database

from store.errors import UnknownKey
from store.ids import new_id, now
from store.raters import ensure_rater

SCOPES = ("chat", "feedback", "admin", "act-as")


@dataclass(frozen=True)
class ApiKey:
    """One key, without its secret. `rater_id` is the rater of requests with this key."""

    id: str
    name: str
    scopes: tuple[str, ...]
    rater_id: str
    created_at: str
    revoked_at: str | None


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()  # keys have 256 random bits, so a fast hash is enough


def _key(row: dict[str, str]) -> ApiKey:
    return ApiKey(
        row["id"], row["name"], tuple(row["scopes"].split()), row["rater_id"], row["created_at"], row["revoked_at"]
    )


def make_key(db: Database, name: str, scopes: tuple[str, ...]) -> tuple[ApiKey, str]:
    """Make a key; return it with its secret (`at-...`), which is not stored. Raises ValueError for an unknown scope."""
    wrong = [scope for scope in scopes if scope not in SCOPES]
    if wrong or not scopes:
        raise ValueError(
            f"unknown scope {wrong[0]!r}; choose from {', '.join(SCOPES)}"
            if wrong
            else "a key needs at least one scope"
        )
    secret, key_id = "at-" + secrets.token_urlsafe(32), new_id()
    ensure_rater(db, f"key:{key_id}", name)
    row = {
        "id": key_id,
        "name": name,
        "key_hash": _hash(secret),
        "scopes": " ".join(scopes),
        "rater_id": f"key:{key_id}",
        "created_at": now(),
    }
    db.table("api_keys").insert({**row, "revoked_at": None})
    return _key({**row, "revoked_at": None}), secret  # type: ignore[dict-item]


def find_key(db: Database, secret: str) -> ApiKey | None:
    """Return the key with this secret, None if it is unknown or revoked."""
    for row in db.query("SELECT * FROM api_keys WHERE key_hash = ? AND revoked_at IS NULL", [_hash(secret)]):
        return _key(row)
    return None


def is_in_use(db: Database, key_id: str) -> bool:
    """Whether there is a key with this id that was not revoked."""
    return db.table("api_keys").count_where("id = ? AND revoked_at IS NULL", [key_id]) > 0


def keys(db: Database) -> list[ApiKey]:
    """Return all keys, also revoked ones, oldest first."""
    return [_key(row) for row in db.query("SELECT * FROM api_keys ORDER BY id")]


def revoke_key(db: Database, key_id: str) -> None:
    """Revoke a key. Raises UnknownKey."""
    if (
        db.execute("UPDATE api_keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", [now(), key_id]).rowcount
        == 0
    ):
        raise UnknownKey(f"there is no key {key_id!r} in use")

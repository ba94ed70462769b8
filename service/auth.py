"""Who calls, and what they may do. A rater is whoever the API key says; without any key made, this machine's user is
the one rater.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Header, Request
from sqlite_utils import Database

from service.errors import Forbidden, Unauthorized, Unprocessable
from service.settings import is_loopback
from store.api_keys import SCOPES, ApiKey, find_key
from store.raters import can_be_rater

if TYPE_CHECKING:
    from service.app import Service

LOCAL_RATER = "local"
OPEN_WEBUI = "openwebui"  # raters of that front end: "openwebui:<its user's id>", as in its feedback


@dataclass(frozen=True)
class Caller:
    """One request's speaker: `key_id` pays for it, `rater_id` says it."""

    key_id: str
    rater_id: str
    scopes: tuple[str, ...]

    def may(self, scope: str) -> bool:
        """Whether the key has this scope."""
        return scope in self.scopes

    def speaking_as(self, rater_id: str | None, field: str) -> "Caller":
        """Return the caller in the name of an end user. Raises Forbidden without the scope, Unprocessable for a name
        that cannot be one.
        """
        if rater_id is None or rater_id == self.rater_id:
            return self
        if not self.may("act-as"):
            raise Forbidden(f"this key cannot speak for others: {field} needs the scope act-as", param=field)
        if not can_be_rater(rater_id):
            raise Unprocessable(
                f"{field}: a rater's name has 1 to 128 printable characters and no slash, unlike {rater_id[:40]!r}",
                param=field,
            )
        if rater_id.startswith("key:"):
            raise Forbidden(f"{field} cannot name another key ({rater_id!r})", param=field)
        return replace(self, rater_id=rater_id)


def service_of(request: Request) -> "Service":
    """Return the conductor that serves this request."""
    service: Service = request.app.state.service
    return service


async def identify(
    request: Request,
    authorization: Annotated[str | None, Header(include_in_schema=False)] = None,
    x_attune_rater: Annotated[
        str | None, Header(description="The end user's name; needs a key with the scope act-as.")
    ] = None,
    x_openwebui_user_id: Annotated[
        str | None, Header(description="Open WebUI's name for its user; heard from keys with the scope act-as.")
    ] = None,
) -> Caller:
    """Return the caller. Raises Unauthorized, Forbidden, and TooManyRequests past the caller's rate."""
    service = service_of(request)
    secret = authorization[7:].strip() if authorization is not None and authorization[:7].lower() == "bearer " else None
    key, is_open = await service.records.read(lambda db: _look_up(db, secret))
    if key is not None:
        caller = Caller(key.id, key.rater_id, key.scopes)
    elif is_open:
        _require_this_machine(request)
        caller = Caller(LOCAL_RATER, LOCAL_RATER, SCOPES)
    else:
        raise Unauthorized(
            "this API key is unknown or revoked"
            if secret
            else "this service wants an API key: Authorization: Bearer at-..."
        )
    service.rates.take(caller.key_id)
    if x_attune_rater is None and x_openwebui_user_id is not None and caller.may("act-as"):
        return caller.speaking_as(f"{OPEN_WEBUI}:{x_openwebui_user_id}", "X-OpenWebUI-User-Id")
    return caller.speaking_as(x_attune_rater, "X-Attune-Rater")


def allow(*scopes: str) -> Callable[[Caller], Awaitable[Caller]]:
    """Return a dependency that gives the caller if their key has one of `scopes`."""

    async def check(caller: Annotated[Caller, Depends(identify)]) -> Caller:
        if not any(caller.may(scope) for scope in scopes):
            raise Forbidden(
                f"this key lacks the scope {' or '.join(scopes)}; it has {' '.join(caller.scopes)}",
                code="missing_scope",
            )
        return caller

    return check


def _look_up(db: Database, secret: str | None) -> tuple[ApiKey | None, bool]:
    """Return the key of this secret, and whether no key was ever made."""
    key = find_key(db, secret) if secret else None
    return key, key is None and not db.table("api_keys").count


def _require_this_machine(request: Request) -> None:
    """Without keys only this machine may speak. The Host header counts too, or any web page could reach us under a name
    of its own.
    """
    peer = request.client.host if request.client else ""
    if not is_loopback(peer) or not is_loopback(request.url.hostname or ""):
        raise Forbidden(
            "this service has no API keys, so it answers this machine only, under a loopback name; make a key with: attune keys create"
        )


Anyone = Annotated[Caller, Depends(identify)]
Chatter = Annotated[Caller, Depends(allow("chat"))]
Judge = Annotated[Caller, Depends(allow("feedback"))]
Admin = Annotated[Caller, Depends(allow("admin"))]

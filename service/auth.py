"""Who calls and what they may do. A rater is whoever the API key names.

Where no key was ever made, the user of this machine is the only rater.
"""

from dataclasses import dataclass, replace

from sqlite_utils import Database

from service.errors import BadRequest, Forbidden
from store.api_keys import SCOPES, find_key, is_in_use
from store.raters import LOCAL_RATER, can_be_rater

OPEN_WEBUI = "openwebui"  # raters of that front end are "openwebui:<its user's id>", as in its feedback


@dataclass(frozen=True)
class Caller:
    """Who sent a request: `key_id` is charged for it, `rater_id` owns what it makes."""

    key_id: str
    rater_id: str
    scopes: tuple[str, ...]
    user_tag: str = ""
    """OpenAI's `user` from a key without the scope act-as: a label on answers, which gives no rights."""

    @property
    def is_local(self) -> bool:
        """Whether the caller has no key, which only this machine may do."""
        return self.key_id == LOCAL_RATER

    def may(self, scope: str) -> bool:
        """Whether the key has this scope."""
        return scope in self.scopes

    @property
    def owner_to_rate(self) -> str | None:
        """The rater whose answers the caller may rate, None for everybody's.

        An answer is rated by who asked for it, by a front end for its users (act-as), or by an admin.
        """
        return None if self.may("act-as") or self.may("admin") else self.rater_id

    @property
    def owner_to_read(self) -> str | None:
        """The rater whose rows exist for the caller, None for everybody's."""
        return None if self.may("admin") else self.rater_id

    def for_user(self, user: str | None) -> "Caller":
        """Return the caller for OpenAI's `user`: that rater with the scope act-as, else the same with a tag.

        Raises Forbidden and Unprocessable as `acting_as` does.
        """
        if not user:
            return self
        return self.acting_as(user, "user") if self.may("act-as") else replace(self, user_tag=user)

    def acting_as(self, rater_id: str | None, field: str) -> "Caller":
        """Return the caller in the name of an end user; `field` is where the request names that user.

        Raises Forbidden without the scope act-as, BadRequest for a name that cannot be a rater's.
        """
        if rater_id is None or rater_id == self.rater_id:
            return self
        if not self.may("act-as"):
            raise Forbidden(f"this key cannot speak for others: {field} needs the scope act-as", param=field)
        if not can_be_rater(rater_id):
            message = (
                f"{field}: a rater's name has 1 to 128 printable characters and no slash, unlike {rater_id[:40]!r}"
            )
            raise BadRequest(message, param=field, code="invalid_value")
        if rater_id.startswith("key:"):
            raise Forbidden(f"{field} cannot name another key ({rater_id!r})", param=field)
        if rater_id == LOCAL_RATER:
            raise Forbidden(f"{field} cannot name {rater_id!r}: its rows are of the time without keys", param=field)
        return replace(self, rater_id=rater_id)


def find_caller(db: Database, secret: str | None) -> Caller | None:
    """Return whose key this is; the local caller where no key was ever made; None for an unknown or revoked key."""
    key = find_key(db, secret) if secret else None
    if key is not None:
        return Caller(key.id, key.rater_id, key.scopes)
    return None if db.table("api_keys").count else Caller(LOCAL_RATER, LOCAL_RATER, SCOPES)


def is_still_known(db: Database, caller: Caller) -> bool:
    """Whether the caller may still call: the key was not revoked meanwhile, or there is still none."""
    return not db.table("api_keys").count if caller.is_local else is_in_use(db, caller.key_id)

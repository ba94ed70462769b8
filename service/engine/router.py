"""Which version answers: live, the canary for its share of conversations, or the one that the caller pinned. Pure."""

import hashlib
from dataclasses import dataclass

LIVE_NAME = "attune"


@dataclass(frozen=True)
class Route:
    """The version chosen, and the probability (0..1) that a new conversation gets it."""

    number: int
    propensity: float


@dataclass(frozen=True)
class Router:
    """The traffic split in force: `share` (0..1) of conversations goes to `canary`, the rest to `live`."""

    live: int
    canary: int | None = None
    share: float = 0.0

    def choose(self, conversation_id: str) -> Route:
        """Return who answers this conversation: always the same version while the split stays."""
        if self.canary is None or self.share <= 0.0:
            return Route(self.live, 1.0)
        if _point(self.canary, conversation_id) < self.share:
            return Route(self.canary, self.share)
        return Route(self.live, 1.0 - self.share)

    def serves(self, number: int) -> bool:
        """Whether new conversations may get this version."""
        return number == self.live or (number == self.canary and self.share > 0.0)

    def share_of(self, number: int) -> float:
        """Return the share of new conversations that this version gets, 0..1."""
        if number == self.canary:
            return self.share
        return 1.0 - (self.share if self.canary is not None else 0.0) if number == self.live else 0.0


def pinned_number(model: str) -> int | None:
    """Return N of the name `attune@N`, None for any other name."""
    base, _, number = model.partition("@")
    return int(number) if base == LIVE_NAME and number.isascii() and number.isdecimal() and len(number) < 10 else None


def version_name(number: int) -> str:
    """Return the name under which a version is asked for and answers."""
    return f"{LIVE_NAME}@{number}"


def _point(canary: int, conversation_id: str) -> float:
    """Return a hash of both as a number in 0..1, so that each canary is tried on other conversations."""
    digest = hashlib.sha256(f"{canary}:{conversation_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64

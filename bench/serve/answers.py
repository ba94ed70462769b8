"""What a client asks, and what it sees of an answer. Times are seconds of the monotonic clock."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any


class ServerFailed(RuntimeError):
    """A server did not start, refused a request, or gave another answer than was asked for."""


@dataclass(frozen=True)
class Ask:
    """One request: a conversation, how many tokens its answer has at most, and the seed."""

    messages: list[dict[str, str]]
    max_tokens: int
    seed: int = 0


@dataclass(frozen=True)
class Answer:
    """One answer as it came: when it was asked, and when each chunk with text arrived."""

    began: float
    arrivals: tuple[float, ...]
    tokens: int
    prompt_tokens: int
    text: str = ""

    @property
    def first_s(self) -> float:
        """Seconds from the request to the first chunk with text."""
        return self.arrivals[0] - self.began

    @property
    def gaps_s(self) -> list[float]:
        """Seconds between chunks that follow each other."""
        return [later - earlier for earlier, later in pairwise(self.arrivals)]

    def to_json(self) -> dict[str, Any]:
        """Return the answer as JSON values."""
        return dict(vars(self))

    @classmethod
    def of_json(cls, values: dict[str, Any]) -> "Answer":
        """Return the answer that `to_json` wrote."""
        return cls(**{**values, "arrivals": tuple(values["arrivals"])})

"""How fast the runners were on two models: what counts until `attune runners --measure` has measured this machine."""

from collections.abc import Mapping
from dataclasses import dataclass

Rates = dict[str, float]  # tokens per second of so many streams together, and 1 / seconds to the first token
STREAMS = (1, 8, 32)


def streams_row(count: int) -> str:
    """Return the name of the row of so many answers at once."""
    return "1 stream" if count == 1 else f"{count} streams"


NEXT_TURN = "next turn"
ROWS = (*(streams_row(count) for count in STREAMS), NEXT_TURN)


@dataclass(frozen=True)
class Measured:
    """The rates of each engine for one model on one machine."""

    model: str
    num_weights: int
    quantize: str
    machine: str
    rates: Mapping[str, Rates]


TABLE = (
    Measured(
        "pocket",
        5_600_000,
        "none",
        "two CPUs with AVX-512",
        {
            "openvino": {"1 stream": 526.0, "8 streams": 1560.0, "32 streams": 2300.0, NEXT_TURN: 16.6},
            "llamacpp": {"1 stream": 431.0, "8 streams": 630.0, "32 streams": 679.0, NEXT_TURN: 60.4},
        },
    ),
)

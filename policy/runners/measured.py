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


# `attune runners --model pocket --measure` and `--model smollm2 --measure`, on two CPUs of an AMD EPYC with AVX-512
# without other work, with OpenVINO 2026.4.1 and xllamacpp 2026.10.11549. "next turn" is 1 / seconds to the first token.
TABLE = (
    Measured(
        "pocket",
        5_600_000,
        "none",
        "an x86 processor with AVX-512",
        {
            "openvino": {"1 stream": 1745.0, "8 streams": 3492.0, "32 streams": 3871.0, NEXT_TURN: 211.0},
            "llamacpp": {"1 stream": 1095.0, "8 streams": 991.0, "32 streams": 925.0, NEXT_TURN: 116.0},
        },
    ),
    Measured(
        "smollm2",
        134_515_008,
        "none",
        "an x86 processor with AVX-512",
        {
            "openvino": {"1 stream": 90.9, "8 streams": 230.0, "32 streams": 278.0, NEXT_TURN: 20.4},
            "llamacpp": {"1 stream": 86.2, "8 streams": 75.5, "32 streams": 67.9, NEXT_TURN: 7.92},
        },
    ),
)

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


# Medians of `policy.runners.calibration` with one thread, per second of CPU time instead of time, since the machine had
# other work: two CPUs of an AMD EPYC with AVX-512, OpenVINO 2026.4.1 and xllamacpp 2026.10.11549.
TABLE = (
    Measured(
        "pocket",
        5_600_000,
        "none",
        "an x86 processor with AVX-512",
        {
            "openvino": {"1 stream": 652.0, "8 streams": 1671.0, "32 streams": 2014.0, NEXT_TURN: 79.2},
            "llamacpp": {"1 stream": 450.0, "8 streams": 583.0, "32 streams": 490.0, NEXT_TURN: 54.2},
        },
    ),
    Measured(
        "smollm2",
        134_515_008,
        "none",
        "an x86 processor with AVX-512",
        {
            "openvino": {"1 stream": 49.0, "8 streams": 102.5, "32 streams": 134.5, NEXT_TURN: 10.7},
            "llamacpp": {"1 stream": 52.7, "8 streams": 47.8, "32 streams": 38.9, NEXT_TURN: 4.28},
        },
    ),
)

"""The results: one cell for each server, scenario and round, kept as soon as it ends, and ratios over rounds."""

import itertools
import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.record import quantiles
from bench.serve.answers import Answer

Cell = dict[str, Any]
Key = tuple[str, str, str, int]
KEY = ("group", "server", "scenario", "round")
OURS, AUTO = "attune ", "attune auto"


def key_of(cell: Cell) -> Key:
    """Return what a cell is about."""
    group, server, scenario, number = (cell[name] for name in KEY)
    return group, server, scenario, number


class Results:
    """The file of results. A bench that is started again goes on where it ended."""

    def __init__(self, path: Path, head: dict[str, Any]) -> None:
        """Open the file; `head` is what describes the run, and replaces what the file says of it."""
        self.path = path
        before = json.loads(path.read_text()) if path.exists() else {}
        self._cells: dict[Key, Cell] = {key_of(cell): cell for cell in before.get("cells", ())}
        self._starts: dict[str, Any] = before.get("starts", {})
        self._failures: list[dict[str, Any]] = before.get("failures", [])
        self._head = head

    def __contains__(self, key: Key) -> bool:
        return key in self._cells

    def add(self, cell: Cell) -> None:
        """Keep a cell, and write the file."""
        self._cells[key_of(cell)] = cell
        self.write()

    def add_start(self, group: str, server: str, seen: dict[str, Any]) -> None:
        """Keep how a server started."""
        self._starts.setdefault(group, {})[server] = seen

    def add_failure(self, key: Key, error: str) -> None:
        """Print why there is no such cell, and keep the first line of it: a server's log may name paths."""
        failure = {**dict(zip(KEY, key, strict=True)), "error": error.partition("\n")[0]}
        self._failures.append(failure)
        print("FAILED", *key, error, flush=True)
        self.write()

    def write(self) -> None:
        """Write the file, whole or not at all."""
        cells = sorted(self._cells.values(), key=key_of)
        ended = {"starts": self._starts, "failures": self._failures, "ratios": ratios(cells), "cells": cells}
        temporary = self.path.with_name(f".{self.path.name}")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps({**self._head, **ended}, indent=1, ensure_ascii=False)
        temporary.write_text(text + "\n")
        temporary.replace(self.path)


def numbers_of(turns: Sequence[Sequence[Answer]]) -> Cell:
    """Return what clients saw of the answers, turn by turn; the gaps and first tokens are those of the last turn."""
    answers, last = [answer for turn in turns for answer in turn], turns[-1]
    seconds = sum(max(one.arrivals[-1] for one in turn) - min(one.began for one in turn) for turn in turns)
    tokens = sum(answer.tokens for answer in answers)
    gaps = [gap for answer in last for gap in answer.gaps_s]
    found: Cell = {
        "tokens": tokens,
        "prompt_tokens": sum(answer.prompt_tokens for answer in answers),
        "chunks": sum(len(answer.arrivals) for answer in answers),
        "seconds": round(seconds, 4),
        "tokens_per_s": round(tokens / seconds, 2),
        "first_ms": _ms(quantiles([answer.first_s for answer in last])),
        "gap_ms": _ms(quantiles(gaps)) if gaps else {},
    }
    if len(turns) > 1:
        found["first_turn_ms"] = round(1000 * turns[0][0].first_s, 2)
    return found


def _ms(values: dict[str, float]) -> dict[str, float]:
    return {name: round(1000 * value, 2) for name, value in values.items()}


MEASURES = {
    "tokens_per_s": lambda cell: cell["tokens_per_s"],
    "first_ms": lambda cell: cell["first_ms"]["median"],
    "gap_p99_ms": lambda cell: cell["gap_ms"].get("p99", 0.0),
    "cpu_ms_per_token": lambda cell: cell["cpu_ms_per_token"],
}


def ratios(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Return ours over the peer's, round by round: median, least and most, for each pair of servers and scenario."""
    rounds: dict[tuple[str, str], dict[str, dict[int, Cell]]] = {}
    for cell in cells:
        rounds.setdefault((cell["group"], cell["scenario"]), {}).setdefault(cell["server"], {})[cell["round"]] = cell
    found = []
    for (group, scenario), servers in rounds.items():
        for ours, peer in filter(_is_pair, itertools.permutations(servers, 2)):
            both = sorted(servers[ours].keys() & servers[peer].keys())
            pairs = [(servers[ours][number], servers[peer][number]) for number in both]
            if pairs:
                about = {"group": group, "scenario": scenario, "ours": ours, "peer": peer, "rounds": len(pairs)}
                found.append(about | {name: spread(pairs, measure) for name, measure in MEASURES.items()})
    return found


def _is_pair(names: tuple[str, str]) -> bool:
    """Whether one of ours meets a peer, or the runner that is chosen by itself another of ours."""
    ours, peer = names
    return ours.startswith(OURS) and (not peer.startswith(OURS) or ours.startswith(AUTO))


def spread(pairs: Sequence[tuple[Cell, Cell]], measure: Any) -> dict[str, float]:
    """Return median, least and most of the ratio of a measure."""
    values = [measure(ours) / measure(peer) for ours, peer in pairs if measure(peer)]
    if not values:
        return {}
    found = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: round(value, 3) for name, value in found.items()}

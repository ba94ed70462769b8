"""The section on serving beside other servers, and its picture. `docs/benchmarks_page.py` writes both."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

Numbers = dict[str, Any]
PICTURE = Path(__file__).parent / "pictures" / "serving.svg"
OURS, AUTO = "attune ", "attune auto"
SECOND = "second turn"
GROUPS = {
    "smollm2-f16": "SmolLM2-135M-Instruct, weights of 16 bits",
    "smollm2-q8_0": "SmolLM2-135M-Instruct, weights of 8 bits",
    "pocket": "pocket, the bundled model",
    "random-0.5b": "A Llama of 0.49 billion random weights",
}
NOTES = {
    "vLLM": "`vLLM` computes in bfloat16, its own choice for a processor.",
    "OpenVINO GenAI": "`OpenVINO GenAI` is the library in a process, without HTTP. By itself it computes in bfloat16 "
    "where the processor can, and rounds activations to 8 bits. With `float32` it has the settings of Attune's runner.",
    "transformers serve": "`transformers serve` runs with `--continuous-batching`.",
}
COLUMNS = ("", "server", "tokens/s", "first token, ms", "gap p50, p99, ms", "CPU ms per token", "MiB")
BETTER = """The better of Attune's runners, divided by each peer.
With 1, 8 and 32 streams the ratio is that of tokens per second: above 1 Attune is faster.
In the second turn it is that of the wait for the first token: below 1 Attune is faster.
`attune auto` is the runner that Attune chooses by itself, divided by the better one."""
HEAD = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"
  font-family="system-ui, sans-serif" font-size="13">
  <title>Tokens per second of Attune and other servers, and their wait for the first token of a second turn</title>
  <style>
    .peer {{ fill: #a9b1ad; }}
    .ours {{ fill: #0f6b5c; }}
    .spread {{ stroke: #15201d; stroke-width: 1; }}
    .name {{ fill: #15201d; font-weight: 600; }}
    .text {{ fill: #4b5652; font-size: 12px; }}
    @media (prefers-color-scheme: dark) {{
      .peer {{ fill: #5c6661; }}
      .ours {{ fill: #62d0b8; }}
      .spread {{ stroke: #eef2f0; }}
      .name {{ fill: #eef2f0; }}
      .text {{ fill: #b4bdb9; }}
    }}
  </style>"""
# the picture's sizes in pixels
WIDTH, LABELS, COLUMN, BAR, ROW, TITLE = 980, 190, 190, 12, 21, 54


def section(numbers: Numbers, origin: str, table: Callable[[Sequence[str], Sequence[Sequence[object]]], str]) -> str:
    """Return the section; `table` writes a Markdown table."""
    cells, sampling = numbers["cells"], ", ".join(f"{key} {value}" for key, value in numbers["sampling"].items())
    idle, client = (max(cell[name] for cell in cells) for name in ("others_cpu", "client_cpu"))
    parts = [
        "## Serving beside other servers",
        f"""Every server gets the same weights: a copy in which no control token is ever sampled. So every answer has
as many tokens as it may. All servers of a table run at once, and idle ones wait. A round asks one after the other.
The order changes with each round. Clients stream chat over HTTP ({sampling}), and the learner is off.
The second turn is that of a conversation of about 1,800 tokens, where the model's context holds one.
CPU time is that of all of a server's processes. Memory is theirs too, with shared pages in parts (PSS).
A cell is the median of the rounds. Brackets hold the least and the most.
Meanwhile the idle servers together took at most {idle:.1%} of a processor, and the clients {client:.1%}.""",
        origin,
        "![Tokens per second of each server, and the wait for a second turn](pictures/serving.svg)",
    ]
    for group, title in GROUPS.items():
        if found := [cell for cell in cells if cell["group"] == group]:
            parts += [
                f"### {title}",
                table(COLUMNS, _rows(found)),
                BETTER,
                table(("", "Attune", "peer", "ratio", "CPU time, ratio"), list(_ratios(numbers["ratios"], found))),
            ]
    parts += [
        f"`{one['server']}` failed in {one['group']}: {one['error'].splitlines()[0]}." for one in _failures(numbers)
    ]
    servers = {cell["server"].partition(",")[0] for cell in cells}
    parts.append(" ".join(note for name, note in NOTES.items() if name in servers))
    return "\n\n".join(part for part in parts if part)


def _failures(numbers: Numbers) -> list[Numbers]:
    """Return the failures of servers without a single cell in their group."""
    measured = {(cell["group"], cell["server"]) for cell in numbers["cells"]}
    return [one for one in numbers.get("failures", ()) if (one["group"], one["server"]) not in measured]


def _rows(cells: Sequence[Numbers]) -> list[Sequence[object]]:
    rows: list[Sequence[object]] = []
    for scenario, servers in _by_scenario(cells).items():
        for server, found in servers.items():
            first = [cell["first_ms"]["median"] for cell in found]
            gaps = [_median(cell["gap_ms"].get(name, 0.0) for cell in found) for name in ("median", "p99")]
            cpu, memory = (_median(cell[name] for cell in found) for name in ("cpu_ms_per_token", "memory_mib"))
            speed, gap = _spread([cell["tokens_per_s"] for cell in found]), f"{gaps[0]:.3g}, {gaps[1]:.3g}"
            rows.append((scenario, f"`{server}`", speed, _spread(first), gap, f"{cpu:.3g}", f"{memory:.0f}"))
    return rows


def _ratios(ratios: Sequence[Numbers], cells: Sequence[Numbers]) -> Iterator[Sequence[object]]:
    """Yield a row for each peer and scenario, of the better of our runners there, and one of `auto` beside it."""
    for scenario, servers in _by_scenario(cells).items():
        best = best_of_ours(scenario, servers)
        for one in ratios:
            is_here = (one["group"], one["scenario"]) == (cells[0]["group"], scenario)
            if is_here and (
                one["ours"] == best != one["peer"] or (one["ours"].startswith(AUTO) and one["peer"] == best)
            ):
                measured = one["first_ms" if scenario == SECOND else "tokens_per_s"]
                yield (
                    scenario,
                    f"`{one['ours']}`",
                    f"`{one['peer']}`",
                    _ratio(measured),
                    _ratio(one["cpu_ms_per_token"]),
                )


def best_of_ours(scenario: str, servers: dict[str, list[Numbers]]) -> str | None:
    """Return our runner with most tokens per second, or with the shortest wait in a second turn; None without any."""
    runners = {name: found for name, found in servers.items() if is_ours(name) and not name.startswith(AUTO)}
    ours = {name: _median(_value(scenario, cell) for cell in found) for name, found in runners.items()}
    return (min if scenario == SECOND else max)(ours, key=ours.__getitem__, default=None)


def is_ours(server: str) -> bool:
    """Whether a server is Attune with one of its runners."""
    return server.startswith(OURS)


def _value(scenario: str, cell: Numbers) -> float:
    return float(cell["first_ms"]["median"] if scenario == SECOND else cell["tokens_per_s"])


def _by_scenario(cells: Sequence[Numbers]) -> dict[str, dict[str, list[Numbers]]]:
    """Return cells by scenario and server: ours first, and in the order of speed with one client."""
    found: dict[str, dict[str, list[Numbers]]] = {}
    for cell in cells:
        found.setdefault(cell["scenario"], {}).setdefault(cell["server"], []).append(cell)
    order = {"1 stream": 0, "8 streams": 1, "32 streams": 2, SECOND: 3}
    return {
        scenario: dict(sorted(found[scenario].items(), key=lambda one: (not is_ours(one[0]), one[0])))
        for scenario in sorted(found, key=lambda name: order.get(name, 9))
    }


def picture(numbers: Numbers) -> str:
    """Return the picture as SVG: a panel for each model, a column for each scenario, a bar for each server."""
    parts: list[str] = []
    top = 10
    for group, title in GROUPS.items():
        cells = [cell for cell in numbers["cells"] if cell["group"] == group]
        if cells:
            panel, height = _panel(title, _by_scenario(cells), top)
            parts += panel
            top += height
    return "\n".join([HEAD.format(width=WIDTH, height=top), *parts, "</svg>"]) + "\n"


def _panel(title: str, scenarios: dict[str, dict[str, list[Numbers]]], top: int) -> tuple[list[str], int]:
    """Return the elements of one model's panel, and its height."""
    names = list(dict.fromkeys(name for servers in scenarios.values() for name in servers))
    parts = [f'  <text class="name" x="8" y="{top + 16}">{escape(title)}</text>']
    for row, name in enumerate(names):
        middle = top + TITLE + ROW * row + BAR - 2
        parts.append(f'  <text class="text" x="{LABELS - 8}" y="{middle}" text-anchor="end">{escape(name)}</text>')
    for column, (scenario, servers) in enumerate(scenarios.items()):
        left = LABELS + column * (COLUMN + 8)
        unit = "first token, ms" if scenario == SECOND else "tokens/s"
        parts.append(f'  <text class="text" x="{left}" y="{top + 40}">{scenario}: {unit}</text>')
        values = {name: [_value(scenario, cell) for cell in found] for name, found in servers.items()}
        scale = (COLUMN - 56) / max(max(found) for found in values.values())
        for row, name in enumerate(names):
            if name in values:
                parts += _bar(left, top + TITLE + ROW * row, values[name], scale, is_ours(name))
    return parts, TITLE + ROW * len(names) + 22


def _bar(left: int, top: int, values: list[float], scale: float, ours: bool) -> list[str]:
    middle, y = statistics.median(values), top + BAR / 2
    low, high = left + scale * min(values), left + scale * max(values)
    kind, text = "ours" if ours else "peer", max(high, left + scale * middle) + 5
    return [
        f'  <rect class="{kind}" x="{left}" y="{top}" width="{scale * middle:.1f}" height="{BAR}"/>',
        f'  <line class="spread" x1="{low:.1f}" y1="{y}" x2="{high:.1f}" y2="{y}"/>',
        f'  <text class="text" x="{text:.1f}" y="{top + BAR - 2}">{_short(middle)}</text>',
    ]


def _median(values: Any) -> float:
    return float(statistics.median(list(values)))


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _spread(values: Sequence[float]) -> str:
    return f"{_short(_median(values))} ({_short(min(values))} to {_short(max(values))})"


def _ratio(values: Numbers) -> str:
    return f"{values['median']:.2f} ({values['min']:.2f} to {values['max']:.2f})" if values else ""

"""For all tests: threads that wait do not spin, and the last lines of a run show the seconds per room."""

import os
from collections import defaultdict
from collections.abc import Generator, Mapping

import pytest

# Set before torch is loaded. Threads that spin while they wait for a busy core made a test file take 177 s, not 25 s.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
_seconds: dict[str, float] = defaultdict(float)
_tests: dict[str, int] = defaultdict(int)


def room_of(nodeid: str) -> str:
    """Return the room of a test: the folder under tests/, or the file's name where it lies in tests/ itself."""
    parts = nodeid.split("::")[0].split("/")
    room = parts[1] if parts[0] == "tests" and len(parts) > 1 else parts[0]
    return room.removesuffix(".py")


def lines_of(seconds: Mapping[str, float], tests: Mapping[str, int]) -> list[str]:
    """Return the table, the slowest room first, with the sum in its last line."""
    ordered = sorted(seconds, key=lambda room: (-seconds[room], room))
    rows = [(room, seconds[room], tests[room]) for room in ordered]
    rows.append(("all", sum(seconds.values()), sum(tests.values())))
    return [f"{room:<14} {took:8.1f} s  {count:5} tests" for room, took, count in rows]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add one phase of a test (setup, call or teardown) to its room."""
    room = room_of(report.nodeid)
    _seconds[room] += report.duration
    _tests[room] += report.when == "setup"


@pytest.hookimpl(wrapper=True, tryfirst=True)  # the outermost wrapper: skipped and failed tests are listed before
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Generator[None, None, None]:
    """Print the seconds per room."""
    yield
    if _seconds:
        terminalreporter.section("seconds per room")
        for line in lines_of(_seconds, _tests):
            terminalreporter.write_line(line)

"""How many threads compute a step, by what steps take: more threads are slower where others use the processors.

Threads of one step meet hundreds of times. Each waits for the slowest, which is one that waits for a processor.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter

REMEMBERED = 5  # steps of a number of threads, of which the median counts
TRIES = 3  # steps in a row that try another number
EVERY = 60  # steps between two tries


@dataclass
class _Kind:
    """Steps of about the same size: how long they took, by number of threads, and what comes next."""

    took: dict[int, deque[float]] = field(default_factory=dict)
    planned: list[int] = field(default_factory=list)
    steps: int = 0
    tries: int = 0


class ThreadChoice:
    """Chooses among 1, half and all of `most` threads for each step, or always `most`. Sizes of steps count apart."""

    def __init__(self, most: int, *, is_fixed: bool = False, clock: Callable[[], float] = perf_counter) -> None:
        self.numbers = [most] if is_fixed else sorted({1, max(1, most // 2), most}, reverse=True)
        self._clock = clock
        self._kinds: dict[int, _Kind] = {}

    def run(self, rows: int, step: Callable[[int], int]) -> int:
        """Call `step` with the number of threads for a step of `rows` tokens; return what it returns."""
        if len(self.numbers) == 1:
            return step(self.numbers[0])
        kind = self._kinds.setdefault(rows.bit_length(), _Kind())
        threads = self._next(kind)
        began = self._clock()
        code = step(threads)
        kind.took.setdefault(threads, deque(maxlen=REMEMBERED)).append((self._clock() - began) / rows)
        return code

    def fastest(self, rows: int) -> int:
        """Return the number that was fastest for steps of this size, all threads at first."""
        kind = self._kinds.get(rows.bit_length(), _Kind())
        return min(kind.took, key=lambda number: median(kind.took[number]), default=self.numbers[0])

    def _next(self, kind: _Kind) -> int:
        """Return the number for the next step: each is tried at first, and then one of the others now and then."""
        if kind.steps == 0:
            kind.planned = [number for number in self.numbers for _ in range(TRIES)]
        elif kind.steps % EVERY == 0:
            best = min(kind.took, key=lambda number: median(kind.took[number]))
            others = [number for number in self.numbers if number != best]
            kind.planned = [others[kind.tries % len(others)]] * TRIES
            kind.tries += 1
        kind.steps += 1
        if kind.planned:
            return kind.planned.pop(0)
        return min(kind.took, key=lambda number: median(kind.took[number]))

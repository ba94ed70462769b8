"""The number of threads follows how long steps take, and others are tried seldom."""

from collections import Counter

import pytest

from policy.runners.thread_choice import EVERY, TRIES, ThreadChoice


class Machine:
    """Steps take `seconds[threads]`; `taken` are the numbers of threads in order."""

    def __init__(self, seconds: dict[int, float]) -> None:
        self.now, self.seconds = 0.0, seconds
        self.taken: list[int] = []

    def clock(self) -> float:
        return self.now

    def step(self, threads: int) -> int:
        self.taken.append(threads)
        self.now += self.seconds[threads]
        return 0


def steps(choice: ThreadChoice, machine: Machine, count: int, rows: int = 1) -> Counter[int]:
    """Take some steps; return how often each number of threads was taken."""
    before = len(machine.taken)
    for _ in range(count):
        assert choice.run(rows, machine.step) == 0
    return Counter(machine.taken[before:])


def test_the_fastest_number_is_taken_and_the_others_are_tried_now_and_then() -> None:
    machine = Machine({4: 1.0, 2: 1.5, 1: 3.0})
    choice = ThreadChoice(4, clock=machine.clock)
    assert choice.fastest(1) == 4
    steps(choice, machine, 3 * TRIES)
    taken = steps(choice, machine, 10 * EVERY)
    assert taken[4] >= 10 * (EVERY - TRIES)
    assert taken[1] >= 2 * TRIES
    assert taken[2] >= 2 * TRIES


def test_it_changes_when_others_come_to_use_the_processors_and_back_when_they_leave() -> None:
    machine = Machine({2: 1.0, 1: 1.3})
    choice = ThreadChoice(2, clock=machine.clock)
    steps(choice, machine, 3 * EVERY)
    assert choice.fastest(1) == 2
    machine.seconds = {2: 9.0, 1: 2.0}
    steps(choice, machine, EVERY + 2 * TRIES)
    assert choice.fastest(1) == 1
    assert steps(choice, machine, EVERY)[1] >= EVERY - 2 * TRIES
    machine.seconds = {2: 1.0, 1: 1.3}
    steps(choice, machine, 2 * EVERY + 2 * TRIES)
    assert choice.fastest(1) == 2


def test_steps_of_another_size_count_apart() -> None:
    small, large = Machine({2: 2.0, 1: 1.0}), Machine({2: 8.0, 1: 16.0})
    choice = ThreadChoice(2, clock=lambda: small.now + large.now)
    steps(choice, small, EVERY)
    steps(choice, large, EVERY, rows=16)
    assert (choice.fastest(1), choice.fastest(16)) == (1, 2)


@pytest.mark.parametrize("choice", [ThreadChoice(1), ThreadChoice(3, is_fixed=True)])
def test_a_number_that_somebody_set_stays(choice: ThreadChoice) -> None:
    machine = Machine({1: 1.0, 3: 1.0})
    assert steps(choice, machine, 3 * EVERY) == {choice.numbers[0]: 3 * EVERY}

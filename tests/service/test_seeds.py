"""Seeds: the same seed gives the same answer, and no two generations of one request share one."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policy.array_sampler import uniform_number
from service.http.schemas import ChatBody
from service.local_answer import NEXT_SEED, SEEDS
from tests.service.running import Running

MESSAGES: Any = [{"role": "user", "content": "Hello!"}]
ANY_SEED = st.integers(-(2**63), 2**63 - 1)


@given(ANY_SEED, st.integers(0, 511), st.integers(0, 511))
def test_generations_of_one_request_never_share_a_seed(seed: int, one: int, other: int) -> None:
    kept = ChatBody(model="attune", messages=MESSAGES, seed=seed).sampling().seed
    assert kept is not None
    seeds = [(kept + index * NEXT_SEED) % SEEDS for index in (one, other)]
    assert all(0 <= each < SEEDS for each in seeds)
    assert (one == other) == (seeds[0] == seeds[1])
    assert (one == other) == (seeds[0] % 2**31 == seeds[1] % 2**31)  # what OpenVINO takes of it


@given(ANY_SEED, st.integers(0, 10_000))
def test_numbers_from_a_seed_are_the_same_and_in_range(seed: int, step: int) -> None:
    assert uniform_number(seed, step) == uniform_number(seed, step)
    assert 0.0 <= uniform_number(seed, step) < 1.0


@given(seed=ANY_SEED, n=st.integers(1, 4), stop=st.sampled_from([None, "-5", ["w", "9"]]))
@settings(max_examples=25, deadline=None)
def test_a_request_with_a_seed_is_answered_the_same_again_streamed_or_not(
    shared: Running, seed: int, n: int, stop: Any
) -> None:
    ask = {"seed": seed, "n": n, **({"stop": stop} if stop else {})}
    first, again = (shared.chat("Hello!", **ask) for _ in range(2))
    assert first["choices"] == again["choices"]
    texts = [choice["message"]["content"] for choice in first["choices"]]
    assert not stop or not any(one in text for one in ([stop] if isinstance(stop, str) else stop) for text in texts)
    chunks = list(
        shared.openai().chat.completions.create(model="attune", messages=MESSAGES, stream=True, extra_body=ask)
    )
    streamed = [
        "".join(c.delta.content or "" for chunk in chunks for c in chunk.choices if c.index == index)
        for index in range(n)
    ]
    assert streamed == texts


@pytest.mark.parametrize("seed", [2**63, -(2**63) - 1, 1.5, "seven"])
def test_a_seed_that_is_none_is_refused_by_name(shared: Running, seed: object) -> None:
    answer = shared.http.post("/v1/chat/completions", json={"model": "attune", "messages": MESSAGES, "seed": seed})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "seed")

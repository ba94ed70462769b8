"""Completions keep what was sampled, to the last bit of float32."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlite_utils import Database

from store.blobs import pack_ids, pack_logps, unpack_ids, unpack_logps
from store.completions import (
    Completion,
    add_completions,
    completions_of_conversation,
    completions_with_texts,
    get_completion,
    recent_prompts,
)
from store.errors import UnknownCompletion


def test_a_completion_comes_back_as_it_was_written(db: Database, make_completion: Callable[..., Completion]) -> None:
    kept = make_completion("x", choice=3)
    assert get_completion(db, "x", 3) == kept
    assert completions_of_conversation(db, "talk") == [kept]
    with pytest.raises(UnknownCompletion, match="'x' with a choice 0"):
        get_completion(db, "x")


def test_recent_prompts_are_distinct_and_newest_first(db: Database, make_completion: Callable[..., Completion]) -> None:
    for prompt in ((1,), (2,), (1,), (3,)):
        make_completion(prompt_ids=prompt)
    make_completion(prompt_ids=(4,), version=None)
    assert [completion.prompt_ids for completion in recent_prompts(db, 2)] == [[3], [1]]


@pytest.mark.parametrize("space", ["\n", "\t", " ", "\r\n", "\u3000", "\xa0"])
def test_completions_are_found_whatever_spaces_are_around_them(
    db: Database, make_completion: Callable[..., Completion], space: str
) -> None:
    add_completions(
        db,
        [
            replace(make_completion("x"), id="y", text=f"{space}a\nb{space}"),
            replace(make_completion("z"), id="other", text="ab"),
        ],
    )
    assert [found.id for found in completions_with_texts(db, ["a\nb"])] == ["y"]


@given(st.lists(st.integers(0, 2**32 - 1)), st.lists(st.floats(width=32, allow_nan=False)))
def test_blobs_lose_nothing(ids: list[int], logps: list[float]) -> None:
    assert unpack_ids(pack_ids(ids)) == ids
    assert unpack_logps(pack_logps(logps)) == logps

"""Feedback and comparisons."""

from typing import Any

import pytest

import attune
from tests.sdk.conftest import Either
from tests.sdk.fake_service import FakeService


def test_each_of_n_answers_takes_its_own_feedback(either: Either, client: Any, fake: FakeService) -> None:
    answer = either.get(client.chat("Hello!", n=3))
    feedback = either.get(answer.choices[2].rate("down"))
    assert (feedback.completion_id, feedback.choice) == (answer.id, 2)
    either.get(answer.choices[1].prefer_over(answer.choices[2]))
    assert fake.seen[-1].body["choice"] == 1
    assert fake.seen[-1].body["preferred_over"] == {"completion_id": answer.id, "choice": 2}


@pytest.mark.parametrize(
    ("give", "body"),
    [
        (
            lambda answer: answer.rate("up", reason="clear", comment="Good."),
            {"thumb": "up", "reason": "clear", "comment": "Good."},
        ),
        (lambda answer: answer.score(0.0), {"score": 0.0}),
        (lambda answer: answer.correct("12"), {"correction": "12"}),
    ],
)
def test_feedback_holds_one_value_and_carries_a_key(
    either: Either, client: Any, fake: FakeService, give: Any, body: dict[str, Any]
) -> None:
    answer = either.get(client.chat("Hello!"))
    either.get(give(answer))
    seen = fake.requests("/v1/feedback")[-1]
    assert seen.body == {"completion_id": answer.id, "choice": 0, **body}
    assert len(seen.headers["idempotency-key"]) >= 32


def test_two_thumbs_have_two_keys(either: Either, client: Any, fake: FakeService) -> None:
    answer = either.get(client.chat("Hello!"))
    either.get(answer.rate("up"))
    either.get(answer.rate("up"))
    keys = {seen.headers["idempotency-key"] for seen in fake.requests("/v1/feedback")}
    assert len(keys) == 2


def test_a_key_of_ones_own_makes_a_program_repeatable(either: Either, client: Any) -> None:
    answer = either.get(client.chat("Hello!"))
    first = either.get(client.feedback(answer.id, thumb="up", idempotency_key="mine"))
    again = either.get(client.feedback(answer.id, thumb="up", idempotency_key="mine"))
    assert again.id == first.id
    with pytest.raises(attune.Conflict):
        either.get(client.feedback(answer.id, thumb="down", idempotency_key="mine"))


def test_a_comparison_is_blind_until_one_chooses(either: Either, client: Any, fake: FakeService) -> None:
    comparison = either.get(client.compare("Tell me a joke.", temperature=0.9, max_tokens=32))
    assert "attune@" not in repr(comparison)
    assert [side.label for side in comparison.candidates] == ["A", "B"]
    choice = either.get(comparison.choose("B", reason="too_long", comment="Long."))
    assert choice.models == {"A": "attune@1", "B": "attune@0"}
    assert choice.winning_model == "attune@0"
    seen = fake.requests("/choice")[-1]
    assert seen.body == {"winner": "B", "reason": "too_long", "comment": "Long."}
    assert seen.headers["idempotency-key"]
    assert fake.requests("/v1/comparisons")[0].body["max_tokens"] == 32


def test_lists_go_on_over_pages(either: Either, client: Any, fake: FakeService) -> None:
    answer = either.get(client.chat("Hello!"))
    given = [either.get(answer.rate("up")).id for _ in range(5)]
    assert [one.id for one in either.get(client.list_feedback())] == given[::-1]
    assert len(fake.requests("/v1/feedback")) == 5 + 3

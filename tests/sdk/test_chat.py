"""Chat and answers: what is sent, what an answer holds, and how a conversation goes on."""

from typing import Any

import pytest

import attune
from tests.sdk.conftest import Either
from tests.sdk.fake_service import FakeService


def test_a_sentence_and_a_conversation_are_sent_as_messages(either: Either, client: Any, fake: FakeService) -> None:
    either.get(client.chat("Hello!"))
    either.get(client.chat([attune.Message("system", "Be brief."), {"role": "user", "content": "Hello!"}]))
    first, second = (seen.body["messages"] for seen in fake.requests("/v1/chat/completions"))
    assert first == [{"role": "user", "content": "Hello!"}]
    assert second == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello!"}]


def test_only_what_was_given_is_sent(either: Either, client: Any, fake: FakeService) -> None:
    either.get(client.chat("Hello!", temperature=0, max_tokens=9))
    assert fake.seen[-1].body == {
        "model": "attune",
        "messages": [{"role": "user", "content": "Hello!"}],
        "temperature": 0,
        "max_tokens": 9,
    }


def test_no_messages_are_refused_before_anything_is_sent(either: Either, client: Any, fake: FakeService) -> None:
    with pytest.raises(ValueError, match="at least one"):
        either.get(client.chat([]))
    assert fake.seen == []


def test_an_answer_has_its_version_and_conversation(either: Either, client: Any) -> None:
    answer = either.get(client.chat("Hello!", model="attune@0", conversation_id="mine"))
    assert (answer.version, answer.model, answer.conversation_id, answer.finish_reason) == (
        0,
        "attune@0",
        "mine",
        "stop",
    )
    assert answer.messages == ({"role": "user", "content": "Hello!"}, {"role": "assistant", "content": answer.text})
    assert answer.usage == attune.Usage(5, 7, 12)


def test_an_answer_of_a_backend_has_no_version(either: Either, client: Any) -> None:
    answer = either.get(client.chat("Hello!", model="other"))
    assert (answer.model, answer.version) == ("other", None)


def test_going_on_keeps_conversation_model_and_sampling(either: Either, client: Any, fake: FakeService) -> None:
    answer = either.get(client.chat("Hello!", model="attune@0", temperature=0.5, conversation_id="mine"))
    either.get(answer.ask("And then?"))
    body = fake.seen[-1].body
    assert body["model"] == "attune@0"
    assert body["temperature"] == 0.5
    assert body["conversation_id"] == "mine"
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]


def test_regenerating_asks_the_same_with_another_seed_and_names_the_first_answer(
    either: Either, client: Any, fake: FakeService
) -> None:
    answer = either.get(client.chat("Hello!", seed=7, top_k=5, metadata={"page": "x"}))
    again = either.get(answer.regenerate())
    body = fake.seen[-1].body
    assert body["messages"] == [{"role": "user", "content": "Hello!"}]
    assert "seed" not in body
    assert body["top_k"] == 5
    assert body["metadata"] == {"page": "x", "regenerated_from": answer.id}
    either.get(again.ask("More."))
    assert fake.seen[-1].body["metadata"] == {"page": "x"}
    either.get(either.get(client.chat("Hello!", n=2)).choices[1].regenerate())
    assert fake.seen[-1].body["metadata"]["regenerated_choice"] == "1"

"""Each method of the SDK against a real `attune serve` with the small bundled model, sync and async alike."""

import json
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

import attune
from tests.sdk.conftest import Either
from tests.served import Served, serve


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Generator[Served, None, None]:
    with serve(tmp_path_factory.mktemp("sdk") / "data", "--no-learner") as running:
        yield running


@pytest.fixture(params=["sync", "async"])
def either(request: pytest.FixtureRequest) -> Iterator[Either]:
    made = Either(request.param == "async")
    yield made
    made.close()


@pytest.fixture
def client(either: Either, served: Served) -> Any:
    return either.client(served.url)


def test_chat_whole_and_streamed_say_the_same(either: Either, client: Any) -> None:
    settings: attune.Sampling = {"temperature": 1.0, "seed": 11, "max_tokens": 40, "logprobs": True, "n": 2}
    whole = either.get(client.chat("Tell me a joke.", **settings))
    stream = either.get(client.chat("Tell me a joke.", stream=True, **settings))
    deltas = either.take(stream)
    assert "".join(deltas) == whole.text == stream.answer.text
    assert [choice.text for choice in stream.answer.choices] == [choice.text for choice in whole.choices]
    assert (whole.version, whole.model, stream.answer.model) == (0, "attune@0", "attune@0")
    assert whole.usage.completion_tokens == stream.answer.usage.completion_tokens > 0
    assert all(token.logprob <= 0 for token in whole.tokens)
    assert whole.digest


def test_an_answer_arrives_in_deltas(either: Either, client: Any) -> None:
    """On a busy machine a slow reader may get a short answer as one delta, but not in each of twenty tries."""
    streams = (either.get(client.chat("Tell me a joke.", stream=True, seed=seed, max_tokens=64)) for seed in range(20))
    assert any(len(either.take(stream)) > 1 for stream in streams)


def test_every_kind_of_feedback_on_an_answer(either: Either, client: Any) -> None:
    answer = either.get(client.chat("Name three animals.", n=2, max_tokens=40))
    given = [
        either.get(answer.rate("up", reason="clear", comment="Nice.")),
        either.get(answer.score(0.25)),
        either.get(answer.correct("Cat, dog, horse.")),
        either.get(answer.choices[1].prefer_over(answer)),
    ]
    assert [one.kind for one in given] == ["thumb", "score", "correction", "preference"]
    assert (given[0].thumb, given[0].reason, given[0].comment) == ("up", "clear", "Nice.")
    assert (given[1].score, given[2].correction) == (0.25, "Cat, dog, horse.")
    assert given[3].choice == 1
    listed = either.get(client.list_feedback(completion_id=answer.id, limit=2))
    assert {one.id for one in listed} == {one.id for one in given}
    either.get(client.retract(given[0]))
    assert {
        one.kind: one.retracted_at is not None for one in either.get(client.list_feedback(completion_id=answer.id))
    } == {"preference": False, "correction": False, "score": True, "thumb": True}  # a score rates as a thumb does


def test_a_key_makes_feedback_repeatable(either: Either, client: Any) -> None:
    answer = either.get(client.chat("Hello!", max_tokens=20))
    key = f"key-{answer.id}"
    assert (
        either.get(client.feedback(answer.id, thumb="up", idempotency_key=key)).id
        == either.get(client.feedback(answer.id, thumb="up", idempotency_key=key)).id
    )
    with pytest.raises(attune.Conflict):
        either.get(client.feedback(answer.id, thumb="down", idempotency_key=key))


def test_a_comparison_names_its_models_once_chosen(either: Either, client: Any) -> None:
    comparison = either.get(client.compare("Tell me a joke.", max_tokens=40))
    assert comparison.a.label == "A"
    assert comparison.b.completion_id != comparison.a.completion_id
    choice = either.get(comparison.choose("A", reason="helpful"))
    assert (choice.winner, choice.winning_model, choice.models) == ("A", "attune@0", {"A": "attune@0", "B": "attune@0"})


def test_a_conversation_goes_on_and_is_kept(either: Either, client: Any) -> None:
    first = either.get(client.chat("Hello!", max_tokens=20))
    second = either.get(first.ask("What is 7 + 5?"))
    again = either.get(second.regenerate())
    assert first.conversation_id == second.conversation_id == again.conversation_id
    kept = either.get(client.conversation(first.conversation_id))
    assert [completion.id for completion in kept.completions] == [first.id, second.id, again.id]
    (noted,) = either.get(client.list_feedback(completion_id=second.id))
    assert (noted.kind, noted.instead) == ("regenerate", {"completion_id": again.id, "choice": 0})
    assert kept.messages[-1] == attune.Message("assistant", again.text)
    assert kept.id in [conversation.id for conversation in either.get(client.conversations())]
    either.get(client.delete_conversation(kept.id))
    with pytest.raises(attune.NotFound):
        either.get(client.conversation(kept.id))


def test_versions_learner_models_and_health(either: Either, client: Any) -> None:
    live = next(version for version in either.get(client.versions()) if version.state == "live")
    assert either.get(client.version(0)).digest == live.digest
    assert either.get(client.version_feedback(0)) == []
    learner = either.get(client.learner())
    assert (learner.state, learner.live) == ("down", 0)
    assert {"attune", "attune@0"} <= {model.id for model in either.get(client.models())}
    health = either.get(client.health())
    assert (health.alive, health.ready, health.detail["version"]) == (True, True, 0)
    sample = either.get(client.samples(0))[0]
    assert sample.prompt
    assert sample.text == sample.against  # version 0 has no parent


def test_events_of_ones_own_doing(either: Either, client: Any) -> None:
    answer = either.get(client.chat("Hello!", max_tokens=20))
    feedback = either.get(answer.rate("up"))
    events = client.events(after=0)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        event = either.take(events, 1)[0]
        if event.data.get("feedback_id") == feedback.id:
            break
    assert (event.kind, event.data["completion_id"]) == ("feedback", answer.id)
    either.get(events.close())


def test_raters_are_those_we_speak_for(either: Either, client: Any, served: Served) -> None:
    name = f"alice-{either.is_async}"
    answer = either.get(either.client(served.url, rater=name).chat("Hello!", max_tokens=20))
    either.get(either.client(served.url, rater=name).rate(answer.id, "up"))
    rater = next(rater for rater in either.get(client.raters()) if rater.id == name)
    assert (rater.feedback, rater.thumbs.up, rater.quarantined) == (1, 1, False)
    assert either.get(client.quarantine(name, reason="a test")).quarantine_reason == "a test"
    assert not either.get(client.release(name)).quarantined
    erased = either.get(client.erase(name))
    assert (erased.rater, erased.feedback, erased.completions, erased.versions) == (name, 1, 1, ())
    assert name not in [rater.id for rater in either.get(client.raters())]


def test_what_goes_out_comes_in_again(either: Either, client: Any, tmp_path: Path) -> None:
    file = tmp_path / f"pairs-{either.is_async}.jsonl"
    pair = {"prompt": "Hi", "chosen": f"Hello {either.is_async}!", "rejected": "What?"}
    file.write_text(json.dumps(pair) + '\n{"prompt": 3}\n')
    imported = either.get(client.import_file(file))
    assert imported.imported == 1
    assert len(imported.errors) == 1
    out = tmp_path / "out.jsonl"
    assert either.get(client.export_file(out, "preference")) >= 1
    assert f"Hello {either.is_async}!" in out.read_text()


@pytest.mark.parametrize(
    ("call", "kind", "param"),
    [
        (lambda client: client.chat("Hi", model="attune@99"), attune.NotFound, "model"),
        (lambda client: client.chat("Hi", model="nobody"), attune.NotFound, "model"),
        (lambda client: client.chat("Hi", temperature=9), attune.BadRequest, "temperature"),
        (lambda client: client.chat("Hi", n=99, stream=True), attune.BadRequest, "n"),
        (lambda client: client.rate("nothing", "up"), attune.NotFound, None),
        (lambda client: client.rate("nothing", "sideways"), attune.BadRequest, "thumb"),
        (lambda client: client.choose("nothing", "A"), attune.NotFound, None),
        (lambda client: client.version(99), attune.NotFound, None),
        (lambda client: client.promote(99), attune.NotFound, None),
        (lambda client: client.rollback(), attune.Conflict, None),
        (lambda client: client.conversation("nothing"), attune.NotFound, None),
        (lambda client: client.quarantine("nobody"), attune.NotFound, None),
        (lambda client: client.retract("nothing"), attune.NotFound, None),
    ],
)
def test_refusals_are_our_errors(
    either: Either, client: Any, call: Any, kind: type[attune.APIError], param: str | None
) -> None:
    with pytest.raises(kind) as caught:
        either.get(call(client))
    assert str(caught.value)
    assert (caught.value.request_id or "").startswith("req-")
    assert param is None or caught.value.param == param

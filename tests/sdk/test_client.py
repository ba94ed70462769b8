"""The sync and the async client: chat, feedback, comparisons, and the operators' methods."""

from pathlib import Path
from typing import Any

import httpx
import pytest

import attune
from tests.sdk.conftest import QUICK, Either
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


def test_raters_speak_through_the_header(either: Either, fake: FakeService) -> None:
    client = either.client(api_key="at-act-as", rater="alice")
    answer = either.get(client.chat("Hello!"))
    assert either.get(answer.rate("up")).rater == "alice"
    with pytest.raises(attune.Forbidden, match="speak for others"):
        either.get(either.client(api_key="at-other", rater="alice").versions())


def test_ids_of_any_characters_stay_one_segment_of_the_path(either: Either, client: Any) -> None:
    with pytest.raises(attune.NotFound, match=r"'a \.\.\?b#c'"):
        either.get(client.conversation("a ..?b#c"))
    with pytest.raises(ValueError, match="cannot be empty"):
        either.get(client.delete_conversation(""))


def test_versions_come_in_order_with_their_record(either: Either, client: Any) -> None:
    versions = either.get(client.versions())
    assert [version.version for version in versions] == [0, 1, 2]
    live = versions[1]
    assert (live.thumbs.up, live.comparisons.wins, live.win_rate, live.win_rate_interval) == (3, 5, 0.6875, (0.36, 0.9))
    shown = either.get(client.version(2))
    assert shown.gate is not None
    assert not shown.gate.passed
    assert shown.gate.checks[0].limit == ">= 0"


def test_promote_and_roll_back(either: Either, client: Any, fake: FakeService) -> None:
    assert either.get(client.promote(0, canary=0.25)).state == "live"
    assert fake.seen[-1].body == {"canary": 0.25}
    assert either.get(client.rollback(1)).version == 1
    assert fake.seen[-1].body == {"to": 1}


def test_orders_to_the_learner(either: Either, client: Any) -> None:
    assert either.get(client.pause()).state == "paused"
    assert either.get(client.resume()).run.step == 3
    assert either.get(client.update()).trigger.items == 16


def test_raters_are_kept_out_and_let_in(either: Either, client: Any, fake: FakeService) -> None:
    assert either.get(client.quarantine("alice", reason="spam")).quarantined
    assert fake.seen[-1].body == {"reason": "spam"}
    assert not either.get(client.release("alice")).quarantined
    assert either.get(client.erase("alice")) == attune.Erased("alice", (2,), 3, 4, 1)


def test_a_file_goes_out_and_comes_in_with_progress(
    either: Either, client: Any, fake: FakeService, tmp_path: Path
) -> None:
    steps: list[tuple[int, int | None]] = []
    file = tmp_path / "pairs.jsonl"
    assert either.get(client.export_file(file, progress=lambda done, total: steps.append((done, total)))) == 2
    assert steps[-1] == (file.stat().st_size, file.stat().st_size)
    steps.clear()
    imported = either.get(
        client.import_file(file, "preference", progress=lambda done, total: steps.append((done, total)))
    )
    assert imported.imported == 2
    assert steps[-1] == (file.stat().st_size, file.stat().st_size)
    assert fake.seen[-1].query == {"format": "preference"}
    assert fake.seen[-1].headers["content-type"] == "application/x-ndjson"


def test_an_export_that_fails_leaves_the_old_file(
    either: Either, client: Any, fake: FakeService, tmp_path: Path
) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text("old")
    fake.fault("/v1/export", breaks="before", times=3)
    with pytest.raises(attune.ServiceUnreachable):
        either.get(client.export_file(file))
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.jsonl"]
    assert file.read_text() == "old"


def test_health_distinguishes_starting_from_ready(either: Either, client: Any, fake: FakeService) -> None:
    assert either.get(client.health()).detail["version"] == 1
    fake.fault("/readyz", status=503, headers={"Retry-After": "1"})
    health = either.get(client.health())
    assert (health.alive, health.ready) == (True, False)


def test_the_address_comes_from_the_argument_the_environment_or_this_machine(
    either: Either, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert either.client("http://example.org/v1/").address.url == "http://example.org"
    monkeypatch.setenv("ATTUNE_BASE_URL", "http://example.org:1")
    assert either.client().address.url == "http://example.org:1"
    monkeypatch.delenv("ATTUNE_BASE_URL")
    assert either.client().address.url == "http://127.0.0.1:8000"
    with pytest.raises(ValueError, match="http://"):
        either.client("example.org")


def test_the_key_is_sent_and_never_shown(either: Either, fake: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTUNE_API_KEY", "at-secret")
    client = either.client()
    either.get(client.versions())
    assert fake.seen[-1].headers["authorization"] == "Bearer at-secret"
    assert "secret" not in repr(client) + repr(client.address)


def test_an_httpx_client_of_ones_own_stays_open(either: Either, fake: FakeService) -> None:
    http: Any = (httpx.AsyncClient if either.is_async else httpx.Client)(headers={"X-Mine": "yes"})
    client = either.client(http=http)
    either.get(client.versions())
    assert fake.seen[-1].headers["x-mine"] == "yes"
    either.get(client.close())
    assert not http.is_closed
    either.get(http.aclose() if either.is_async else http.close())


def test_a_with_block_closes_the_connections(fake: FakeService) -> None:
    with attune.Client(retry=QUICK) as client:
        client.versions()
    with pytest.raises(RuntimeError, match="closed"):
        client.versions()


def test_one_client_is_shared_by_many_threads(fake: FakeService) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with attune.Client(retry=QUICK) as client, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: client.chat(f"prompt {i}").text, range(32)))
    assert answers == [f"[1] prompt {i}" for i in range(32)]

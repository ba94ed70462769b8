"""Backends: another OpenAI-compatible service to compare with, here a second Attune with its own parrot."""

import threading
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pytest
from openai import APIError, APIStatusError, BadRequestError

from policy.errors import InvalidChat
from store.completions import get_completion
from tests.served import free_port
from tests.service.parrot import ParrotModel
from tests.service.running import Running, running, wait_until

ASK: Any = [{"role": "user", "content": "say: Good day"}]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[Running, Running], None, None]:
    """A service, and the backend that it knows as `other`; `gone` is a backend where nobody listens."""
    with running(tmp_path_factory.mktemp("other") / "data", ParrotModel(step_s=0.001)) as other:
        backends = (f"other={other.url}", f"gone=http://127.0.0.1:{free_port()}/v1")
        with running(tmp_path_factory.mktemp("data") / "data", compare=backends) as served:
            yield served, other


def test_a_backend_is_listed_and_answers_under_its_name(pair: tuple[Running, Running]) -> None:
    served, _ = pair
    assert "other" in [model.id for model in served.openai().models.list()]
    answer = served.openai().chat.completions.create(model="other", messages=ASK)
    assert (answer.model, answer.choices[0].message.content, answer.choices[0].finish_reason) == (
        "other",
        "Good day",
        "stop",
    )
    with served.db() as db:
        kept = get_completion(db, answer.id)
    assert (kept.version, kept.backend, kept.text, kept.completion_ids, kept.logps) == (
        None,
        "other",
        "Good day",
        [],
        [],
    )


def test_a_backend_streams_with_n_choices_and_settings(pair: tuple[Running, Running]) -> None:
    served, other = pair
    chunks: list[Any] = list(
        served.openai().chat.completions.create(
            model="other", messages=ASK, n=2, stream=True, stop=[" "], seed=4, max_tokens=9
        )
    )  # type: ignore[call-overload]
    for index in (0, 1):
        assert (
            "".join(
                chunk.choices[0].delta.content or ""
                for chunk in chunks
                if chunk.choices and chunk.choices[0].index == index
            )
            == "Good"
        )
    with other.db() as db:
        asked = [
            get_completion(db, row["id"]).settings
            for row in db.query("SELECT id FROM completions ORDER BY rowid DESC LIMIT 2")
        ]
    assert {settings["seed"] for settings in asked} == {4, 5}
    assert all((settings["max_tokens"], settings["stop"]) == (9, [" "]) for settings in asked)


def test_a_comparison_with_a_backend_is_kept_and_never_learned_from_as_a_pair(pair: tuple[Running, Running]) -> None:
    served, _ = pair
    asked = served.http.post(
        "/v1/comparisons", json={"messages": [{"role": "user", "content": "Hello!"}], "models": ["attune", "other"]}
    ).json()
    chosen = served.http.post(f"/v1/comparisons/{asked['id']}/choice", json={"winner": "A"}).json()
    assert sorted(chosen["models"].values()) == ["attune@0", "other"]
    from_backend = next(
        side["completion_id"] for side in asked["candidates"] if chosen["models"][side["label"]] == "other"
    )
    with served.db() as db:
        assert get_completion(db, from_backend).version is None


def test_a_comparison_goes_on_with_the_model_that_is_up(pair: tuple[Running, Running]) -> None:
    served, _ = pair
    asked = served.http.post(
        "/v1/comparisons", json={"messages": [{"role": "user", "content": "Hello!"}], "models": ["gone", "attune"]}
    ).json()
    assert asked["missing"] == ["gone"]
    chosen = served.http.post(f"/v1/comparisons/{asked['id']}/choice", json={"winner": "A"}).json()
    assert set(chosen["models"].values()) == {"attune@0"}
    none = served.http.post(
        "/v1/comparisons", json={"messages": [{"role": "user", "content": "Hello!"}], "models": ["gone", "gone"]}
    )
    assert (none.status_code, none.json()["error"]["code"]) == (502, "backend_down")


def test_backend_answers_are_learned_from_only_where_the_operator_allows_it(
    pair: tuple[Running, Running], tmp_path: Path
) -> None:
    from store.feedback import feedback_to_learn

    _, other = pair
    for allowed in (False, True):
        with running(tmp_path / str(allowed), compare=(f"other={other.url}",), train_on_backends=allowed) as served:
            answer = served.openai().chat.completions.create(model="other", messages=ASK)
            cut = served.openai().chat.completions.create(model="other", messages=ASK, max_tokens=3)
            for completion_id in (answer.id, cut.id):
                assert (
                    served.http.post("/v1/feedback", json={"completion_id": completion_id, "thumb": "up"}).status_code
                    == 201
                )
            with served.db() as db:
                assert len(feedback_to_learn(db, 0)) == (2 if allowed else 0)
                kept = [get_completion(db, completion_id) for completion_id in (answer.id, cut.id)]
            assert all((one.backend, one.version, one.logps) == ("other", None, []) for one in kept)
            model = served.model
            whole = model.completion_ids([dict(message) for message in ASK], kept[0].text)
            assert (kept[0].prompt_ids, kept[0].completion_ids) == (whole if allowed else ([], []))
            cut_ids = kept[1].text.encode() if allowed else b""  # it was cut: no end of turn
            assert bytes(kept[1].completion_ids) == cut_ids


class Picky(ParrotModel):
    """A model whose template takes no conversation that ends in an answer; it records which threads called it."""

    def completion_ids(self, messages: Sequence[dict[str, Any]], answer: str) -> tuple[list[int], list[int]]:
        asked_on.append(threading.current_thread().name)
        if "refuse" in messages[0]["content"]:
            raise InvalidChat("this model's chat template refuses messages in the order: user")
        return super().completion_ids(messages, answer)


asked_on: list[str] = []


def test_an_answer_that_the_models_template_refuses_is_given_and_kept_as_text(
    pair: tuple[Running, Running], tmp_path: Path
) -> None:
    _, other = pair
    asked_on.clear()
    with running(tmp_path / "data", Picky(), compare=(f"other={other.url}",), train_on_backends=True) as served:
        texts = ("say: refuse", "say: this")
        answers = [
            served.openai().chat.completions.create(model="other", messages=[{"role": "user", "content": text}])
            for text in texts
        ]
        chunks = list(
            served.openai().chat.completions.create(
                model="other", messages=[{"role": "user", "content": texts[0]}], stream=True
            )
        )
        body = {"messages": [{"role": "user", "content": "say: refuse"}], "models": ["other", "attune"]}
        assert served.http.post("/v1/comparisons", json=body).status_code == 201
        assert chunks[-1].choices[0].finish_reason == "stop"
        with served.db() as db:
            kept = [get_completion(db, answer.id) for answer in answers]
    assert [(one.text, bool(one.completion_ids), bool(one.prompt_ids)) for one in kept] == [
        ("refuse", False, False),
        ("this", True, True),
    ]
    assert len(asked_on) == 4
    # the threads of prompts; neither the loop's own thread nor the store's writer
    assert all(name.startswith("prompts") for name in asked_on)


def test_a_backend_that_is_down_is_a_readable_error_and_is_given_a_rest(pair: tuple[Running, Running]) -> None:
    served, _ = pair
    for _ in range(5):
        with pytest.raises(APIStatusError) as refused:
            served.openai().chat.completions.create(model="gone", messages=ASK)
        assert refused.value.status_code == 502
        assert "'gone'" in refused.value.message
    with pytest.raises(APIStatusError, match="times in a row"):
        served.openai().chat.completions.create(model="gone", messages=ASK)
    assert served.chat()["model"] == "attune@0"


def test_what_a_backend_refuses_is_a_400_with_its_message(pair: tuple[Running, Running]) -> None:
    served, _ = pair
    with pytest.raises(BadRequestError, match="context"):
        served.openai().chat.completions.create(model="other", messages=ASK, max_tokens=100_000)
    with pytest.raises(APIError, match="refused"):
        list(served.openai().chat.completions.create(model="other", messages=ASK, max_tokens=100_000, stream=True))  # type: ignore[call-overload]


def test_who_leaves_a_backends_answer_ends_it_there_too(pair: tuple[Running, Running]) -> None:
    served, other = pair
    stream = served.openai().chat.completions.create(
        model="other", messages=[{"role": "user", "content": "long"}], max_tokens=900, stream=True
    )
    for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    stream.close()
    wait_until(
        lambda: other.service.admission.active == 0 and served.service.admission.active == 0, 3, "both have ended"
    )

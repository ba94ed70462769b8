"""`track`: the openai package's answers, with our feedback methods."""

import asyncio
from typing import Any

import openai
import pytest

import attune
from tests.sdk.fake_service import FakeService

ASK: dict[str, Any] = {"model": "attune", "messages": [{"role": "user", "content": "Hello!"}]}


def test_answers_can_be_rated_and_stay_what_they_were(fake: FakeService) -> None:
    plain = openai.OpenAI(base_url=fake.url + "/v1", api_key="at-mine").chat.completions.create(**ASK)
    client = attune.track(openai.OpenAI(base_url=fake.url + "/v1", api_key="at-act-as"), rater="alice")
    answer: Any = client.chat.completions.create(**ASK)
    assert isinstance(answer, type(plain))
    assert answer.rate("down", reason="wrong").thumb == "down"
    assert answer.correct("Hi.").correction == "Hi."
    assert answer.score(0.25).score == 0.25
    seen = fake.requests("/v1/feedback")[0]
    assert (seen.headers["authorization"], seen.headers["x-attune-rater"]) == ("Bearer at-act-as", "alice")
    assert seen.body["completion_id"] == answer.id
    assert set(answer.model_dump()) == set(plain.model_dump())


def test_a_streamed_answer_can_be_rated(fake: FakeService) -> None:
    client = attune.track(openai.OpenAI(base_url=fake.url + "/v1", api_key="none"))
    with client.chat.completions.create(**ASK, stream=True) as stream:
        tracked: Any = stream
        with pytest.raises(ValueError, match="Nothing has arrived"):
            tracked.rate("up")
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert text == "Hello to you!"
    assert tracked.rate("up").completion_id == tracked.id
    assert "authorization" not in fake.requests("/v1/feedback")[0].headers


def test_the_async_client_has_async_thumbs(fake: FakeService) -> None:
    async def go() -> None:
        client = attune.track(openai.AsyncOpenAI(base_url=fake.url + "/v1", api_key="none"))
        answer: Any = await client.chat.completions.create(**ASK)
        assert (await answer.rate("up")).thumb == "up"
        stream: Any = await client.chat.completions.create(**ASK, stream=True)
        assert {chunk.id async for chunk in stream} == {stream.id}
        assert (await stream.score(1.0)).completion_id == stream.id

    asyncio.run(go())


@pytest.mark.parametrize("thing", [None, "client", object(), attune])
def test_anything_else_is_refused(thing: object) -> None:
    with pytest.raises(TypeError, match="OpenAI"):
        attune.track(thing)

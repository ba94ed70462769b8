"""`track`: the openai package's own replies, with our thumbs."""

import asyncio
from typing import Any

import openai
import pytest

import attune
from tests.sdk.fake_service import FakeService

ASK: dict[str, Any] = {"model": "attune", "messages": [{"role": "user", "content": "Hello!"}]}


def test_replies_can_be_judged_and_stay_what_they_were(fake: FakeService) -> None:
    plain = openai.OpenAI(base_url=fake.url + "/v1", api_key="at-mine").chat.completions.create(**ASK)
    client = attune.track(openai.OpenAI(base_url=fake.url + "/v1", api_key="at-act-as"), rater="alice")
    reply: Any = client.chat.completions.create(**ASK)
    assert isinstance(reply, type(plain))
    assert reply.rate("down", reason="wrong").thumb == "down"
    assert reply.correct("Hi.").correction == "Hi."
    assert reply.score(0.25).score == 0.25
    seen = fake.requests("/v1/feedback")[0]
    assert (seen.headers["authorization"], seen.headers["x-attune-rater"]) == ("Bearer at-act-as", "alice")
    assert seen.body["completion_id"] == reply.id
    assert set(reply.model_dump()) == set(plain.model_dump())


def test_a_streamed_reply_can_be_judged(fake: FakeService) -> None:
    client = attune.track(openai.OpenAI(base_url=fake.url + "/v1", api_key="none"))
    with client.chat.completions.create(**ASK, stream=True) as stream:
        said: Any = stream
        with pytest.raises(ValueError, match="Nothing has come"):
            said.rate("up")
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)
    assert text == "Hello to you!"
    assert said.rate("up").completion_id == said.id
    assert "authorization" not in fake.requests("/v1/feedback")[0].headers


def test_the_async_client_has_async_thumbs(fake: FakeService) -> None:
    async def go() -> None:
        client = attune.track(openai.AsyncOpenAI(base_url=fake.url + "/v1", api_key="none"))
        reply: Any = await client.chat.completions.create(**ASK)
        assert (await reply.rate("up")).thumb == "up"
        stream: Any = await client.chat.completions.create(**ASK, stream=True)
        assert {chunk.id async for chunk in stream} == {stream.id}
        assert (await stream.score(1.0)).completion_id == stream.id

    asyncio.run(go())


@pytest.mark.parametrize("thing", [None, "client", object(), attune])
def test_anything_else_is_refused(thing: object) -> None:
    with pytest.raises(TypeError, match="OpenAI"):
        attune.track(thing)

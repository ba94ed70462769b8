"""A program that uses the whole SDK, for mypy --strict. Nothing here is run."""

import asyncio
from collections.abc import Iterator

import openai

import attune


def sync_program() -> None:
    with attune.Client(
        "http://127.0.0.1:8000", "at-key", rater="alice", timeout=30.0, retry=attune.Retry(times=1)
    ) as client:
        settings: attune.Sampling = {
            "temperature": 0.7,
            "top_p": 0.9,
            "top_k": 5,
            "max_tokens": 9,
            "n": 2,
            "seed": 1,
            "stop": ["\n"],
            "logprobs": True,
            "repetition_penalty": 1.1,
            "min_p": 0.05,
        }
        answer: attune.Answer = client.chat(
            "Hi", model="attune@1", conversation_id="c", top_logprobs=2, presence_penalty=0.1, frequency_penalty=0.1
        )
        text: str = client.chat(
            [attune.Message("user", "Hi"), {"role": "assistant", "content": "Yes?"}], **settings
        ).text
        version: int | None = answer.version
        tokens: tuple[attune.Token, ...] = answer.tokens
        usage: attune.Usage = answer.usage
        given: list[attune.Feedback] = [
            answer.rate("up", reason="helpful", comment=text),
            answer.score(0.5),
            answer.correct("Ho"),
        ]
        given.append(answer.choices[0].prefer_over(answer.choices[1]))
        more: attune.Answer = answer.ask("More?").regenerate()
        under_way: attune.Stream = client.chat("Hi", stream=True)
        under_way.close()
        with client.chat("Hi", stream=True) as stream:
            deltas: list[str] = list(stream)
            done: attune.Answer = stream.answer
        done = client.chat("Hi", stream=True).finish()
        comparison: attune.Comparison = client.compare("Hi", ("attune@0", "attune@1"), temperature=1.0, max_tokens=9)
        comparison = client.compare(
            "Hi", top_p=0.9, min_p=0.1, repetition_penalty=1.1, chat_template_kwargs={"a": True}
        )
        sides: tuple[attune.Candidate, ...] = (comparison.a, comparison.b, *comparison.candidates)
        choice: attune.Choice = comparison.choose("both_bad", reason="unsafe")
        choice = client.choose(comparison.id, "A")
        wrote: str | None = choice.model_of("B")
        given += [
            client.rate(done.id, "down"),
            client.score(done.id, 1.0),
            client.correct(done.id, "x"),
            client.prefer(more, done),
        ]
        given.append(
            client.feedback(done.id, thumb="up", preferred_over=None, metadata={"a": "1"}, idempotency_key="k")
        )
        listed: Iterator[attune.Feedback] = client.list_feedback(completion_id=done.id, rater="alice", limit=9)
        for one in listed:
            client.retract(one)
        versions: list[attune.Version] = client.versions()
        shown: attune.Version = client.version(versions[0].version)
        gate: attune.Gate | None = shown.gate
        checks: tuple[attune.Check, ...] = gate.checks if gate else ()
        record: tuple[attune.Tally, attune.Record] = (shown.thumbs, shown.comparisons)
        made: list[attune.Feedback] = list(client.version_feedback(1))
        samples: list[attune.Sample] = client.samples(1, against=0)
        prompts: list[str] = [sample.prompt for sample in samples]
        shown = client.promote(1, canary=0.1)
        shown = client.rollback(to=0)
        learner: attune.Learner = client.learner()
        learner = client.update()
        learner = client.pause()
        learner = client.resume()
        run: attune.Run | None = learner.run
        trigger: attune.Trigger | None = learner.trigger
        preparation: attune.Preparation | None = learner.preparation
        raters: list[attune.Rater] = client.raters()
        rater: attune.Rater = client.quarantine("spammer", reason="spam")
        rater = client.release(rater.id)
        proposal: attune.Proposal | None = rater.proposal
        withdrawn: attune.Withdrawn = client.withdraw(rater.id, reason="spam")
        erased: attune.Erased = client.erase(rater.id)
        talks: list[attune.Conversation] = list(client.conversations(limit=3))
        completions: tuple[attune.Completion, ...] = client.conversation(talks[0].id).completions
        turns: tuple[attune.Message, ...] = talks[0].messages
        client.delete_conversation(talks[0].id)
        lines: int = client.export_file("f.jsonl", "sft", progress=lambda done, total: print(done, total))
        imported: attune.Imported = client.import_file("f.jsonl", "sft")
        with client.events(after=0) as events:
            event: attune.Event = next(events)
        following: attune.Events = client.events()
        following.close()
        models: list[attune.Model] = client.models()
        health: attune.Health = client.health()
        release: attune.ServiceVersion = client.service_version()
        tracked: openai.OpenAI = attune.track(
            openai.OpenAI(base_url=client.address.url + "/v1", api_key="none"), rater="alice"
        )
        wait_s: float = attune.Retry(first_s=1.0).wait_s(1, asked_s=None)
        print(wrote, prompts, turns, tracked, wait_s)
        print(
            version,
            tokens,
            usage,
            deltas,
            sides,
            choice.winning_model,
            checks,
            record,
            made,
            samples,
            run,
            trigger,
            preparation,
            raters,
            release,
            proposal,
            withdrawn,
            erased,
        )
        print(completions, lines, imported, event, models, health)


async def async_program() -> None:
    async with attune.AsyncClient() as client:
        answer: attune.AsyncAnswer = await client.chat("Hi")
        feedback: attune.Feedback = await answer.rate("up")
        async with await client.chat("Hi", stream=True) as stream:
            async for delta in stream:
                print(delta.upper())
            print(stream.answer.text)
        comparison: attune.AsyncComparison = await client.compare("Hi")
        choice: attune.Choice = await comparison.choose("tie")
        async for one in client.list_feedback():
            await client.retract(one)
        under_way: attune.AsyncStream = await client.chat("Hi", stream=True)
        await under_way.close()
        events: attune.AsyncEvents = client.events()
        async for event in events:
            print(event.kind, event.data)
        await events.close()
        versions: list[attune.Version] = await client.versions()
        print(feedback, choice, versions, [talk async for talk in client.conversations()])


def refused(error: attune.APIError) -> str:
    """Return a line about an error, by its kind."""
    kinds: tuple[type[attune.APIError], ...] = (
        attune.BadRequest,
        attune.Unprocessable,
        attune.TooLarge,
        attune.Unauthorized,
        attune.Forbidden,
        attune.NotFound,
        attune.Conflict,
        attune.TooManyRequests,
        attune.ServerError,
        attune.Overloaded,
    )
    name: str = next((kind.__name__ for kind in kinds if isinstance(error, kind)), "other")
    request_id: str | None = error.request_id
    wait_s: float | None = error.retry_after_s
    return f"{name} {error.status} {error.code} {error.param} {request_id} {wait_s}"


try:
    sync_program()
    asyncio.run(async_program())
except attune.APIError as error:
    print(refused(error))
except (attune.ServiceUnreachable, attune.Timeout, attune.UnexpectedResponse) as error:
    print(error)
except attune.AttuneError as error:
    print(error)

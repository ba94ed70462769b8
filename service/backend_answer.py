"""Answers by other people's models, through any OpenAI-compatible backend: for comparison. Their token ids are not
known, so they are text.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from policy.errors import InvalidChat, RunnerFailed
from policy.runners.remote import Breaker
from service.answer import Answer, Ask, Room
from service.engine.generation import Generation, TextGeneration, Token
from service.errors import BackendDown, BadRequest, RequestError
from service.model import Model
from service.prompts import Prompt
from store.completions import Completion

log = logging.getLogger(__name__)
TRIES = 3


class Backend:
    """One OpenAI-compatible backend under the name that requests use for it. Its key, if any, is in
    ATTUNE_COMPARE_KEY_<NAME>.
    """

    def __init__(self, name: str, url: str, limit_s: float) -> None:
        from openai import AsyncOpenAI  # most services have no backend, and starting is quicker without it

        self.name = name
        base_url = url.rstrip("/") if url.rstrip("/").endswith("/v1") else url.rstrip("/") + "/v1"
        key = os.environ.get(f"ATTUNE_COMPARE_KEY_{name.upper().replace('-', '_')}", "none")
        self.client: AsyncOpenAI = AsyncOpenAI(base_url=base_url, api_key=key, timeout=limit_s, max_retries=TRIES - 1)
        self.breaker = Breaker(f"the backend {name!r}")
        self._model: str | None = None

    async def model(self) -> str:
        """Return the model to ask for there: the one of our name for it if it has that, else its first."""
        if self._model is None:
            listed = [model.id async for model in self.client.models.list()]
            if not listed:
                raise BackendDown(f"the backend {self.name!r} lists no models")
            self._model = self.name if self.name in listed else listed[0]
        return self._model

    async def close(self) -> None:
        """Close its connections."""
        await self.client.close()


class BackendAnswer(Answer):
    """All replies come from one backend, as text."""

    replies: list[TextGeneration]

    def __init__(
        self,
        ask: Ask,
        prompts: Sequence[Prompt],
        conversation_id: str,
        room: Room,
        backend: Backend,
        learned_by: Model | None = None,
    ) -> None:
        """`learned_by` is the model whose token ids are recorded beside the text, where it may be learned from."""
        super().__init__(ask, prompts, conversation_id, 1.0, room)
        self._learned_by = learned_by
        self.backend = backend.name
        self.replies = [TextGeneration(place) for place in range(len(prompts) * ask.n)]
        self._backend = backend
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._ids: dict[
            int, tuple[list[int], list[int]]
        ] = {}  # by place: prompt and reply as the model that learns from them reads them

    @property
    def model_name(self) -> str:
        return self.backend

    def start(self) -> None:
        """Ask the backend for every reply. Raises BackendDown while it is given a rest after failures."""
        try:
            self._backend.breaker.check(self.id)
        except RunnerFailed as error:
            raise BackendDown(str(error), retry_after_s=10) from error
        for reply in self.replies:
            self._tasks[reply.index] = asyncio.create_task(self._generate(reply))

    async def _generate(self, reply: TextGeneration) -> None:
        import openai

        try:
            await self._read_stream(reply)
            self._backend.breaker.succeeded()
        except openai.APIStatusError as error:
            if error.status_code >= 500 or error.status_code == 429:
                self._backend.breaker.failed()
            else:
                self._backend.breaker.succeeded()  # whoever refuses is up
            self._fail_with(error, refused=error.status_code < 500)
        except (openai.APIError, RequestError, OSError) as error:
            self._backend.breaker.failed()
            self._fail_with(error, refused=False)

    async def _read_stream(self, reply: TextGeneration) -> None:
        asked, prompt = self._settings(reply.index), self.prompts[reply.index // self.ask.n]
        top_k = asked.pop("top_k", 0)
        stop = list(self.ask.sampling.stop) or None
        body: dict[str, Any] = {
            **asked,
            "model": await self._backend.model(),
            "messages": list(prompt.messages),
            "stop": stop,
            "stream": True,
        }
        stream = await self._backend.client.chat.completions.create(
            **body, extra_body={"top_k": top_k} if top_k else None
        )
        finish = "stop"
        async with contextlib.aclosing(stream.response):
            async for chunk in stream:
                if chunk.choices:
                    finish = chunk.choices[0].finish_reason or finish
                    if text := chunk.choices[0].delta.content:
                        self.gain(reply.take(text))
        self.gain(reply.end(finish))

    def _fail_with(self, error: Exception, *, refused: bool) -> None:
        said = f"the backend {self.backend!r} {'refused the request' if refused else 'does not answer'}: {error}"
        self.fail(BadRequest(said, code="backend_refused") if refused else BackendDown(said, retry_after_s=10))

    def _cancel(self, index: int) -> None:
        if (task := self._tasks.get(index)) is not None and task is not asyncio.current_task():
            task.cancel()
            self._backend.breaker.left_off(self.id)

    def _let_go(self) -> None:
        """The tasks hold nothing else."""

    async def read(self) -> list[list[Token]]:
        """See Answer."""
        tokens = await super().read()
        await self._encode()
        return tokens

    async def record(self) -> None:
        """See Answer."""
        await self._encode()
        await super().record()

    async def _encode(self) -> None:
        """Have the ids of what was said ready, on a thread: long texts take a while that nobody else should wait for.
        """
        missing = (
            [reply for reply in self.replies if reply.index not in self._ids] if self._learned_by is not None else []
        )
        if missing:
            self._ids |= {
                reply.index: ids
                for reply, ids in zip(missing, await asyncio.to_thread(self._encoded, missing), strict=True)
            }

    def _encoded(self, replies: Sequence[TextGeneration]) -> list[tuple[list[int], list[int]]]:
        """Return prompt and reply ids of each; none where there is no text, or where the template refuses what the
        backend took.
        """
        assert self._learned_by is not None
        found: list[tuple[list[int], list[int]]] = []
        for reply in replies:
            try:
                messages = list(self.prompts[reply.index // self.ask.n].messages)
                prompt_ids, completion_ids = (
                    self._learned_by.completion_ids(messages, reply.text) if reply.text else ([], [])
                )
            except InvalidChat as error:
                log.warning("%s is kept without token ids, so nothing is learned from it: %s", self.id, error)
                prompt_ids, completion_ids = [], []
            found.append((prompt_ids, completion_ids if reply.finish_reason == "stop" else completion_ids[:-1]))
        return found

    def _completion(self, reply: Generation | TextGeneration) -> Completion:
        kept = super()._completion(reply)
        if self._learned_by is None or not isinstance(reply, TextGeneration):
            return kept
        # not encoded yet where the reader left before the end: then this is the writer's thread
        prompt_ids, completion_ids = self._ids.get(reply.index) or self._encoded([reply])[0]
        return replace(kept, prompt_ids=prompt_ids, completion_ids=completion_ids)

    def _settings(self, index: int) -> dict[str, Any]:
        sampling = self.ask.sampling
        said = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "max_tokens": sampling.max_tokens or self.prompts[index // self.ask.n].max_tokens,
            "presence_penalty": sampling.presence_penalty,
            "frequency_penalty": sampling.frequency_penalty,
        }
        return {**said, "seed": (sampling.seed + index) % 2**31} if sampling.seed is not None else said

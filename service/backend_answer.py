"""Answers by other people's models, through any OpenAI-compatible backend, to compare with.

Such answers come as text: the backend's token ids are not known.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import httpx

from policy.errors import InvalidChat, RunnerFailed
from policy.runners.destinations import guarded_client
from policy.runners.remote import Breaker
from service.answer import Answer, AnswerContext, AnswerRequest
from service.backend_stream import MOST_CHARACTERS, NoAnswer, check_head, model_names, no_answer, text_and_finish
from service.context_fit import Prompt
from service.engine.generation import Generation, TextGeneration, Token
from service.errors import BackendDown, BadRequest, RequestError
from service.model import Model
from service.prompt_threads import PromptThreads
from store.completions import Completion

log = logging.getLogger(__name__)
TRIES = 3
MOST_SHOWN = 500  # characters of a backend's error that go into ours


class Backend:
    """One OpenAI-compatible backend under the name that requests use for it.

    Its API key, if it needs one, is in the environment variable ATTUNE_COMPARE_KEY_<NAME>.
    """

    def __init__(self, name: str, url: str, limit_s: float) -> None:
        from openai import AsyncOpenAI  # most services have no backend, and starting is quicker without it

        self.name = name
        base_url = url.rstrip("/") if url.rstrip("/").endswith("/v1") else url.rstrip("/") + "/v1"
        key = os.environ.get(f"ATTUNE_COMPARE_KEY_{name.upper().replace('-', '_')}", "none")
        # openai's own client would follow a redirect, with the question and the key, to wherever it points
        http: Any = guarded_client(url, limits=httpx.Limits(max_connections=1000, max_keepalive_connections=100))
        self.client: AsyncOpenAI = AsyncOpenAI(
            base_url=base_url, api_key=key, timeout=limit_s, max_retries=TRIES - 1, http_client=http
        )
        self.breaker = Breaker(f"the backend {name!r}")
        self._model: str | None = None

    async def model(self) -> str:
        """Return the model to ask for there: the one with the backend's own name if it is listed, else the first.

        Raises BackendDown when the backend lists none.
        """
        if self._model is None:
            listed = model_names(await self.client.models.list())
            if not listed:
                raise BackendDown(f"the backend {self.name!r} lists no models")
            self._model = self.name if self.name in listed else listed[0]
        return self._model

    async def close(self) -> None:
        """Close its connections."""
        await self.client.close()


class BackendAnswer(Answer):
    """All generations come from one backend, as text."""

    generations: list[TextGeneration]

    def __init__(
        self,
        request: AnswerRequest,
        prompts: Sequence[Prompt],
        conversation_id: str,
        context: AnswerContext,
        backend: Backend,
        learned_by: Model | None = None,
        context_length: int = 0,
        threads: PromptThreads | None = None,
        defaults: Mapping[str, float] | None = None,
    ) -> None:
        """`learned_by` is the model whose token ids are recorded beside the text, where it may be learned from.

        It has none for more than `context_length` tokens. `threads` do that work. `defaults` are the operator's; what
        nobody names is left to the backend.
        """
        super().__init__(request, prompts, conversation_id, 1.0, context)
        self._learned_by, self._context_length, self._threads = learned_by, context_length, threads
        self._defaults = defaults or {}
        self.backend = backend.name
        self.generations = [TextGeneration(index) for index in range(len(prompts) * request.n)]
        self._backend = backend
        self._tasks: dict[int, asyncio.Task[None]] = {}
        # by index: prompt and completion ids under the tokenizer of the model that learns from them
        self._ids: dict[int, tuple[list[int], list[int]]] = {}

    @property
    def model_name(self) -> str:
        return self.backend

    def start(self) -> None:
        """Ask the backend for every generation. Raises BackendDown while it rests after failures."""
        try:
            self._backend.breaker.check(self.id)
        except RunnerFailed as error:
            raise BackendDown(str(error), retry_after_s=10) from error
        for generation in self.generations:
            self._tasks[generation.index] = asyncio.create_task(self._generate(generation))

    async def _generate(self, generation: TextGeneration) -> None:
        import openai

        try:
            await self._read_stream(generation)
            self._backend.breaker.succeeded()
        except openai.APIStatusError as error:
            if error.status_code >= 500 or error.status_code < 400 or error.status_code == 429:
                self._backend.breaker.failed()
            else:
                self._backend.breaker.succeeded()  # a backend that refuses a request is up
            self._fail_with(error, refused=400 <= error.status_code < 500)
        except (openai.APIError, httpx.HTTPError, RequestError, OSError) as error:
            self._backend.breaker.failed()
            self._fail_with(error, refused=False)
        except Exception as error:  # whatever it sent, the answer ends now and not at its limit
            self._backend.breaker.failed()
            self._fail_with(no_answer(error), refused=False)

    async def _read_stream(self, generation: TextGeneration) -> None:
        settings, prompt = self._settings(generation.index), self.prompts[generation.index // self.request.n]
        top_k = settings.pop("top_k", 0)
        stop = list(self.request.sampling.stop) or None
        body: dict[str, Any] = {
            **settings,
            "model": await self._backend.model(),
            "messages": list(prompt.messages),
            "stop": stop,
            "stream": True,
        }
        stream = await self._backend.client.chat.completions.create(
            **body, extra_body={"top_k": top_k} if top_k else None, extra_headers={"Accept-Encoding": "identity"}
        )
        async with contextlib.aclosing(stream.response):
            check_head(stream.response)
            async for chunk in stream:
                text, finish = text_and_finish(chunk)
                if len(generation.text) + len(text) > MOST_CHARACTERS:
                    raise NoAnswer(f"it sent more than {MOST_CHARACTERS} characters for one answer")
                if text:
                    self.add_delta(generation.add(text))
                if finish is not None:
                    self.add_delta(generation.end(finish))
                    return
        raise NoAnswer("it ended its stream before the answer's end")

    def _fail_with(self, error: Exception, *, refused: bool) -> None:
        """End the answer for its reader; what this task's generation has so far is kept as an error."""
        reason = str(error) if len(str(error)) <= MOST_SHOWN else f"{str(error)[:MOST_SHOWN]}..."
        message = f"the backend {self.backend!r} {'refused the request' if refused else 'does not answer'}: {reason}"
        task = asyncio.current_task()
        failed = [
            generation
            for generation in self.generations
            if generation.finish_reason is None and self._tasks.get(generation.index) is task
        ]
        self.fail(BadRequest(message, code="backend_refused") if refused else BackendDown(message, retry_after_s=10))
        for generation in failed:
            generation.finish_reason = "error"

    def _cancel(self, index: int) -> None:
        if (task := self._tasks.get(index)) is not None and task is not asyncio.current_task():
            task.cancel()
            self._backend.breaker.left_off(self.id)

    def _release_generator(self) -> None:
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
        """Tokenize the texts that have no ids yet, on a thread, since long texts take a while."""
        if self._learned_by is None:
            return
        missing = [generation for generation in self.generations if generation.index not in self._ids]
        if missing:
            assert self._threads is not None
            num_characters = sum(len(message["content"]) for prompt in self.prompts for message in prompt.messages)
            encoded = await self._threads.run(num_characters, lambda is_ended: self._encoded(missing, is_ended))
            self._ids |= {generation.index: ids for generation, ids in zip(missing, encoded, strict=True)}

    def _encoded(
        self, generations: Sequence[TextGeneration], is_interrupted: Callable[[], bool] = lambda: False
    ) -> list[tuple[list[int], list[int]]]:
        """Return prompt and completion ids of each generation.

        They are empty where there is no text, where our chat template refuses what the backend took, and where our
        context is too short for it. Raises Interrupted.
        """
        assert self._learned_by is not None
        found: list[tuple[list[int], list[int]]] = []
        for generation in generations:
            messages = list(self.prompts[generation.index // self.request.n].messages)
            prompt_ids: list[int] = []
            completion_ids: list[int] = []
            try:
                if generation.text and self._fits(messages, generation.text, is_interrupted):
                    prompt_ids, completion_ids = self._learned_by.completion_ids(messages, generation.text)
            except InvalidChat as error:
                log.warning("%s is stored without token ids, so nothing is learned from it: %s", self.id, error)
            found.append((prompt_ids, completion_ids if generation.finish_reason == "stop" else completion_ids[:-1]))
        return found

    def _fits(self, messages: list[dict[str, Any]], text: str, is_interrupted: Callable[[], bool]) -> bool:
        assert self._learned_by is not None
        whole = [*messages, {"role": "assistant", "content": text}]
        encoder = self._learned_by.prompt_encoder(is_interrupted)
        return encoder.prompt_ids_within(whole, self._context_length) is not None

    def _completion(self, generation: Generation | TextGeneration) -> Completion:
        completion = super()._completion(generation)
        if self._learned_by is None or not isinstance(generation, TextGeneration):
            return completion
        # not encoded yet where the reader left before the end: then this is the writer's thread
        prompt_ids, completion_ids = self._ids.get(generation.index) or self._encoded([generation])[0]
        return replace(completion, prompt_ids=prompt_ids, completion_ids=completion_ids)

    def _settings(self, index: int) -> dict[str, Any]:
        sampling = self.request.sampling
        settings = {
            **sampling.over(self._defaults),
            "max_tokens": sampling.max_tokens or self.prompts[index // self.request.n].max_tokens,
        }
        return {**settings, "seed": (sampling.seed + index) % 2**31} if sampling.seed is not None else settings

"""A vLLM server as a runner: versions are adapters, loaded over HTTP under names that are never reused.

The server needs `--enable-lora --max-loras N`, VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, and access to the version
folders. Requests and responses hold token ids, with the raw log-probability of each (vLLM's default `raw_logprobs`).
"""

import asyncio
import contextlib
import json
import math
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

import httpx

from policy.errors import PromptTooLong, RunnerFailed, UnsupportedModel
from policy.model import model_config
from policy.runners.base import Alternatives, Finish, GenerationRequest, SamplingSettings, TokenDelta, VersionSource
from policy.runners.destinations import guarded_client
from policy.runners.remote import Breaker, LoopThread, jittered, readable, with_retries

T = TypeVar("T")
# What reading the response of a server that is no vLLM, or is broken, may raise.
NONSENSE = (httpx.HTTPError, ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError)
TIMEOUT = httpx.Timeout(10.0, read=120.0)
ASKED_AT_ONCE = 8  # tokens whose log-probabilities are requested at the same time


def adapter_name(source: VersionSource) -> str:
    """Return the adapter's name at the server: number and digest, so that other weights have another name."""
    return f"attune-{source.number:06d}-{source.digest[:16]}"


def answer_of(request_id: str) -> str:
    """Return the common part of the ids of one answer's generations: all before the last hyphen."""
    return request_id.rpartition("-")[0] or request_id


class VllmRunner:
    """The Runner interface to a vLLM server. An object serves one version; several share a server."""

    kind = "vllm"

    def __init__(self, url: str, source: VersionSource, api_key: str = "") -> None:
        """Load the version's adapter at the server and check that it is listed.

        Raises RunnerFailed when the server is down, serves another base or refuses the adapter, UnsupportedModel for
        full weights.
        """
        if source.full is not None:
            raise UnsupportedModel(
                f"version {source.number} has full weights; a vLLM server takes only adapters over HTTP"
            )
        self.on_exit: Callable[[str], None] | None = None
        self._name = f"the vLLM server at {url}"
        self._source = source
        self._breaker = Breaker(self._name)
        self._loop = LoopThread("runner-vllm")
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        limits = httpx.Limits(max_connections=None)
        base_url = url.rstrip("/").removesuffix("/v1")
        self._http = guarded_client(url, base_url=base_url, timeout=TIMEOUT, headers=headers, limits=limits)
        self._open: dict[str, tuple[Future[None], Callable[[TokenDelta], None]]] = {}
        self._lock = threading.Lock()
        self._tokens, self._closed = 0, False
        self.vocabulary = int(model_config(source.base)["vocab_size"])
        try:
            self.model, self.context_length = self._loop.start(self._load()).result(150.0)
        except BaseException as error:
            self._loop.close()
            if isinstance(error, NONSENSE):
                raise RunnerFailed(readable(self._name, error)) from error
            raise

    def submit(
        self,
        request_id: str,
        prompt_ids: Sequence[int],
        settings: SamplingSettings,
        on_delta: Callable[[TokenDelta], None],
    ) -> None:
        """See Runner."""
        if len(prompt_ids) + settings.max_tokens > self.context_length:
            asked = f"{len(prompt_ids)} tokens of prompt and {settings.max_tokens} of answer"
            raise PromptTooLong(f"{asked} do not fit the context of {self.context_length} tokens")
        if not prompt_ids or not 0 <= min(prompt_ids) <= max(prompt_ids) < self.vocabulary:
            raise ValueError(f"the prompt is empty or holds a token id outside 0..{self.vocabulary - 1}")
        with self._lock:
            if self._closed:
                raise RunnerFailed("this runner is closed")
            if request_id in self._open:
                raise ValueError(f"the request id {request_id!r} is in use")
            self._breaker.check(answer_of(request_id))
            self._open[request_id] = (
                self._loop.start(self._generate(request_id, list(prompt_ids), settings)),
                on_delta,
            )

    def submit_all(self, requests: Sequence[GenerationRequest]) -> None:
        """See Runner. The server forms its batches by itself."""
        for one in requests:
            self.submit(one.request_id, one.prompt_ids, one.settings, one.on_delta)

    def adopt(self, source: VersionSource) -> bool:
        """See RunnerProcess: other weights have another name at the server, and a runner of their own."""
        return source.digest == self._source.digest

    def cancel(self, request_id: str) -> None:
        """See Runner. The connection is closed, which makes the server stop."""
        if (entry := self._open.get(request_id)) is not None:
            entry[0].cancel()
            self._breaker.left_off(answer_of(request_id))
            # here: a task that has not started never runs its own handler
            self._finish(request_id, TokenDelta(request_id, finish="cancelled"))

    def fingerprint(self, prompt_ids: Sequence[int], token_ids: Sequence[int]) -> list[float]:
        """See Runner."""
        return self._wait(self._at_once([self._logp(list(prompt_ids), token) for token in token_ids]))

    def score(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[list[float]]:
        """See Runner. One request for each token; the server caches the common prefix."""
        found = []
        for prompt, completion in sequences:
            logps = [self._logp([*prompt, *completion[:index]], token) for index, token in enumerate(completion)]
            found.append(self._wait(self._at_once(logps)))
        return found

    def alternatives(self, prompt_ids: Sequence[int], completion_ids: Sequence[int], count: int) -> Alternatives:
        """See Runner. One request for each token."""
        likeliest = [
            self._likeliest([*prompt_ids, *completion_ids[:index]], count) for index in range(len(completion_ids))
        ]
        return self._wait(self._at_once(likeliest))

    def stats(self) -> dict[str, Any]:
        """See Runner."""
        return {"kind": self.kind, "active": len(self._open), "tokens": self._tokens, "model": self.model}

    def close(self) -> None:
        """See Runner. Unloads the adapter; its name is never used for other weights."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            entries = list(self._open.items())
        for request_id, (_, on_delta) in entries:
            if self._open.pop(request_id, None) is not None:
                on_delta(TokenDelta(request_id, finish="error", error="the runner was closed"))
        if self._source.adapter is not None:
            # the server may be gone; a leftover adapter does no harm, since its name is never reused
            with contextlib.suppress(Exception):
                unload = self._http.post("/v1/unload_lora_adapter", json={"lora_name": self.model})
                self._loop.start(unload).result(10.0)
        self._loop.start(self._http.aclose()).result(5.0)
        self._loop.close()

    async def _load(self) -> tuple[str, int]:
        models = await self._models()
        bases = [model for model in models.values() if not model.get("parent")]
        if not bases:
            raise RunnerFailed(f"{self._name} serves no base model")
        context = int(bases[0]["max_model_len"])
        if self._source.adapter is None:
            return str(bases[0]["id"]), context
        name = adapter_name(self._source)
        if name not in models:
            asked = {"lora_name": name, "lora_path": str(self._source.adapter.resolve())}
            answer = await self._http.post("/v1/load_lora_adapter", json=asked)
            if answer.status_code == 404 and "lora" not in answer.text.lower():
                needed = "--enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"
                raise RunnerFailed(f"{self._name} takes no adapters; start it with {needed}")
            if answer.status_code != 200:
                raise RunnerFailed(f"{self._name} refused version {self._source.number}: {answer.text.strip()[:300]}")
            if name not in await self._models():
                raise RunnerFailed(f"{self._name} loaded {name} but does not list it")
        return name, context

    async def _models(self) -> dict[str, dict[str, Any]]:
        async def ask() -> dict[str, dict[str, Any]]:
            answer = (await self._http.get("/v1/models")).raise_for_status()
            return {model["id"]: model for model in answer.json()["data"]}

        return await with_retries(ask)

    async def _generate(self, request_id: str, prompt_ids: list[int], settings: SamplingSettings) -> None:
        body = {
            "model": self.model,
            "prompt": prompt_ids,
            "max_tokens": settings.max_tokens,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "top_k": settings.top_k or -1,
            "presence_penalty": settings.presence_penalty,
            "frequency_penalty": settings.frequency_penalty,
            "repetition_penalty": settings.repetition_penalty,
            "min_p": settings.min_p,
            "seed": settings.seed % 2**63,
            "stop_token_ids": list(settings.end_ids),
            "ignore_eos": True,  # only the ids above end a generation, as with other runners
            "logprobs": 0,
            "stream": True,
            "return_token_ids": True,
            "add_special_tokens": False,
            "skip_special_tokens": False,
            "cache_salt": adapter_name(self._source),  # versions share no cached keys and values
        }
        began = False
        for attempt in range(3):
            try:
                async with self._http.stream("POST", "/v1/completions", json=body) as answer:
                    if answer.status_code != 200:
                        await answer.aread()
                        answer.raise_for_status()
                    async for line in answer.aiter_lines():
                        if line.startswith("data: {"):
                            began = True
                            self._hand_on(request_id, json.loads(line[6:]))
                if request_id in self._open:
                    self._breaker.failed()
                self._finish(
                    request_id, TokenDelta(request_id, finish="error", error=f"{self._name} ended the stream early")
                )
                return
            except asyncio.CancelledError:
                if began:
                    self._breaker.succeeded()
                self._finish(request_id, TokenDelta(request_id, finish="cancelled"))
                raise
            except Exception as error:  # also a chunk of another shape: it ends this generation at once
                down = isinstance(error, httpx.TransportError) or (
                    isinstance(error, httpx.HTTPStatusError) and error.response.status_code >= 500
                )
                if down:
                    self._breaker.failed()
                elif isinstance(error, httpx.HTTPStatusError):
                    self._breaker.succeeded()  # a server that refuses is up
                elif not isinstance(error, RunnerFailed):
                    self._breaker.failed()  # nonsense
                else:
                    self._breaker.left_off(answer_of(request_id))
                if not down or began or attempt == 2:  # a generation that has begun cannot be repeated
                    self._finish(request_id, TokenDelta(request_id, finish="error", error=readable(self._name, error)))
                    return
                await asyncio.sleep(jittered(attempt))

    def _hand_on(self, request_id: str, chunk: dict[str, Any]) -> None:
        if "error" in chunk:
            raise RunnerFailed(f"{self._name}: {chunk['error'].get('message', chunk['error'])}")
        if not chunk.get("choices"):
            return
        choice = chunk["choices"][0]
        ids = tuple(choice.get("token_ids") or ())
        logps = tuple((choice.get("logprobs") or {}).get("token_logprobs") or ())
        if len(ids) != len(logps):
            given = f"{len(ids)} tokens with {len(logps)} log-probabilities"
            raise RunnerFailed(f"{self._name} gave {given}; a newer vLLM is needed (return_token_ids)")
        if not all(type(token) is int and 0 <= token < self.vocabulary for token in ids):
            raise ValueError(f"a token id outside 0..{self.vocabulary - 1}")
        if not all(isinstance(logp, (int, float)) and math.isfinite(logp) for logp in logps):
            raise ValueError("a log-probability that is no finite number")
        self._tokens += len(ids)
        reason: Finish = {"stop": "stop", "length": "length"}.get(choice.get("finish_reason") or "", "")  # type: ignore[assignment]
        if choice.get("finish_reason") and not reason:
            reason = "error"
        delta = TokenDelta(
            request_id, ids, logps, reason, "" if reason != "error" else f"{self._name} aborted the answer"
        )
        if reason:
            self._breaker.succeeded()  # before a receiver sends the next request
            self._finish(request_id, delta)
        elif (entry := self._open.get(request_id)) is not None:
            entry[1](delta)

    def _finish(self, request_id: str, delta: TokenDelta) -> None:
        if (entry := self._open.pop(request_id, None)) is not None:
            entry[1](delta)

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return self._loop.start(work).result(300.0)
        except NONSENSE as error:
            raise RunnerFailed(readable(self._name, error)) from error

    async def _at_once(self, several: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        """Await all, a few at a time, so that generations under way go on."""
        slots = asyncio.Semaphore(ASKED_AT_ONCE)

        async def one(work: Coroutine[Any, Any, T]) -> T:
            async with slots:
                return await work

        return await asyncio.gather(*map(one, several))

    async def _logp(self, ids: list[int], token: int) -> float:
        """Return the raw log-probability (nats) of one token after `ids`, by allowing the server that token alone."""
        given = await self._next(ids, {"allowed_token_ids": [token], "logprobs": 0})
        return float(given["token_logprobs"][0])

    async def _likeliest(self, ids: list[int], count: int) -> list[tuple[int, float]]:
        given = await self._next(ids, {"logprobs": count})
        found = {int(name.removeprefix("token_id:")): float(logp) for name, logp in given["top_logprobs"][0].items()}
        return sorted(found.items(), key=lambda entry: -entry[1])[:count]

    async def _next(self, ids: list[int], more: dict[str, Any]) -> dict[str, Any]:
        """Return the server's log-probabilities of one more token.

        `prompt_logprobs` would take one request for all tokens. It crashes vLLM 0.32 on a CPU with adapters and open
        generations.
        """
        body = {
            "model": self.model,
            "prompt": ids,
            "max_tokens": 1,
            "temperature": 0,
            "ignore_eos": True,
            "add_special_tokens": False,
            "return_tokens_as_token_ids": True,
            "cache_salt": adapter_name(self._source),
            **more,
        }

        async def ask() -> dict[str, Any]:
            answer = (await self._http.post("/v1/completions", json=body)).raise_for_status().json()
            logprobs: dict[str, Any] = answer["choices"][0]["logprobs"]
            return logprobs

        return await with_retries(ask)

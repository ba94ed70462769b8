"""From a question to a recorded answer: choose the version, wait for a place, generate, and keep exactly what was sampled."""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlite_utils import Database

from policy.runners.base import SamplingSettings, Step
from service.auth import Caller
from service.engine.admission import Admission, Ticket
from service.engine.engine import Engine
from service.engine.replies import Piece, Reply, Token
from service.engine.router import LIVE_NAME, Route, pinned_number, version_name
from service.engine.slots import Lease
from service.errors import AnswerCut, EngineFailed, ModelNotFound, NotFound, Overloaded, RequestError, TimedOut
from service.metrics import Metrics
from service.model import Model
from service.prompts import Prompt, fit_prompt
from service.records import Records
from service.settings import ServeSettings
from store.completions import Completion, add_completions
from store.conversations import ensure_conversation, get_conversation
from store.errors import UnknownConversation, UnknownVersion
from store.events import add_event
from store.ids import new_id, now
from store.raters import ensure_rater
from store.versions import get_version

log = logging.getLogger(__name__)
MAX_SEED = 2**32


@dataclass(frozen=True)
class Sampling:
    """How to sample, as the request said it. `max_tokens` None: up to the default; `seed` None: drawn now."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    max_tokens: int | None = None
    seed: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ask:
    """One request for answers: each of `prompts` (a conversation each) is answered `n` times."""

    caller: Caller
    kind: str  # chat | completion | comparison
    model: str
    prompts: tuple[tuple[dict[str, Any], ...], ...]
    sampling: Sampling
    n: int = 1
    conversation_id: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    may_drop_turns: bool = True


class Answer:
    """The replies to one request under way, all by one version. Read `pieces`, then `record`; always `close`."""

    def __init__(
        self, ask: Ask, lease: Lease, ticket: Ticket, prompts: Sequence[Prompt], route: Route, conversation_id: str, answers: "Answers"
    ) -> None:
        self.id = new_id("chatcmpl-" if ask.kind != "completion" else "cmpl-")
        self.ask, self.prompts, self.route, self.conversation_id = ask, prompts, route, conversation_id
        self.number, self.digest = lease.slot.number, lease.slot.digest
        self.created_at = now()
        self.created = int(time.time())
        self.replies: list[Reply] = []
        self.settings: list[SamplingSettings] = []
        self._lease, self._ticket, self._answers = lease, ticket, answers
        self._news: asyncio.Queue[Piece | RequestError] = asyncio.Queue()
        self._left = 0
        self._is_recorded = False
        self._is_released = False
        self.began = time.monotonic()
        self.first_token_at: float | None = None
        limit_s = answers.settings.request_limit_s
        self._timer = asyncio.get_running_loop().call_later(limit_s, self._fail, TimedOut(f"the answer took longer than {limit_s:g} s and was cut"))

    @property
    def model_name(self) -> str:
        """The exact version that answers."""
        return version_name(self.number)

    @property
    def prompt_tokens(self) -> int:
        return sum(len(prompt.ids) for prompt in self.prompts)

    @property
    def completion_tokens(self) -> int:
        return sum(len(reply.ids) for reply in self.replies)

    def start(self) -> None:
        """Give all replies to the runner."""
        sampling, model = self.ask.sampling, self._answers.model
        seed = sampling.seed if sampling.seed is not None else secrets.randbelow(MAX_SEED)
        for index in range(len(self.prompts) * self.ask.n):
            prompt = self.prompts[index // self.ask.n]
            settings = SamplingSettings(
                temperature=sampling.temperature, top_p=sampling.top_p, top_k=sampling.top_k, max_tokens=prompt.max_tokens,
                seed=(seed + index * 0x9E3779B1) % MAX_SEED, presence_penalty=sampling.presence_penalty,
                frequency_penalty=sampling.frequency_penalty, end_ids=model.end_ids,
            )  # fmt: skip
            self.settings.append(settings)
            self.replies.append(Reply(index, model.text_stream(), sampling.stop, model.end_ids))
        self._left = len(self.replies)
        for reply, settings in zip(self.replies, self.settings, strict=True):
            prompt = self.prompts[reply.index // self.ask.n]
            self._lease.submit(self._request_id(reply), prompt.ids, settings, lambda step, reply=reply: self._receive(reply, step))  # type: ignore[misc]

    async def pieces(self) -> AsyncIterator[Piece]:
        """Give what the replies gain, until all have ended. Raises the RequestError that ended them early."""
        ended, held = 0, None
        while ended < len(self.replies):
            news = held if held is not None else await self._news.get()
            held = None
            while isinstance(news, Piece) and not self._news.empty():  # the reader is slower than the model: larger pieces, fewer of them
                held = self._news.get_nowait()
                if not isinstance(held, Piece) or not news.can_take(held):
                    break
                news, held = news.with_next(held), None
            if isinstance(news, RequestError):
                raise news
            ended += news.finish_reason is not None
            yield news

    async def record(self) -> None:
        """Put the replies into the store; returns once they are on disk."""
        if not self._is_recorded:
            self._is_recorded = True
            await self._answers.records.write(self._write)

    async def read(self) -> list[list[Token]]:
        """Wait for all replies; return the tokens that each of them shows."""
        tokens: list[list[Token]] = [[] for _ in self.replies]
        async for piece in self.pieces():
            tokens[piece.index].extend(piece.tokens)
        return tokens

    async def finish(self) -> list[list[Token]]:
        """Wait for all replies and record them; return the tokens that each of them shows."""
        tokens = await self.read()
        await self.record()
        return tokens

    def completions(self) -> list[Completion]:
        """Return the replies as the store keeps them."""
        return [self._completion(reply) for reply in self.replies]

    def close(self) -> None:
        """Let go of everything. What was sampled of an answer whose reader left is kept, since it may be judged too."""
        if any(reply.finish_reason is None for reply in self.replies):
            self._end_all("cancelled")
        self._release()
        if not self._is_recorded and self.ask.kind != "comparison" and any(reply.ids for reply in self.replies):
            self._is_recorded = True
            with contextlib.suppress(Exception):  # the store is closing: nobody is left to be told
                self._answers.records.submit(self._write)

    def _receive(self, reply: Reply, step: Step) -> None:
        if reply.finish_reason is not None:
            return  # its stop string was found in an earlier step
        if step.finish == "error":
            self._fail(EngineFailed(f"version {self.number} stopped answering: {step.error or 'its runner ended'}; try again"))
            return
        if step.finish == "cancelled":
            self._fail(AnswerCut(self._lease.cut_reason or "the answer was cancelled", retry_after_s=1))
            return
        if self.first_token_at is None:
            self.first_token_at = time.monotonic()
        piece = reply.take(step)
        if piece.finish_reason is not None:
            self._left -= 1
            if not step.finish:
                self._lease.cancel(self._request_id(reply))
        self._news.put_nowait(piece)
        if self._left == 0:
            self._release()

    def _fail(self, error: RequestError) -> None:
        if self._left > 0:
            self._end_all("cancelled")
            self._news.put_nowait(error)
            self._release()

    def _end_all(self, reason: str) -> None:
        self._left = 0
        for reply in self.replies:
            if reply.finish_reason is None:
                self._lease.cancel(self._request_id(reply))
                reply.finish_reason = reason

    def _release(self) -> None:
        if self._is_released:
            return
        self._is_released = True
        self._answers.metrics.saw_end(self)
        self._timer.cancel()
        self._lease.end()
        self._answers.admission.give_back(self._ticket)

    def _request_id(self, reply: Reply) -> str:
        return f"{self.id}-{reply.index}"

    def _write(self, db: Database) -> None:
        ask = self.ask
        ensure_rater(db, ask.caller.rater_id)
        if ask.kind == "chat":
            ensure_conversation(db, self.conversation_id, ask.caller.rater_id, _title(ask.prompts[0]))
        add_completions(db, self.completions())
        add_event(db, "completion", {"completion_id": self.id, "version": self.number})

    def _completion(self, reply: Reply) -> Completion:
        prompt, settings = self.prompts[reply.index // self.ask.n], self.settings[reply.index]
        said = {name: getattr(settings, name) for name in settings.__dataclass_fields__ if name != "end_ids"}
        if self.ask.sampling.stop:
            said["stop"] = list(self.ask.sampling.stop)
        if self.ask.metadata:
            said["metadata"] = self.ask.metadata
        return Completion(
            id=self.id, choice=reply.index, rater_id=self.ask.caller.rater_id, kind=self.ask.kind, asked_model=self.ask.model, backend="local",
            version=self.number, messages=list(prompt.messages), prompt_ids=prompt.ids, reply_ids=reply.ids, logps=reply.logps, text=reply.text,
            finish_reason=reply.finish_reason or "cancelled", created_at=self.created_at,
            conversation_id=self.conversation_id if self.ask.kind == "chat" else None, settings=said, propensity=self.route.propensity,
        )  # fmt: skip


class Answers:
    """Begins answers. Holds what every answer needs."""

    def __init__(self, settings: ServeSettings, model: Model, engine: Engine, admission: Admission, records: Records, metrics: Metrics) -> None:
        self.settings, self.model, self.engine, self.admission, self.records, self.metrics = settings, model, engine, admission, records, metrics

    async def begin(self, ask: Ask) -> Answer:
        """Return an answer whose replies are being generated.

        Raises ModelNotFound, NotFound for somebody else's conversation, ContextLengthExceeded, Overloaded, TimedOut, EngineFailed.
        """
        conversation_id = ask.conversation_id or new_id("conv-")
        if ask.conversation_id is not None:
            await self._check_owner(ask.conversation_id, ask.caller)
        route = await self.route(ask.model, conversation_id)
        limit_s = self.settings.request_limit_s
        ticket: Ticket | None = None
        try:
            async with asyncio.timeout(limit_s):
                ticket = await self.admission.enter(ask.caller.key_id + "/" + ask.caller.rater_id, len(ask.prompts) * ask.n)
                lease = await self.engine.lease(route.number)
        except BaseException as error:
            if ticket is not None:
                self.admission.give_back(ticket)
            if isinstance(error, TimeoutError) and not isinstance(error, RequestError):
                raise Overloaded(f"no place became free within {limit_s:g} s; try again later", retry_after_s=10) from error
            raise
        try:
            prompts = [await self._prompt(ask, messages, lease) for messages in ask.prompts]
            answer = Answer(ask, lease, ticket, prompts, route, conversation_id, self)
        except BaseException:
            lease.end()
            self.admission.give_back(ticket)
            raise
        try:
            answer.start()
        except BaseException:
            answer.close()
            raise
        self.metrics.saw_answer(answer)
        return answer

    async def route(self, model: str, conversation_id: str) -> Route:
        """Return the version that a model name means for a conversation. Raises ModelNotFound, Overloaded while none is loaded yet."""
        if self.engine.router is None:
            raise Overloaded("the model is still being loaded; try again in a moment", code="loading", retry_after_s=1)
        if model == LIVE_NAME:
            return self.engine.router.choose(conversation_id)
        number = pinned_number(model)
        if number is None:
            raise ModelNotFound(f"there is no model {model!r}; GET /v1/models lists those there are", param="model")
        try:
            version = await self.records.read(lambda db: get_version(db, number))
        except UnknownVersion as error:
            raise ModelNotFound(f"there is no model {model!r}; GET /v1/models lists those there are", param="model") from error
        if version.state in ("rejected", "withdrawn"):
            raise ModelNotFound(f"{model} was {version.state} and does not answer", param="model")
        return Route(number, 1.0)

    async def _prompt(self, ask: Ask, messages: Sequence[dict[str, Any]], lease: Lease) -> Prompt:
        """Render on a thread: a long conversation takes milliseconds that others should not wait for."""
        default, context = self.settings.default_max_tokens, lease.slot.runner.context_length
        return await asyncio.to_thread(fit_prompt, self.model, messages, context, ask.sampling.max_tokens, default, ask.may_drop_turns)

    async def _check_owner(self, conversation_id: str, caller: Caller) -> None:
        with contextlib.suppress(UnknownConversation):  # a new one may carry the caller's own id
            found = await self.records.read(lambda db: get_conversation(db, conversation_id))
            if found.rater_id != caller.rater_id:
                raise NotFound(f"there is no conversation {conversation_id!r}", param="conversation_id")


def _title(messages: Sequence[dict[str, Any]]) -> str:
    return next((str(message["content"]) for message in messages if message["role"] == "user"), "")

"""One request's answer under way: its replies grow piece by piece, and are recorded exactly as they were given."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlite_utils import Database

from service.auth import Caller
from service.engine.admission import Admission, Ticket
from service.engine.generation import Generation, TextDelta, TextGeneration, Token
from service.errors import RequestError, TimedOut
from service.metrics import Metrics
from service.prompts import Prompt
from service.records import Records
from service.regenerations import regeneration_of
from store.completions import Completion, add_completions
from store.conversations import ensure_conversation
from store.events import add_event
from store.feedback import add_feedback
from store.ids import new_id, now
from store.raters import ensure_rater


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
    alternatives: int = 0  # how many of the likeliest tokens are wanted in each token's place


@dataclass(frozen=True)
class Room:
    """What an answer stands in: its place in the queue, where it is recorded and counted, and how many seconds it may
    take.
    """

    ticket: Ticket
    admission: Admission
    records: Records
    metrics: Metrics
    limit_s: float


class Answer:
    """The replies to one request under way, all by one model. Read `pieces`, then `record`; always `close`.

    Whoever generates calls `gain` and `fail`, and says how a reply is cancelled.
    """

    number: int | None = None  # the version that answers; None for a foreign backend
    digest: str | None = None
    backend = "local"

    def __init__(
        self, ask: Ask, prompts: Sequence[Prompt], conversation_id: str, propensity: float, room: Room
    ) -> None:
        self.id = new_id("chatcmpl-" if ask.kind != "completion" else "cmpl-")
        self.ask, self.prompts, self.conversation_id = ask, prompts, conversation_id
        self.created_at, self.created = now(), int(time.time())
        self.replies: list[Generation] | list[TextGeneration] = []
        self.began = time.monotonic()
        self.first_token_at: float | None = None
        self._propensity, self._room = propensity, room
        self._news: asyncio.Queue[TextDelta | RequestError] = asyncio.Queue()
        self._is_recorded = self._is_released = False
        error = TimedOut(f"the answer took longer than {room.limit_s:g} s and was cut")
        self._timer = asyncio.get_running_loop().call_later(room.limit_s, self.fail, error)

    @property
    def model_name(self) -> str:
        """The exact version, or the backend, that answers."""
        raise NotImplementedError

    @property
    def headers(self) -> dict[str, str]:
        """Headers that name who answers."""
        return {"X-Attune-Version": str(self.number)} if self.number is not None else {"X-Attune-Backend": self.backend}

    @property
    def prompt_tokens(self) -> int:
        """How many tokens all prompts have."""
        return sum(len(prompt.ids) for prompt in self.prompts)

    @property
    def completion_tokens(self) -> int:
        """How many tokens were sampled, those that end a turn included."""
        return sum(len(reply.ids) for reply in self.replies)

    async def pieces(self) -> AsyncIterator[TextDelta]:
        """Give what the replies gain, until all have ended. Raises the RequestError that ended them early."""
        ended, held = 0, None
        while ended < len(self.replies):
            news = held if held is not None else await self._news.get()
            held = None
            while (
                isinstance(news, TextDelta) and not self._news.empty()
            ):  # the reader is slower than the model: larger pieces, fewer of them
                held = self._news.get_nowait()
                if not isinstance(held, TextDelta) or not news.can_take(held):
                    break
                news, held = news.with_next(held), None
            if isinstance(news, RequestError):
                raise news
            ended += news.finish_reason is not None
            yield news

    async def read(self) -> list[list[Token]]:
        """Wait for all replies; return the tokens that each of them shows."""
        tokens: list[list[Token]] = [[] for _ in self.replies]
        async for piece in self.pieces():
            tokens[piece.index].extend(piece.tokens)
        return tokens

    async def record(self) -> None:
        """Put the replies into the store; returns once they are on disk."""
        if not self._is_recorded:
            self._is_recorded = True
            await self._room.records.write(self._write)

    async def finish(self) -> list[list[Token]]:
        """Wait for all replies and record them; return the tokens that each of them shows."""
        tokens = await self.read()
        await self.record()
        return tokens

    async def with_alternatives(self, tokens: list[list[Token]]) -> list[list[Token]]:
        """Return what all replies show, each token with its alternatives, once they have ended; without where nobody
        knows them.
        """
        return tokens

    def completions(self) -> list[Completion]:
        """Return the replies as the store keeps them."""
        return [self._completion(reply) for reply in self.replies]

    def close(self) -> None:
        """Let go of everything. What was given of an answer whose reader left is kept, since it may be judged too."""
        self._end_open_replies()
        self._release()
        self._room.admission.give_back(self._room.ticket)
        if (
            not self._is_recorded
            and self.ask.kind != "comparison"
            and any(reply.text or reply.ids for reply in self.replies)
        ):
            self._is_recorded = True
            with contextlib.suppress(Exception):  # the store is closing: nobody is left to be told
                self._room.records.submit(self._write)

    def gain(self, piece: TextDelta) -> None:
        """Take what a reply gained."""
        if self.first_token_at is None:
            self.first_token_at = time.monotonic()
        self._news.put_nowait(piece)
        if all(reply.finish_reason is not None for reply in self.replies):
            self._release()

    def fail(self, error: RequestError) -> None:
        """End the answer early, unless it has ended; its reader gets `error`."""
        if self._end_open_replies():
            self._news.put_nowait(error)
            self._release()

    def _end_open_replies(self) -> bool:
        """Cancel what still grows; return whether anything did."""
        still_open = [reply for reply in self.replies if reply.finish_reason is None]
        for reply in still_open:
            reply.finish_reason = "cancelled"
            self._cancel(reply.index)
        return bool(still_open)

    def _release(self) -> None:
        if not self._is_released:
            self._is_released = True
            self._room.metrics.saw_end(self)
            self._timer.cancel()
            self._let_go()
            if not self.ask.alternatives:  # they are made after the last token, in the same place
                self._room.admission.give_back(self._room.ticket)

    def _cancel(self, index: int) -> None:
        """Have one reply end within a step."""
        raise NotImplementedError

    def _let_go(self) -> None:
        """Give back what the replies were generated with."""
        raise NotImplementedError

    def _settings(self, index: int) -> dict[str, Any]:
        """Return how one reply was sampled."""
        raise NotImplementedError

    def _write(self, db: Database) -> None:
        ask = self.ask
        ensure_rater(db, ask.caller.rater_id)
        if ask.kind == "chat":
            ensure_conversation(db, self.conversation_id, ask.caller.rater_id, _title(ask.prompts[0]))
        completions = self.completions()
        add_completions(db, completions)
        add_event(db, "completion", {"completion_id": self.id, "version": self.number})
        if (
            ask.kind == "chat"
            and ask.caller.may("feedback")
            and (again := regeneration_of(db, completions[0], ask.metadata)) is not None
        ):
            add_feedback(db, again)
            self._room.metrics.feedback.labels(again.kind).inc()

    def _completion(self, reply: Generation | TextGeneration) -> Completion:
        prompt, ask = self.prompts[reply.index // self.ask.n], self.ask
        said = {"stop": list(ask.sampling.stop) if ask.sampling.stop else None, "metadata": ask.metadata or None}
        return Completion(
            id=self.id,
            choice=reply.index,
            rater_id=ask.caller.rater_id,
            kind=ask.kind,
            asked_model=ask.model,
            backend=self.backend,
            version=self.number,
            messages=list(prompt.messages),
            prompt_ids=prompt.ids,
            completion_ids=reply.ids,
            logps=reply.logps,
            text=reply.text,
            finish_reason=reply.finish_reason or "cancelled",
            created_at=self.created_at,
            conversation_id=self.conversation_id if ask.kind == "chat" else None,
            settings={
                **self._settings(reply.index),
                **{name: value for name, value in said.items() if value is not None},
            },
            propensity=self._propensity,
        )


def _title(messages: Sequence[dict[str, Any]]) -> str:
    return next((str(message["content"]) for message in messages if message["role"] == "user"), "")

"""One request's answer under way: its generations grow by deltas, and are recorded exactly as they were given."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlite_utils import Database

from service.async_store import Records
from service.auth import Caller
from service.context_fit import Prompt
from service.engine.admission import Admission, Ticket
from service.engine.generation import Generation, TextDelta, TextGeneration, Token
from service.errors import RequestError, TimedOut
from service.metrics import Metrics
from service.regenerations import regeneration_of
from service.sampling import Sampling
from store.completions import Completion, add_completions
from store.conversations import ensure_conversation
from store.events import add_event
from store.feedback import add_feedback
from store.ids import new_id, now
from store.raters import ensure_rater


@dataclass(frozen=True)
class AnswerRequest:
    """What is asked for: `n` completions for each of `prompts`, which are conversations."""

    caller: Caller
    kind: str  # chat | completion | comparison
    model: str
    prompts: tuple[tuple[dict[str, Any], ...], ...]
    sampling: Sampling
    n: int = 1
    conversation_id: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    may_drop_turns: bool = True
    template_arguments: dict[str, Any] = field(default_factory=dict)  # the request's own, for the chat template
    alternatives: int = 0  # how many of the likeliest tokens are wanted at each index


@dataclass(frozen=True)
class AnswerContext:
    """What an answer needs beside its prompts: its ticket, the store, the metrics, and its time limit in seconds."""

    ticket: Ticket
    admission: Admission
    records: Records
    metrics: Metrics
    limit_s: float


class Answer:
    """The generations of one request, all by one model. Read `deltas`, then `record`; always `close`.

    A subclass generates: it calls `add_delta` and `fail`, and implements how a generation is cancelled.
    """

    number: int | None = None  # the version that answers; None for a backend
    digest: str | None = None
    backend = "local"

    def __init__(
        self,
        request: AnswerRequest,
        prompts: Sequence[Prompt],
        conversation_id: str,
        propensity: float,
        context: AnswerContext,
    ) -> None:
        self.id = new_id("chatcmpl-" if request.kind != "completion" else "cmpl-")
        self.request, self.prompts, self.conversation_id = request, prompts, conversation_id
        self.created_at, self.created = now(), int(time.time())
        self.generations: list[Generation] | list[TextGeneration] = []
        self.began = time.monotonic()
        self.first_token_at: float | None = None
        self._propensity, self._context = propensity, context
        self._queue: asyncio.Queue[TextDelta | RequestError] = asyncio.Queue()
        self._is_recorded = self._is_released = False
        error = TimedOut(f"the answer took longer than {context.limit_s:g} s and was cut")
        self._timer = asyncio.get_running_loop().call_later(context.limit_s, self.fail, error)

    @property
    def model_name(self) -> str:
        """The exact version, or the backend, that answers."""
        raise NotImplementedError

    @property
    def answered_by(self) -> str:
        """The label of who answers in the metrics: a version's number or a backend's name."""
        return str(self.number) if self.number is not None else self.backend

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
        """How many tokens were sampled, end-of-turn tokens included."""
        return sum(len(generation.ids) for generation in self.generations)

    async def deltas(self) -> AsyncIterator[TextDelta]:
        """Give what the generations gain, until all have ended. Raises the RequestError that ended them early.

        Where the reader is slower than the model, deltas of one generation that wait are merged.
        """
        ended, held = 0, None
        while ended < len(self.generations):
            delta = held if held is not None else await self._queue.get()
            held = None
            while isinstance(delta, TextDelta) and not self._queue.empty():
                held = self._queue.get_nowait()
                if not isinstance(held, TextDelta) or not delta.can_merge(held):
                    break
                delta, held = delta.merge(held), None
            if isinstance(delta, RequestError):
                raise delta
            ended += delta.finish_reason is not None
            yield delta

    async def read(self) -> list[list[Token]]:
        """Wait for all generations; return the tokens that each of them shows."""
        tokens: list[list[Token]] = [[] for _ in self.generations]
        async for delta in self.deltas():
            tokens[delta.index].extend(delta.tokens)
        return tokens

    async def record(self) -> None:
        """Store the completions; returns once they are on disk."""
        if not self._is_recorded:
            self._is_recorded = True
            await self._context.records.write(self._write)

    async def finish(self) -> list[list[Token]]:
        """Wait for all generations and record them; return the tokens that each of them shows."""
        tokens = await self.read()
        await self.record()
        return tokens

    async def with_alternatives(self, tokens: list[list[Token]]) -> list[list[Token]]:
        """Return the shown tokens of each ended generation with their alternatives, where the model can give any."""
        return tokens

    def completions(self) -> list[Completion]:
        """Return the generations as the store keeps them."""
        return [self._completion(generation) for generation in self.generations]

    def close(self) -> None:
        """Release everything. An answer whose reader left is stored as far as it came, so that it can be rated."""
        self._end_open_generations()
        self._release()
        self._context.admission.give_back(self._context.ticket)
        if (
            not self._is_recorded
            and self.request.kind != "comparison"
            and any(generation.text or generation.ids for generation in self.generations)
        ):
            self._is_recorded = True
            with contextlib.suppress(Exception):  # the store is closing, and there is no caller to report to
                self._context.records.submit(self._write)

    def add_delta(self, delta: TextDelta) -> None:
        """Queue what a generation gained for the reader."""
        if self.first_token_at is None:
            self.first_token_at = time.monotonic()
        self._queue.put_nowait(delta)
        if all(generation.finish_reason is not None for generation in self.generations):
            self._release()

    def fail(self, error: RequestError) -> None:
        """End the answer early, unless it has ended; its reader gets `error`."""
        if self._end_open_generations():
            self._queue.put_nowait(error)
            self._release()

    def _end_open_generations(self) -> bool:
        """Cancel the generations that still grow; return whether there were any."""
        still_open = [generation for generation in self.generations if generation.finish_reason is None]
        for generation in still_open:
            generation.finish_reason = "cancelled"
            self._cancel(generation.index)
        return bool(still_open)

    def _release(self) -> None:
        if not self._is_released:
            self._is_released = True
            first_token_s = self.first_token_at - self.began if self.first_token_at is not None else None
            self._context.metrics.count_answer_end(self.answered_by, self.completion_tokens, first_token_s)
            self._timer.cancel()
            self._release_generator()
            if not self.request.alternatives:  # they are computed after the last token, under the same ticket
                self._context.admission.give_back(self._context.ticket)

    def _cancel(self, index: int) -> None:
        """Cancel one generation; it ends at the runner's next token."""
        raise NotImplementedError

    def _release_generator(self) -> None:
        """Give back what the generations were made with."""
        raise NotImplementedError

    def _settings(self, index: int) -> dict[str, Any]:
        """Return how one generation was sampled."""
        raise NotImplementedError

    def _write(self, db: Database) -> None:
        request = self.request
        ensure_rater(db, request.caller.rater_id)
        if request.kind == "chat":
            ensure_conversation(db, self.conversation_id, request.caller.rater_id, _title(request.prompts[0]))
        completions = self.completions()
        add_completions(db, completions)
        add_event(
            db, "completion", {"completion_id": self.id, "version": self.number, "rater": request.caller.rater_id}
        )
        if (
            request.kind == "chat"
            and request.caller.may("feedback")
            and (regeneration := regeneration_of(db, completions[0], request.metadata)) is not None
        ):
            add_feedback(db, regeneration)
            self._context.metrics.feedback.labels(regeneration.kind).inc()

    def _completion(self, generation: Generation | TextGeneration) -> Completion:
        prompt, request = self.prompts[generation.index // self.request.n], self.request
        extra = {
            "stop": list(request.sampling.stop) or None,
            "metadata": request.metadata or None,
            "user": request.caller.user_tag or None,
            "chat_template_kwargs": request.template_arguments or None,
        }
        return Completion(
            id=self.id,
            choice=generation.index,
            rater_id=request.caller.rater_id,
            kind=request.kind,
            asked_model=request.model,
            backend=self.backend,
            version=self.number,
            messages=list(prompt.messages),
            prompt_ids=prompt.ids,
            completion_ids=generation.ids,
            logps=generation.logps,
            text=generation.text,
            finish_reason=generation.finish_reason or "cancelled",
            created_at=self.created_at,
            conversation_id=self.conversation_id if request.kind == "chat" else None,
            settings={
                **self._settings(generation.index),
                **{name: value for name, value in extra.items() if value is not None},
            },
            propensity=self._propensity,
        )


def _title(messages: Sequence[dict[str, Any]]) -> str:
    return next((str(message["content"]) for message in messages if message["role"] == "user"), "")

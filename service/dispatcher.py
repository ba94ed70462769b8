"""Begins answers: chooses who answers, waits for admission and a slot, renders the prompt, and starts."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from policy.errors import InvalidChat
from service.answer import Answer, AnswerContext, AnswerRequest
from service.async_store import Records
from service.auth import Caller
from service.backend_answer import Backend, BackendAnswer
from service.context_fit import Prompt, fit_prompt
from service.engine.admission import Admission, Ticket
from service.engine.router import LIVE_NAME, Route, pinned_number
from service.engine.slot_pool import SlotPool
from service.engine.slots import Lease
from service.errors import BadRequest, ModelNotFound, NotFound, Overloaded, RequestError, UnsupportedParameter
from service.local_answer import LocalAnswer
from service.metrics import Metrics
from service.model import Model
from service.prompt_threads import PromptThreads
from service.sampling import defaults_of, set_defaults
from service.settings import ServeSettings
from store.conversations import check_can_continue
from store.errors import UnknownConversation, UnknownVersion
from store.ids import new_id
from store.versions import get_version


class Dispatcher:
    """Begins answers. It holds what every answer needs."""

    def __init__(
        self,
        settings: ServeSettings,
        model: Model,
        engine: SlotPool,
        admission: Admission,
        records: Records,
        metrics: Metrics,
        backends: Mapping[str, Backend],
    ) -> None:
        self.settings, self.model, self.engine, self.backends = settings, model, engine, backends
        self._admission, self._records, self._metrics = admission, records, metrics
        self._threads = PromptThreads()
        self._defaults = defaults_of(settings.sampling, model.sampling)

    def close(self) -> None:
        """Interrupt the prompts that are being rendered."""
        self._threads.close()

    async def begin(self, request: AnswerRequest) -> Answer:
        """Return an answer whose generations have started.

        Raises ModelNotFound, NotFound for a conversation that is deleted or another's, ContextLengthExceeded,
        Overloaded, EngineFailed, BackendDown.
        """
        request = replace(request, prompts=tuple(self._with_system_prompt(messages) for messages in request.prompts))
        conversation_id = request.conversation_id or new_id("conv-")
        if request.conversation_id is not None:
            await self._check_owner(request.conversation_id, request.caller)
        backend = self.backends.get(request.model)
        if backend is not None and request.template_arguments:
            message = f"chat_template_kwargs are for this service's own model, not for the backend {request.model!r}"
            raise UnsupportedParameter(f"{message}; leave them out", param="chat_template_kwargs")
        route = await self.route(request.model, conversation_id) if backend is None else None
        ticket, lease = await self._admit(request, route)
        try:
            context = AnswerContext(
                ticket, self._admission, self._records, self._metrics, self.settings.limits.request_s
            )
            answer: LocalAnswer | BackendAnswer
            if lease is not None and route is not None:
                prompts = [await self._prompt(request, messages, lease) for messages in request.prompts]
                answer = LocalAnswer(
                    request, prompts, conversation_id, route, context, lease, self.model, self._defaults
                )
            else:
                assert backend is not None
                prompts = [
                    Prompt([], tuple(messages), self.settings.sampling.max_tokens, 0) for messages in request.prompts
                ]
                learned_by = self.model if self.settings.train_on_backends else None
                longest = max((slot.runner.context_length for slot in self.engine.slots.values()), default=0)
                answer = BackendAnswer(
                    request,
                    prompts,
                    conversation_id,
                    context,
                    backend,
                    learned_by,
                    longest,
                    self._threads,
                    set_defaults(self.settings.sampling),
                )
        except BaseException:
            if lease is not None:
                lease.end()
            self._admission.give_back(ticket)
            raise
        try:
            answer.start()
        except BaseException:
            answer.close()
            raise
        self._metrics.count_answer(answer.answered_by, request.kind, answer.prompt_tokens)
        return answer

    def _with_system_prompt(self, messages: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        """Return a conversation that begins with the operator's system message, unless it has one of its own."""
        prompt = self.settings.system_prompt
        if prompt is None or any(message["role"] == "system" for message in messages):
            return messages
        return ({"role": "system", "content": prompt}, *messages)

    async def _admit(self, request: AnswerRequest, route: Route | None) -> tuple[Ticket, Lease | None]:
        """Wait in the queue and, for one of our versions, for its slot. Raises Overloaded when that takes too long."""
        limit_s, ticket = self.settings.limits.request_s, None
        try:
            async with asyncio.timeout(limit_s):
                ticket = await self._admission.enter(
                    request.caller.key_id, request.caller.rater_id, len(request.prompts) * request.n
                )
                return ticket, await self.engine.lease(route.number) if route is not None else None
        except BaseException as error:
            if ticket is not None:
                self._admission.give_back(ticket)
            if isinstance(error, TimeoutError) and not isinstance(error, RequestError):
                message = f"the request could not start within {limit_s:g} s; try again later"
                raise Overloaded(message, retry_after_s=10) from error
            raise

    async def route(self, model: str, conversation_id: str) -> Route:
        """Return the version that a model name means for a conversation.

        Raises ModelNotFound, and Overloaded while no version is loaded yet.
        """
        if self.engine.router is None:
            raise Overloaded("the model is still being loaded; try again in a moment", code="loading", retry_after_s=1)
        if model == LIVE_NAME:
            return self.engine.router.choose(conversation_id)
        number = pinned_number(model)
        unknown = ModelNotFound(f"there is no model {model!r}; GET /v1/models lists those there are", param="model")
        if number is None:
            raise unknown
        try:
            version = await self._records.read(lambda db: get_version(db, number))
        except UnknownVersion as error:
            raise unknown from error
        if version.state in ("rejected", "withdrawn"):
            raise ModelNotFound(f"{model} was {version.state} and does not answer", param="model")
        return Route(number, 1.0)

    async def _prompt(self, request: AnswerRequest, messages: Sequence[dict[str, Any]], lease: Lease) -> Prompt:
        """Render on a thread: a long conversation would delay other requests. Raises Overloaded past the time limit."""
        default, context = self.settings.sampling.max_tokens, lease.slot.runner.context_length
        asked, limit_s = request.sampling.max_tokens, self.settings.limits.request_s

        def fit(is_interrupted: Callable[[], bool]) -> Prompt:
            encoder = self.model.prompt_encoder(is_interrupted, request.template_arguments)
            return fit_prompt(encoder, messages, context, asked, default, request.may_drop_turns)

        try:
            async with asyncio.timeout(limit_s):
                return await self._threads.run(sum(len(message["content"]) for message in messages), fit)
        except InvalidChat as error:
            param = "chat_template_kwargs" if request.template_arguments else "messages"
            raise BadRequest(f"{error}; send others", param=param, code="invalid_chat") from error
        except TimeoutError as error:
            message = f"the prompt was not ready within {limit_s:g} s; try again later"
            raise Overloaded(message, retry_after_s=10) from error

    async def _check_owner(self, conversation_id: str, caller: Caller) -> None:
        try:
            await self._records.read(lambda db: check_can_continue(db, conversation_id, caller.rater_id))
        except UnknownConversation as error:
            raise NotFound(str(error), param="conversation_id", code="conversation_not_found") from error

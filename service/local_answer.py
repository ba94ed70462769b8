"""Answers by our own versions: token by token from a slot's runner."""

import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

from policy.errors import PolicyError
from policy.runners.base import SamplingSettings, TokenDelta
from service.answer import Answer, AnswerContext, AnswerRequest
from service.context_fit import Prompt
from service.engine.generation import Generation, Token
from service.engine.router import Route, version_name
from service.engine.slots import Lease
from service.errors import AnswerCut, EngineFailed
from service.model import Model
from service.prompt_threads import run_shielded
from service.sampling import PLAIN

log = logging.getLogger(__name__)
SEEDS = 2**32
NEXT_SEED = 0x9E3779B1  # odd, so that the seeds of one request's generations never meet
SMALLEST = 1e-6  # temperature, top_p: engines count in float32, where much less is 0, or a number divided by 0
# not the loop's own threads, which render everybody's prompts: these wait for whole forward passes
ALTERNATIVES_POOL = ThreadPoolExecutor(2, "alternatives")


class LocalAnswer(Answer):
    """All generations come from one slot, so from one version."""

    generations: list[Generation]

    def __init__(
        self,
        request: AnswerRequest,
        prompts: Sequence[Prompt],
        conversation_id: str,
        route: Route,
        context: AnswerContext,
        lease: Lease,
        model: Model,
        defaults: Mapping[str, float],
    ) -> None:
        super().__init__(request, prompts, conversation_id, route.propensity, context)
        self.number, self.digest = lease.slot.number, lease.slot.digest
        self._lease = lease
        # alternatives come from the same weights after the last token, so they need a lease of their own
        self._alternatives_lease = lease.again() if request.alternatives else None
        seed = request.sampling.seed if request.sampling.seed is not None else secrets.randbelow(SEEDS)
        indices = range(len(prompts) * request.n)
        self._sampling_settings = [
            settings_of(
                request, prompts[index // request.n], (seed + index * NEXT_SEED) % SEEDS, model.end_ids, defaults
            )
            for index in indices
        ]
        self.generations = [
            Generation(index, model.text_stream(), request.sampling.stop, model.end_ids) for index in indices
        ]

    @property
    def model_name(self) -> str:
        return version_name(self._lease.slot.number)

    def start(self) -> None:
        """Give all generations to the runner. Raises EngineFailed when it does not take them."""
        try:
            for generation, settings in zip(self.generations, self._sampling_settings, strict=True):
                request_id, prompt = (
                    self._request_id(generation.index),
                    self.prompts[generation.index // self.request.n],
                )
                self._lease.submit(request_id, prompt.ids, settings, self._receiver(generation))
        except (PolicyError, ValueError) as error:
            raise EngineFailed(f"{self.model_name} did not take the request: {error}") from error

    async def with_alternatives(self, tokens: list[list[Token]]) -> list[list[Token]]:
        """See Answer. Raises EngineFailed."""
        if self._alternatives_lease is None:
            return tokens
        runner, count = self._lease.slot.runner, self.request.alternatives
        shown: list[list[Token]] = []
        for generation, plain in zip(self.generations, tokens, strict=True):
            prompt = self.prompts[generation.index // self.request.n]
            work = partial(runner.alternatives, prompt.ids, generation.ids[: len(plain)], count)
            try:
                found = await run_shielded(ALTERNATIVES_POOL, work)
            except (PolicyError, TimeoutError) as error:
                raise EngineFailed(f"{self.model_name} gave no alternatives: {error}; try again") from error
            shown.append([_with(token, likeliest) for token, likeliest in zip(plain, found, strict=True)])
        return shown

    def close(self) -> None:
        super().close()
        if self._alternatives_lease is not None:
            self._alternatives_lease.end()

    def _receiver(self, generation: Generation) -> Callable[[TokenDelta], None]:
        def receive(delta: TokenDelta) -> None:
            try:
                take(delta)
            except Exception as error:  # whatever it is, it ends this answer at once, and no other
                log.exception("a step of %s failed", self.id)
                self.fail(EngineFailed(f"{self.model_name} stopped answering: {error}; try again"))

        def take(delta: TokenDelta) -> None:
            if generation.finish_reason is not None:
                return  # its stop string was found in an earlier delta, or it was cancelled
            if delta.finish == "error":
                reason = delta.error or "its runner ended"
                self.fail(EngineFailed(f"{self.model_name} stopped answering: {reason}; try again"))
            elif delta.finish == "cancelled":
                self.fail(AnswerCut(self._lease.cut_reason or "the answer was cancelled", retry_after_s=1))
            else:
                text_delta = generation.add(delta)
                if text_delta.finish_reason is not None and not delta.finish:
                    self._cancel(generation.index)
                self.add_delta(text_delta)

        return receive

    def _cancel(self, index: int) -> None:
        self._lease.cancel(self._request_id(index))

    def _release_generator(self) -> None:
        self._lease.end()

    def _settings(self, index: int) -> dict[str, Any]:
        settings = self._sampling_settings[index]
        return {name: getattr(settings, name) for name in settings.__dataclass_fields__ if name != "end_ids"}

    def _request_id(self, index: int) -> str:
        return f"{self.id}-{index}"


def _with(token: Token, likeliest: Sequence[tuple[int, float]]) -> Token:
    """Return a token with its alternatives. The token itself keeps the log-probability that was recorded for it."""
    alternatives = tuple((other, token.logp if other == token.id else logp) for other, logp in likeliest)
    return replace(token, alternatives=alternatives)


def settings_of(
    request: AnswerRequest, prompt: Prompt, seed: int, end_ids: tuple[int, ...], defaults: Mapping[str, float] = PLAIN
) -> SamplingSettings:
    """Return the runner's settings for one generation. Next to nothing as a temperature or top_p is greedy."""
    chosen = request.sampling.over(defaults)
    chosen["temperature"] = chosen["temperature"] if chosen["temperature"] >= SMALLEST else 0.0
    chosen["top_p"] = max(chosen["top_p"], SMALLEST)
    return SamplingSettings(**chosen, max_tokens=prompt.max_tokens, seed=seed, end_ids=end_ids)

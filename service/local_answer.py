"""Answers by our own versions: token by token from a slot's runner."""

import asyncio
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

from policy.errors import PolicyError
from policy.runners.base import SamplingSettings, TokenDelta
from service.answer import Answer, Ask, Room
from service.engine.generation import Generation, Token
from service.engine.router import Route, version_name
from service.engine.slots import Lease
from service.errors import AnswerCut, EngineFailed
from service.model import Model
from service.prompts import Prompt

SEEDS = 2**32
ASIDE = ThreadPoolExecutor(
    2, "alternatives"
)  # not the loop's own threads, which render everybody's prompts: these wait for whole forward passes
NEXT_SEED = 0x9E3779B1  # odd, so that the seeds of one request's replies never meet


class LocalAnswer(Answer):
    """All replies come from one slot, so from one version."""

    replies: list[Generation]

    def __init__(
        self,
        ask: Ask,
        prompts: Sequence[Prompt],
        conversation_id: str,
        route: Route,
        room: Room,
        lease: Lease,
        model: Model,
    ) -> None:
        super().__init__(ask, prompts, conversation_id, route.propensity, room)
        self.number, self.digest = lease.slot.number, lease.slot.digest
        self._lease = lease
        self._kept = (
            lease.again() if ask.alternatives else None
        )  # alternatives come from the same weights, after the last token
        seed = ask.sampling.seed if ask.sampling.seed is not None else secrets.randbelow(SEEDS)
        places = range(len(prompts) * ask.n)
        self._sampled = [
            settings_of(ask, prompts[place // ask.n], (seed + place * NEXT_SEED) % SEEDS, model.end_ids)
            for place in places
        ]
        self.replies = [Generation(place, model.text_stream(), ask.sampling.stop, model.end_ids) for place in places]

    @property
    def model_name(self) -> str:
        return version_name(self._lease.slot.number)

    def start(self) -> None:
        """Give all replies to the runner. Raises EngineFailed when it does not take them."""
        try:
            for reply, settings in zip(self.replies, self._sampled, strict=True):
                prompt = self.prompts[reply.index // self.ask.n]
                self._lease.submit(self._request_id(reply.index), prompt.ids, settings, self._receiver(reply))
        except (PolicyError, ValueError) as error:
            raise EngineFailed(f"{self.model_name} did not take the request: {error}") from error

    async def with_alternatives(self, tokens: list[list[Token]]) -> list[list[Token]]:
        """See Answer. Raises EngineFailed."""
        if self._kept is None:
            return tokens
        runner, count = self._lease.slot.runner, self.ask.alternatives
        shown: list[list[Token]] = []
        for reply, plain in zip(self.replies, tokens, strict=True):
            prompt = self.prompts[reply.index // self.ask.n]
            try:
                asked = (prompt.ids, reply.ids[: len(plain)], count)
                found = await asyncio.get_running_loop().run_in_executor(ASIDE, runner.alternatives, *asked)
            except (PolicyError, TimeoutError) as error:
                raise EngineFailed(f"{self.model_name} gave no alternatives: {error}; try again") from error
            shown.append([_with(token, likeliest) for token, likeliest in zip(plain, found, strict=True)])
        return shown

    def close(self) -> None:
        super().close()
        if self._kept is not None:
            self._kept.end()

    def _receiver(self, reply: Generation) -> Any:
        def receive(step: TokenDelta) -> None:
            if reply.finish_reason is not None:
                return  # its stop string was found in an earlier step, or it was cancelled
            if step.finish == "error":
                self.fail(
                    EngineFailed(f"{self.model_name} stopped answering: {step.error or 'its runner ended'}; try again")
                )
            elif step.finish == "cancelled":
                self.fail(AnswerCut(self._lease.cut_reason or "the answer was cancelled", retry_after_s=1))
            else:
                piece = reply.take(step)
                if piece.finish_reason is not None and not step.finish:
                    self._cancel(reply.index)
                self.gain(piece)

        return receive

    def _cancel(self, index: int) -> None:
        self._lease.cancel(self._request_id(index))

    def _let_go(self) -> None:
        self._lease.end()

    def _settings(self, index: int) -> dict[str, Any]:
        settings = self._sampled[index]
        return {name: getattr(settings, name) for name in settings.__dataclass_fields__ if name != "end_ids"}

    def _request_id(self, index: int) -> str:
        return f"{self.id}-{index}"


def _with(token: Token, likeliest: Sequence[tuple[int, float]]) -> Token:
    """Return a token with its alternatives; where it is one of them, with the number that was recorded when it was
    sampled.
    """
    return replace(
        token, alternatives=tuple((other, token.logp if other == token.id else logp) for other, logp in likeliest)
    )


def settings_of(ask: Ask, prompt: Prompt, seed: int, end_ids: tuple[int, ...]) -> SamplingSettings:
    """Return what the runner is told for one reply."""
    sampling = ask.sampling
    return SamplingSettings(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        max_tokens=prompt.max_tokens,
        seed=seed,
        presence_penalty=sampling.presence_penalty,
        frequency_penalty=sampling.frequency_penalty,
        end_ids=end_ids,
    )

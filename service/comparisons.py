"""Side-by-side questions: which completions are shown blind beside each other, and with what probability."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from service.answer import Answer, AnswerRequest
from service.dispatcher import Dispatcher
from service.engine.router import LIVE_NAME, version_name
from service.errors import Overloaded, RequestError
from store.completions import Completion


@dataclass(frozen=True)
class Pair:
    """Which two of the candidates are shown as A and B, why, and with what probability exactly so."""

    a: int
    b: int
    reason: str
    propensity: float


def choose_pair(
    texts: Sequence[str], versions: Sequence[int | None], rng: random.Random, *, is_named: bool = False
) -> Pair:
    """Choose two candidates with different texts, each such pair as likely as any other, on random sides.

    Between two versions only pairs across them count. When all texts are the same, any two are shown.
    """
    is_across = len(set(versions)) > 1
    every = [(i, j) for i, j in combinations(range(len(texts)), 2) if not is_across or versions[i] != versions[j]]
    pairs = every if is_named else [(i, j) for i, j in every if texts[i] != texts[j]] or every
    a, b = rng.choice(pairs)
    if rng.random() < 0.5:
        a, b = b, a
    if is_named:
        reason = "named"
    elif is_across:
        reason = "canary"
    else:
        reason = "different" if texts[a] != texts[b] else "same"
    return Pair(a, b, reason, 1 / len(pairs) / 2)


async def generate_candidates(
    dispatcher: Dispatcher, request: AnswerRequest, models: Sequence[str] | None, wanted: int
) -> tuple[list[Completion], list[str]]:
    """Generate the candidates for one question; return them with the names of models that did not answer.

    Without `models` there are `wanted` candidates of live, half of them of the canary while there is one. Else there is
    one of each named model; where one of two does not answer, the other gives both. The model and the count in
    `request` are not used. Raises the RequestError of a model where none answers.
    """
    arms = [(name, 1) for name in models] if models is not None else _arms(dispatcher, wanted)
    found = await asyncio.gather(*(_generate(dispatcher, replace(request, model=model, n=n)) for model, n in arms))
    missing = [model for (model, _), result in zip(arms, found, strict=True) if isinstance(result, RequestError)]
    candidates = [completion for result in found if not isinstance(result, RequestError) for completion in result]
    if not candidates:
        raise next(result for result in found if isinstance(result, RequestError))
    if len(candidates) == 1:  # one of two named models is left
        left = next(model for model, _ in arms if model not in missing)
        more = await _generate(dispatcher, replace(request, model=left, n=1))
        if isinstance(more, RequestError):
            raise more
        candidates += more
    return candidates, missing


async def _generate(dispatcher: Dispatcher, request: AnswerRequest) -> list[Completion] | RequestError:
    """Return one model's completions, or why it does not answer just now. Raises what is wrong with the request."""
    answer: Answer | None = None
    try:
        answer = await dispatcher.begin(request)
        await answer.read()
        return answer.completions()
    except RequestError as error:
        if error.status < 500 or isinstance(error, Overloaded):
            raise
        return error
    finally:
        if answer is not None:
            answer.close()


def _arms(dispatcher: Dispatcher, wanted: int) -> list[tuple[str, int]]:
    router = dispatcher.engine.router
    if router is None or router.canary is None or router.share <= 0.0:
        return [(version_name(router.live) if router is not None else LIVE_NAME, wanted)]
    return [(version_name(router.live), wanted - wanted // 2), (version_name(router.canary), wanted // 2)]

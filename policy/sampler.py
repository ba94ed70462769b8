"""The plain sampler: slow, obvious, the yardstick of every runner; and the log-probability under the distribution that was sampled from.

The order is that of the engines: penalties, temperature, top-k, top-p. Penalties count the reply's tokens so far, never the prompt's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from policy.errors import PromptTooLong
from policy.logprobs import Row, response_logps
from policy.runners.base import Finish, SamplingSettings

Penalties = Literal["subtract", "shrink"]
# OpenAI's definition subtracts a penalty from a logit. OpenVINO GenAI moves the logit towards zero instead, so that a positive penalty
# makes a repeated token with a negative logit *likelier*. Recorded log-probabilities must be those of what was done.
PENALTIES: dict[str, Penalties] = {"openvino": "shrink", "transformers": "subtract", "plain": "subtract"}


def sampled_logps(logits: Tensor, settings: SamplingSettings, history: Sequence[int] = (), *, kind: str = "plain") -> Tensor:
    """Return (V,) log-probabilities in nats of the next token as a runner of `kind` samples it; -inf where it cannot come.

    `logits` (V,) are the model's own, `history` the reply's tokens so far. At temperature 0 the greedy token has 0 and all others -inf.
    """
    scores = logits.double() if logits.dtype == torch.float64 else logits.float()
    scores = _penalised(scores, settings, history, PENALTIES[kind])
    if settings.temperature == 0:
        return torch.full_like(scores, -torch.inf).index_fill(0, scores.argmax(), 0.0)
    scores = scores / settings.temperature
    if 0 < settings.top_k < len(scores):
        kept = torch.zeros_like(scores, dtype=torch.bool).index_fill(0, scores.topk(settings.top_k).indices, value=True)
        scores = scores.masked_fill(~kept, -torch.inf)
    if settings.top_p < 1:
        ordered, places = torch.softmax(scores, -1).sort(descending=True)
        before = ordered.cumsum(-1) - ordered  # the mass of all likelier tokens: the likeliest is always kept
        scores = scores.index_fill(0, places[before >= settings.top_p], -torch.inf)
    return torch.log_softmax(scores, -1)


def sampled_reply_logps(
    model: torch.nn.Module, prompt_ids: Sequence[int], reply_ids: Sequence[int], settings: SamplingSettings, *, kind: str = "plain"
) -> Tensor:
    """Return (T,): each reply token's log-probability under the distribution that it was sampled from, by one forward pass."""
    packed = response_logps(model, [Row(prompt_ids, [reply_ids])], want=("logp", "logits"))
    if packed.logits is None:  # an empty reply
        return packed.logp
    steps = [sampled_logps(logits, settings, reply_ids[:place], kind=kind)[reply_ids[place]] for place, logits in enumerate(packed.logits)]
    return torch.stack(steps)


@torch.no_grad()
def generate(model: Any, prompt_ids: Sequence[int], settings: SamplingSettings) -> tuple[list[int], list[float], Finish]:
    """Return (ids, raw log-probabilities, finish) of one reply: the whole sequence through the model for each token, no cache, no batch.

    Raises PromptTooLong when prompt and reply do not fit the model's context.
    """
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if context is not None and len(prompt_ids) + settings.max_tokens > context:
        raise PromptTooLong(f"{len(prompt_ids)} tokens of prompt and {settings.max_tokens} of reply do not fit the context of {context} tokens")
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(settings.seed)
    ids: list[int] = []
    logps: list[float] = []
    for _ in range(settings.max_tokens):
        logits = model(input_ids=torch.tensor([[*prompt_ids, *ids]], device=device), use_cache=False).logits[0, -1].float().cpu()
        chances = sampled_logps(logits, settings, ids).exp()
        token = int(torch.multinomial(chances, 1, generator=generator))
        ids.append(token)
        logps.append(float(torch.log_softmax(logits, -1)[token]))
        if token in settings.end_ids:
            return ids, logps, "stop"
    return ids, logps, "length"


def _penalised(scores: Tensor, settings: SamplingSettings, history: Sequence[int], penalties: Penalties) -> Tensor:
    if not history or (settings.presence_penalty == 0 and settings.frequency_penalty == 0):
        return scores
    counts = torch.bincount(torch.tensor(list(history), device=scores.device), minlength=len(scores)).to(scores.dtype)
    if penalties == "subtract":
        return scores - settings.presence_penalty * (counts > 0) - settings.frequency_penalty * counts
    for amount in (settings.presence_penalty * (counts > 0), settings.frequency_penalty * counts):
        scores = torch.where(scores >= 0, scores - amount, scores + amount)
    return scores

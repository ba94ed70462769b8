"""Replies that people judged, as a policy gradient reads them: off-policy, since some version sampled them a while ago.

Three policies take part (`algorithms.surrogate`): the one that sampled, whose log-probabilities were recorded with the
reply; the live version,
at the start of the update; and the one that moves. The clipped step between the last two is weighted by the truncated
ratio of the first two
(V-trace's rho-bar, Espeholt et al. 1802.01561; decoupled PPO, Hilton et al. 2110.00641). A correction has no such
record, so of it only
the original is read.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from learner.algorithms.reduction import Term, combine
from learner.algorithms.surrogate import is_usable, surrogate_loss, truncated_weights
from learner.data.examples import CompletionTokens, Example
from learner.methods.steps import micro_batches, summary_of, surrogate_settings
from learner.model import distributed
from learner.model.resident import Resident
from learner.model.scoring import Row, padded, row_logps, row_of, score
from learner.settings import LearnerSettings

SHRINK = 4.0  # judgements that the common share of thumbs up is worth against a rater's own


@dataclass(frozen=True)
class Judged:
    """N judged replies (perhaps none) that are near enough to the live version; per token (N, T), right-padded, on the
    model's device.
    """

    rows: list[Row]
    mask: Tensor  # (N, T), 1 on reply tokens
    live: Tensor  # (N, T), nats, of the live version
    corrections: Tensor  # (N, T), live / sampled, truncated
    advantages: Tensor  # (N,)
    weights: Tensor  # (N,), of the items
    num_dropped: int  # with a record, but too far from the live version, or drawn otherwise than the record says

    def total(self, part: Sequence[int]) -> float:
        """Return what a step on `part` divides by: its share of all weighted tokens, lest one light item has the force
        of a full one.
        """
        return float((self.weights * self.mask.sum(1)).sum()) * len(part) / len(self.rows)


def judged_replies(
    resident: Resident, examples: Sequence[Example], parent: int, settings: LearnerSettings
) -> Judged | None:
    """Return the replies of `examples` that have a record, scored by the resident weights, which are version
    `parent`'s; None if none has one.
    """
    sides = [
        (example, reply, up)
        for example in examples
        for up, reply in ((True, example.good), (False, example.bad))
        if reply is not None and _is_recorded(reply)
    ]
    if not sides:
        return None
    device = resident.device
    rows = [row_of(example.prompt_ids, reply.ids) for example, reply, _ in sides]
    with resident.autocast():
        live = padded(row_logps(resident.model, rows, settings.token_budget))
    sampled = padded([torch.tensor(reply.logps) for _, reply, _ in sides])
    mask = padded([torch.ones(len(reply.ids)) for _, reply, _ in sides])
    gaps = torch.tensor([abs(parent - (reply.version or 0)) for _, reply, _ in sides])
    advantages = advantages_of([(example.rater_id, up, example.flip_rate) for example, _, up in sides])
    is_plain = torch.tensor([reply.is_plain for _, reply, _ in sides])  # of others it is not known how likely they were
    gap, drift, ratio = settings.off_policy_gap, settings.off_policy_drift, settings.off_policy_ratio
    near = is_usable(
        live, sampled, advantages, mask, gaps, max_gap=gap, max_drift=drift, ratio_bounds=(1.0 / ratio, ratio)
    )
    usable = near & is_plain
    kept = usable.nonzero()[:, 0]
    # a pair or a correction speaks once, though its two sides are two replies
    weights = torch.tensor([example.weight * (1.0 if example.kind == "thumb" else 0.5) for example, _, _ in sides])
    return Judged(
        rows=[rows[index] for index in kept.tolist()],
        mask=mask[kept].to(device),
        live=live[kept].to(device),
        corrections=truncated_weights(live, sampled, cap=settings.off_policy_cap)[kept].to(device),
        advantages=advantages[kept].to(device),
        weights=weights[kept].to(device),
        num_dropped=len(sides) - len(kept),
    )


def advantages_of(judgements: Sequence[tuple[str, bool, float]]) -> Tensor:
    """Return how much better each reply is than its rater's usual, (N,) in (-1, 1), from (rater, thumb up, flip rate).

    A thumb that is wrong at rate eps says `eps + (1 - 2 eps) up`; a rater's usual is the mean of what they said, drawn
    to everybody's.
    """
    said = [(rater, flip + (1.0 - 2.0 * flip) * up) for rater, up, flip in judgements]
    common = sum(value for _, value in said) / max(len(said), 1)
    by_rater: dict[str, list[float]] = defaultdict(list)
    for rater, value in said:
        by_rater[rater].append(value)
    usual = {rater: (sum(values) + SHRINK * common) / (len(values) + SHRINK) for rater, values in by_rater.items()}
    return torch.tensor([value - usual[rater] for rater, value in said])


def judged_backward(
    resident: Resident, judged: Judged, part: Sequence[int], settings: LearnerSettings
) -> tuple[float, dict[str, float], int]:
    """Add the gradients of a step on the judged replies `part`, times `off_policy`; return the loss, its metrics and
    the number of tokens.
    """
    lengths = [judged.rows[index].length for index in part]
    total, loss_sum = judged.total(part), 0.0
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    mine = distributed.share(lengths)
    for places in micro_batches(resident, [lengths[index] for index in mine], settings.token_budget):
        here = [part[mine[place]] for place in places]
        with resident.autocast():
            scored = score(resident.model, [judged.rows[index] for index in here])
        logps = padded(list(scored.token_logps.split(scored.lengths.tolist())))
        mask, live = judged.mask[here, : logps.size(1)], judged.live[here, : logps.size(1)]
        values, seen = surrogate_loss(logps, live, judged.advantages[here], mask, **surrogate_settings(settings))
        weights = mask * judged.weights[here, None] * judged.corrections[here, : logps.size(1)]
        loss, shares = combine([Term("judged", values, weights, total, settings.off_policy)])
        loss.backward()
        loss_sum += loss.item()
        for name, value in (
            {name.replace("policy/", "judged/"): value for name, value in seen.items()} | shares
        ).items():
            found[name].append((value, float(mask.sum())))
    return sum(distributed.gathered(loss_sum)), summary_of(found), sum(lengths)


def _is_recorded(reply: CompletionTokens) -> bool:
    return reply.version is not None and reply.logps is not None and len(reply.logps) == len(reply.ids)

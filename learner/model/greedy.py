"""Greedy answers. Those that the weights still give are recognised in one pass; only what changed is decoded."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from learner.model.resident import Resident
from learner.model.rollouts import row_settings
from learner.model.scoring import Ids, completion_logits, length_buckets
from policy.chat import end_ids

LOGIT_BYTES = 256 * 2**20  # of one forward pass


def greedy_answers(
    resident: Resident, prompts: Sequence[Ids], known: Sequence[Ids], max_tokens: int
) -> tuple[list[tuple[int, ...]], int]:
    """Return the greedy answer to each prompt from the resident weights, and how many of them were decoded.

    `known` are greedy answers of other weights to the same prompts, of at most `max_tokens` tokens; without any (an
    empty sequence) all are decoded. A changed answer is decoded from its first token that is another.
    """
    begun = [tuple(ids) for ids in known] if known else [()] * len(prompts)
    kept = kept_lengths(resident, list(zip(prompts, begun, strict=True)))
    changed = [at for at, ids in enumerate(begun) if kept[at] < len(ids) or not ids]
    ends = end_ids(resident.tokenizer)
    greedy = row_settings(len(changed), end_ids=ends, max_tokens=max_tokens, seed=0, temperature=0.0)
    rollouts = resident.sampler.sample(
        [[*prompts[at], *begun[at][: kept[at]]] for at in changed],
        [replace(one, max_tokens=max_tokens - kept[at]) for one, at in zip(greedy, changed, strict=True)],
    )
    found = list(begun)
    for at, rollout in zip(changed, rollouts, strict=True):
        found[at] = (*begun[at][: kept[at]], *rollout.ids)
    return found, len(changed)


@torch.no_grad()
def kept_lengths(resident: Resident, answers: Sequence[tuple[Ids, Ids]]) -> list[int]:
    """Return how many first tokens of each (prompt, answer) are the likeliest ones of the resident weights."""
    kept = [0] * len(answers)
    most = max(1, LOGIT_BYTES // (4 * resident.vocab_size))
    some = [at for at, (_, ids) in enumerate(answers) if ids]
    lengths = [len(answers[at][0]) + len(answers[at][1]) for at in some]
    for group in length_buckets(lengths, min(resident.settings.token_budget, most)):
        chosen = [some[at] for at in group]
        with resident.autocast():
            likeliest = completion_logits(resident.model, [answers[at] for at in chosen]).argmax(-1).cpu()
        for at, best in zip(chosen, likeliest.split([len(answers[at][1]) for at in chosen]), strict=True):
            is_same = best == torch.tensor(answers[at][1])
            kept[at] = int(is_same.long().cumprod(0).sum())
    return kept

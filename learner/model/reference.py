"""The live version's log-probabilities of completions: recorded while sampling, else computed; cached by content."""

import logging
import random
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

import torch
from torch import Tensor

from learner.data.examples import Example
from learner.model.resident import Resident
from learner.model.scoring import completion_logps
from store.blobs import pack_ids

log = logging.getLogger(__name__)
Content = tuple[tuple[int, ...], tuple[int, ...]]
AUDIT_SHARE = 0.05  # of the recorded or cached completions, computed again
AUDIT_LEAST = 4  # completions
MEAN_LIMIT = 0.02  # nats per token, of the difference between recorded and computed
TAIL_LIMIT = 0.5  # nats, its 99.9th percentile
CACHE_SIZE = 50_000  # completions


@dataclass(frozen=True)
class Audit:
    """How far recorded log-probabilities are from computed ones on a sample; `trusted`: they were used."""

    checked: int
    mean_difference: float  # nats per token
    trusted: bool


class Reference:
    """Log-probabilities under the live version, by the version's digest and the completion's content.

    The least recently used are dropped.
    """

    def __init__(self, resident: Resident, token_budget: int) -> None:
        self._resident, self._budget = resident, token_budget
        self._known: OrderedDict[str, Tensor] = OrderedDict()

    def learn(self, examples: Sequence[Example], live: int, seed: int) -> Audit:
        """Add all completions of these examples; the resident weights must be the live version's.

        A completion that `live` sampled has its log-probabilities on record. A share of those is computed again. If the
        two differ by more than kernels do, all are. The same goes for those that are cached from an earlier update.
        """
        self._audit_cached(examples, seed)
        wanted: dict[str, Content] = {}
        recorded: dict[str, Tensor] = {}
        for example in examples:
            for side in example.completions:
                key = self._key(example.prompt_ids, side.ids)
                if key in self._known:
                    self._known.move_to_end(key)
                    continue
                wanted[key] = (example.prompt_ids, side.ids)
                if side.version == live and side.logps is not None and len(side.logps) == len(side.ids):
                    recorded[key] = torch.tensor(side.logps)
        audit = self._audit(wanted, recorded, seed)
        if audit.trusted:
            self._add(recorded.items())
        rest = [key for key in wanted if key not in self._known]
        with self._resident.autocast():
            computed = completion_logps(self._resident.model, [wanted[key] for key in rest], self._budget)
        self._add(zip(rest, computed, strict=True))
        return audit

    def token_logps(self, prompt_ids: Sequence[int], completion_ids: Sequence[int]) -> Tensor:
        """Return one completion's log-probabilities (T,) in nats. Raises KeyError for one that was never added."""
        return self._known[self._key(prompt_ids, completion_ids)]

    def sums(self, examples: Sequence[Example]) -> Tensor:
        """Return each completion's summed log-probability, (K,) in nats, example by example, good before bad."""
        return torch.stack(
            [
                self.token_logps(example.prompt_ids, side.ids).sum()
                for example in examples
                for side in example.completions
            ]
        )

    def _audit(self, wanted: dict[str, Content], recorded: dict[str, Tensor], seed: int) -> Audit:
        if not recorded:
            return Audit(0, 0.0, False)
        computed, mean, trusted = self._compared(wanted, recorded, seed, "recorded")
        self._add(computed.items())
        return Audit(len(computed), mean, trusted)

    def _audit_cached(self, examples: Sequence[Example], seed: int) -> None:
        """Clear the cache if what it holds of these examples is not what the resident weights compute."""
        contents = [(example.prompt_ids, side.ids) for example in examples for side in example.completions]
        cached = {key: content for content in contents if (key := self._key(*content)) in self._known}
        if cached and not self._compared(cached, {key: self._known[key] for key in cached}, seed, "cached")[2]:
            self._known.clear()

    def _compared(
        self, wanted: dict[str, Content], known: dict[str, Tensor], seed: int, name: str
    ) -> tuple[dict[str, Tensor], float, bool]:
        """Return a share of `known` computed again, the mean difference in nats per token, and whether it is small.

        Small is what kernels alone make it.
        """
        count = min(len(known), max(AUDIT_LEAST, round(AUDIT_SHARE * len(known))))
        keys = random.Random(seed).sample(sorted(known), count)
        with self._resident.autocast():
            computed = completion_logps(self._resident.model, [wanted[key] for key in keys], self._budget)
        differences = torch.cat([(known[key] - ours).abs() for key, ours in zip(keys, computed, strict=True)])
        mean, tail = differences.mean().item(), torch.quantile(differences, 0.999).item()
        trusted = mean <= MEAN_LIMIT and tail <= TAIL_LIMIT
        if not trusted:
            log.warning(
                "%s log-probabilities are off by %.3g nat per token (worst %.3g); all are computed again",
                name,
                mean,
                tail,
            )
        return dict(zip(keys, computed, strict=True)), mean, trusted

    def _add(self, found: Iterable[tuple[str, Tensor]]) -> None:
        for key, logps in found:
            if key not in self._known:
                self._known[key] = logps
        while len(self._known) > CACHE_SIZE:
            self._known.popitem(last=False)

    def _key(self, prompt_ids: Sequence[int], completion_ids: Sequence[int]) -> str:
        content = pack_ids(prompt_ids) + b"|" + pack_ids(completion_ids)
        return sha256(
            self._resident.parent_digest.encode() + str(self._resident.model.dtype).encode() + content
        ).hexdigest()

"""What the live version says of each reply: recorded when it sampled them, else computed, and remembered by content."""

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
AUDIT_SHARE = 0.05
AUDIT_LEAST = 4
MEAN_LIMIT = 0.02  # nats per token, of the difference between recorded and computed
TAIL_LIMIT = 0.5  # nats, its 99.9th percentile
REMEMBERED = 50_000  # replies


@dataclass(frozen=True)
class Audit:
    """How far recorded log-probabilities are from computed ones on a sample; `trusted` says whether they were used."""

    checked: int
    mean_difference: float
    trusted: bool


class Reference:
    """Log-probabilities under the live version, keyed by the version's digest and the reply's content. The least used
    are forgotten.
    """

    def __init__(self, resident: Resident, token_budget: int) -> None:
        self._resident, self._budget = resident, token_budget
        self._known: OrderedDict[str, Tensor] = OrderedDict()

    def learn(self, examples: Sequence[Example], live: int, seed: int) -> Audit:
        """Fill in all replies of these examples; call it while the resident weights are those of the live version.

        A reply that `live` itself sampled has its log-probabilities on record. A share of those is computed again, and
        if the two differ
        by more than kernels do, all are. The same goes for those that are remembered from an update before.
        """
        self._audit_remembered(examples, seed)
        wanted: dict[str, Content] = {}
        recorded: dict[str, Tensor] = {}
        for example in examples:
            for reply in example.completions:
                key = self._key(example.prompt_ids, reply.ids)
                if key in self._known:
                    self._known.move_to_end(key)
                    continue
                wanted[key] = (example.prompt_ids, reply.ids)
                if reply.version == live and reply.logps is not None and len(reply.logps) == len(reply.ids):
                    recorded[key] = torch.tensor(reply.logps)
        audit = self._audit(wanted, recorded, seed)
        if audit.trusted:
            self._remember(recorded.items())
        rest = [key for key in wanted if key not in self._known]
        with self._resident.autocast():
            computed = completion_logps(self._resident.model, [wanted[key] for key in rest], self._budget)
        self._remember(zip(rest, computed, strict=True))
        return audit

    def token_logps(self, prompt_ids: Sequence[int], completion_ids: Sequence[int]) -> Tensor:
        """Return one reply's log-probabilities per token, (T,), in nats. Raises KeyError for one that was never
        learned.
        """
        return self._known[self._key(prompt_ids, completion_ids)]

    def sums(self, examples: Sequence[Example]) -> Tensor:
        """Return the summed log-probability of every reply of these examples, (K,), row by row, good before bad."""
        return torch.stack(
            [
                self.token_logps(example.prompt_ids, reply.ids).sum()
                for example in examples
                for reply in example.completions
            ]
        )

    def _audit(self, wanted: dict[str, Content], recorded: dict[str, Tensor], seed: int) -> Audit:
        if not recorded:
            return Audit(0, 0.0, False)
        computed, mean, trusted = self._compared(wanted, recorded, seed, "recorded")
        self._remember(computed.items())
        return Audit(len(computed), mean, trusted)

    def _audit_remembered(self, examples: Sequence[Example], seed: int) -> None:
        """Forget everything if what is remembered of these examples is not what the resident weights say."""
        sides = [(example.prompt_ids, reply.ids) for example in examples for reply in example.completions]
        again = {key: side for side in sides if (key := self._key(*side)) in self._known}
        if again and not self._compared(again, {key: self._known[key] for key in again}, seed, "remembered")[2]:
            self._known.clear()

    def _compared(
        self, wanted: dict[str, Content], known: dict[str, Tensor], seed: int, name: str
    ) -> tuple[dict[str, Tensor], float, bool]:
        """Return a share of `known` computed again, the mean difference in nats per token, and whether it is as small
        as kernels make it.
        """
        count = min(len(known), max(AUDIT_LEAST, round(AUDIT_SHARE * len(known))))
        keys = random.Random(seed).sample(sorted(known), count)
        with self._resident.autocast():
            computed = completion_logps(self._resident.model, [wanted[key] for key in keys], self._budget)
        apart = torch.cat([(known[key] - ours).abs() for key, ours in zip(keys, computed, strict=True)])
        mean, tail = apart.mean().item(), torch.quantile(apart, 0.999).item()
        trusted = mean <= MEAN_LIMIT and tail <= TAIL_LIMIT
        if not trusted:
            log.warning(
                "%s log-probabilities are off by %.3g nat per token (worst %.3g); all are computed again",
                name,
                mean,
                tail,
            )
        return dict(zip(keys, computed, strict=True)), mean, trusted

    def _remember(self, found: Iterable[tuple[str, Tensor]]) -> None:
        for key, logps in found:
            if key not in self._known:
                self._known[key] = logps
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    def _key(self, prompt_ids: Sequence[int], completion_ids: Sequence[int]) -> str:
        content = pack_ids(prompt_ids) + b"|" + pack_ids(completion_ids)
        return sha256(
            self._resident.parent_digest.encode() + str(self._resident.model.dtype).encode() + content
        ).hexdigest()

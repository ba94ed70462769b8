"""KTO's baseline z0, estimated on completions of other prompts (Ethayarajh et al. 2402.01306, section 4.1)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from learner.algorithms.kto import KlBaseline, mismatches
from learner.algorithms.mixed import MixedSettings
from learner.data.examples import Example
from learner.model.resident import Resident
from learner.model.scoring import completion_sums


@dataclass
class MismatchedCompletions:
    """Prompts with completions of other prompts: how likely the policy finds them against the live version is z0."""

    rows: list[tuple[tuple[int, ...], tuple[int, ...]]]
    reference: Tensor  # (N,), nats
    baseline: KlBaseline

    @classmethod
    def of(
        cls,
        resident: Resident,
        trained: Sequence[Example],
        mixed: MixedSettings,
        seed: int,
        budget: int,
        most: int = 16,
    ) -> "MismatchedCompletions":
        """Choose at most `most` rows among the thumbs and score them with the resident weights, the live version's.

        There are none where no loss reads z0. A row with another prompt's completion may be longer than the context;
        such rows are left out.
        """
        if mixed.thumb_kind != "kto" or mixed.thumb_scale == 0.0:
            return cls([], torch.zeros(0), KlBaseline())
        thumbs = [example for example in trained if example.kind == "thumb"]
        pairs = mismatches([example.prompt_ids for example in thumbs], seed)
        rows = [(thumbs[i].prompt_ids, thumbs[j].completions[0].ids) for i, j in pairs]
        rows = [row for row in rows if len(row[0]) + len(row[1]) <= resident.context_length][:most]
        with resident.autocast():
            return cls(rows, completion_sums(resident.model, rows, budget), KlBaseline())

    def look(self, resident: Resident, budget: int, decay: float) -> None:
        """Update the baseline with the resident weights; it keeps the share `decay` of its old value."""
        if self.rows:
            with resident.autocast():
                now = completion_sums(resident.model, self.rows, budget)
            self.baseline = self.baseline.updated((now - self.reference).sum().item(), len(self.rows), decay=decay)

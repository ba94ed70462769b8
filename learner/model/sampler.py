"""What samples for the learner: rollouts, the gate's samples, anchors, and answers to skill probes.

Torch does, from the model in memory, or a runner in a process of its own. `sampler_choice` says which and why.
"""

import logging
from collections.abc import Sequence
from typing import Protocol

from learner.model import distributed
from learner.model.rollouts import Rollout, sample_rollouts
from learner.model.runner_sampler import RunnerSampler
from learner.model.sampled_model import SampledModel
from learner.model.sampler_choice import chosen_sampler
from learner.model.scoring import Ids
from policy.runners.base import SamplingSettings

log = logging.getLogger(__name__)


class Sampler(Protocol):
    """Samples from the resident weights as they are at the call: live's, the base model's, or those under training."""

    name: str

    def sample(self, prompts: Sequence[Ids], settings: Sequence[SamplingSettings]) -> list[Rollout]:
        """Return one rollout per prompt, in order, each by its own settings, with raw log-probabilities in nats."""

    def cpu_seconds(self) -> float:
        """Return the CPU time in seconds that processes of its own have taken so far."""

    def close(self) -> None:
        """Release what it holds; the next call to `sample` takes it again."""


class TorchSampler:
    """Samples with the model in memory, in this process. The same weights and settings give the same rollouts."""

    name = "torch"

    def __init__(self, resident: SampledModel) -> None:
        self._resident = resident

    def sample(self, prompts: Sequence[Ids], settings: Sequence[SamplingSettings]) -> list[Rollout]:
        """See Sampler."""
        with self._resident.autocast():
            return sample_rollouts(self._resident.model, prompts, settings)

    def cpu_seconds(self) -> float:
        """See Sampler."""
        return 0.0

    def close(self) -> None:
        """See Sampler: it holds nothing of its own."""


def sampler_of(resident: SampledModel) -> Sampler:
    """Return the sampler in force; one log line says which and why. Raises BadSetting for one that cannot be used."""
    name, why = chosen_sampler(
        resident.settings,
        resident.folder,
        num_parameters=resident.num_parameters,
        on_cpu=resident.device.type == "cpu",
        num_processes=distributed.count(),
    )
    log.info("rollouts are sampled by %s: %s", name, why)
    in_process = TorchSampler(resident)
    return in_process if name == "torch" else RunnerSampler(resident, name, in_process.sample)

"""A runner as the learner's sampler: llama.cpp, OpenVINO or transformers in a process of its own, or a vLLM server.

It takes on new weights only when they changed: an adapter beside the base model's file, or full weights. Without work
its process ends after `IDLE_S`. Whatever goes wrong with it, torch samples instead, and nothing is lost.
"""

import logging
import os
import threading
from collections.abc import Callable, Sequence

import torch

from learner.model.rollouts import Rollout
from learner.model.sampled_model import SampledModel
from learner.model.sampler_choice import is_server
from learner.model.scoring import Ids, completion_logps
from learner.model.weight_files import WeightFiles
from policy.errors import PolicyError, RunnerFailed, first_line
from policy.runners.base import RunnerOptions, SamplingSettings, VersionSource, generate_all
from policy.runners.process import RunnerProcess
from policy.runners.vllm import VllmRunner

Fallback = Callable[[Sequence[Ids], Sequence[SamplingSettings]], list[Rollout]]  # torch
log = logging.getLogger(__name__)
FAILURES = (PolicyError, OSError, RuntimeError, ValueError, ImportError, MemoryError)
IDLE_S = 60.0  # without work after which the process ends, since it holds memory
MOST_FAILURES = 2  # in a row, after which torch samples until the learner starts again
LIMIT_S = 12 * 3600.0  # of one call; a process without a sign of life is killed long before
AT_ONCE = 64  # generations in a batch
CHECKED = 32  # tokens of a rollout whose log-probabilities torch computes again when the weights are new
# Nats per token. Kernels and float16 weights make less than a tenth of it: docs/learning.md. Other weights make more.
MISMATCH = 0.1


class RunnerSampler:
    """Samples from the resident weights with a runner. `kind` is that of a runner, or the URL of a vLLM server."""

    def __init__(self, resident: SampledModel, kind: str, fallback: Fallback, idle_s: float = IDLE_S) -> None:
        self.name = kind
        self._resident, self._fallback, self._idle_s = resident, fallback, idle_s
        self._files = WeightFiles(resident)
        self._lock = threading.RLock()  # the timer closes an idle runner
        self._timer: threading.Timer | None = None
        self._runner: RunnerProcess | VllmRunner | None = None
        self._digest = ""  # of the weights that the runner has
        self._calls, self._failures, self._spent_s = 0, 0, 0.0

    def sample(self, prompts: Sequence[Ids], settings: Sequence[SamplingSettings]) -> list[Rollout]:
        """See Sampler. Where the runner fails, torch samples the same rows."""
        if self._failures >= MOST_FAILURES or not prompts:
            return self._fallback(prompts, settings)
        with self._lock:
            self._stop_timer()
            try:
                found = self._sampled(prompts, settings)
                self._failures = 0
            except FAILURES as error:
                self._failed(error)
                return self._fallback(prompts, settings)
            self._timer = threading.Timer(self._idle_s, self._close_idle)
            self._timer.daemon = True
            self._timer.start()
        return found

    def cpu_seconds(self) -> float:
        """See Sampler."""
        with self._lock:
            return self._spent_s + (self._runner.cpu_seconds if isinstance(self._runner, RunnerProcess) else 0.0)

    def close(self) -> None:
        """See Sampler."""
        with self._lock:
            self._stop_timer()
            self._close_runner()
            self._files.close()

    def _sampled(self, prompts: Sequence[Ids], settings: Sequence[SamplingSettings]) -> list[Rollout]:
        source = self._files.source()
        is_new = source.digest != self._digest
        runner = self._runner_with(source)
        self._calls += 1
        generated = generate_all(runner, prompts, settings, LIMIT_S, f"rollouts-{self._calls}", self._resident.check)
        rollouts = [
            Rollout(tuple(prompt), tuple(ids), tuple(logps), finish == "stop")
            for prompt, (ids, logps, finish) in zip(prompts, generated, strict=True)
        ]
        if is_new:
            self._check(rollouts)
        return rollouts

    def _runner_with(self, source: VersionSource) -> RunnerProcess | VllmRunner:
        """Return the runner with these weights and without kept prompts; it is loaded only where it has to be."""
        if self._runner is not None and not self._runner.adopt(source):
            self._close_runner()
        if self._runner is None:
            self._runner = self._loaded(source)
        self._digest = source.digest
        return self._runner

    def _loaded(self, source: VersionSource) -> RunnerProcess | VllmRunner:
        if is_server(self.name):
            return VllmRunner(self.name, source, os.environ.get("ATTUNE_VLLM_KEY", ""))
        resident = self._resident
        options = RunnerOptions(
            device=resident.device.type,
            precision="bfloat16" if resident.model.dtype == torch.bfloat16 else "float32",
            threads=torch.get_num_threads(),
            max_batch=AT_ONCE,
            kinds=(self.name,),
            keep_prompts=False,  # or the same run would not give the same weights
        )
        return RunnerProcess.load(source, options)

    def _check(self, rollouts: Sequence[Rollout]) -> None:
        """Raise RunnerFailed where the runner's log-probabilities are not those of the resident weights."""
        one = min(rollouts, key=lambda rollout: len(rollout.prompt_ids))
        ids, resident = one.ids[:CHECKED], self._resident
        with resident.autocast():
            computed = completion_logps(resident.model, [(one.prompt_ids, ids)], resident.settings.token_budget)[0]
        difference = (computed - torch.tensor(one.logps[: len(ids)])).abs().mean().item()
        log.debug("log-probabilities of %s and torch are %.3g nat per token apart", self.name, difference)
        if not difference <= MISMATCH:
            raise RunnerFailed(f"its log-probabilities are off by {difference:.3g} nat per token")

    def _failed(self, error: Exception) -> None:
        self._failures += 1
        self._close_runner()
        after = "until the learner starts again" if self._failures >= MOST_FAILURES else "this time"
        log.warning("torch samples in place of %s %s: %s", self.name, after, first_line(error))

    def _close_idle(self) -> None:
        with self._lock:
            if self._timer is threading.current_thread():  # else it was called again meanwhile
                self._timer = None
                self._close_runner()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _close_runner(self) -> None:
        if self._runner is None:
            return
        if isinstance(self._runner, RunnerProcess):
            self._spent_s += self._runner.cpu_seconds
        self._runner.close()
        self._runner, self._digest = None, ""

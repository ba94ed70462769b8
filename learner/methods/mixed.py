"""The gradient steps of one update on the resident weights, watched by guards that stop it before it goes too far."""

import contextlib
import logging
import math
import random
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from learner.algorithms.anchor import forward_kl_loss
from learner.data.plan import Plan
from learner.errors import Diverged
from learner.methods.steps import MismatchedCompletions, backward, mixed_settings, num_good, step_totals
from learner.model import distributed
from learner.model.anchors import Anchor, stacked
from learner.model.optimizer import Optimizer
from learner.model.reference import Reference
from learner.model.resident import Resident
from learner.model.scoring import completion_logits, completion_sums, length_buckets
from learner.settings import LearnerSettings

log = logging.getLogger(__name__)
Z0_DECAY = 0.5  # share of its old value that KTO's baseline keeps at each look
MIN_GOOD_LOG_RATIO = -1.0  # nats per completion by which good completions may become less likely
LOOK_EVERY = 5  # steps between two looks of the guards
ONE_SIDED_95 = 1.645  # standard errors
MIN_HELD_OUT = 8  # fewer held-out judgements cannot tell a fall from noise
Progress = Callable[[int, int, float, dict[str, float]], None]


@dataclass
class Trained:
    """What an update's steps came to. `stopped`: which guard ended them early, "" if none did."""

    steps: int
    stopped: str
    metrics: dict[str, float]
    curve: list[dict[str, float]] = field(default_factory=list)


def train(
    resident: Resident,
    optimizer: Optimizer,
    plan: Plan,
    reference: Reference,
    *,
    anchors: Sequence[Anchor],
    guards: "Guards",
    settings: LearnerSettings,
    progress: Progress,
) -> Trained:
    """Run the plan's steps on the resident weights, which are the live version's at the start.

    Raises Diverged when a loss or gradient is not finite; the weights are then of no use.
    """
    meter = Meter(progress, len(plan.batches))
    mixed, budget = mixed_settings(settings), settings.token_budget
    mismatched = MismatchedCompletions.of(resident, plan.trained, mixed, plan.seed, budget)
    order = anchor_order(
        len(anchors), settings.anchors.batch_size if settings.anchors.weight > 0 else 0, len(plan.batches), plan.seed
    )
    stopped, good = "", _Mean()
    for number, batch in enumerate(plan.batches, 1):
        examples = [plan.trained[index] for index in batch]
        some = [anchors[index] for index in order[number - 1]]
        totals = step_totals(plan.trained, len(batch), sum(len(anchor.completion_ids) for anchor in some))
        loss, metrics = backward(resident, examples, some, reference, totals, mixed, budget, mismatched.baseline.z0)
        norm = optimizer.step()
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise Diverged(
                f"step {number} of {len(plan.batches)} gave a loss of {loss} and a gradient norm of {norm}; live stays as it was"
            )
        metrics["gradient_norm"] = norm
        good.add(metrics.get("good/log_ratio", 0.0), num_good(examples))
        if number % LOOK_EVERY == 0 or number == len(plan.batches):
            mismatched.look(resident, budget, Z0_DECAY)
            seen, stopped = guards.look(good.taken())
            metrics |= seen | {"kto/z0": mismatched.baseline.z0}
        tokens = sum(example.num_tokens for example in examples) + sum(
            len(anchor.prompt_ids) + len(anchor.completion_ids) for anchor in some
        )
        meter.step(loss, metrics, tokens)
        if stopped:
            log.info("stopped after step %d of %d: %s", number, len(plan.batches), stopped)
            break
    return meter.trained(stopped)


class _Mean:
    """A mean over what was counted since it was last taken."""

    def __init__(self) -> None:
        self._sum = self._count = 0.0

    def add(self, value: float, count: float) -> None:
        self._sum, self._count = self._sum + value * count, self._count + count

    def taken(self) -> float:
        """Return the mean, 0 of nothing, and begin anew."""
        mean = self._sum / self._count if self._count else 0.0
        self._sum = self._count = 0.0
        return mean


class Cost:
    """What it took from here on: wall and CPU seconds of this process, and its largest memory."""

    def __init__(self) -> None:
        self._began, self._cpu_began = time.monotonic(), time.process_time()

    def so_far(self) -> dict[str, float]:
        """Return it, by name."""
        seconds, cpu_seconds = time.monotonic() - self._began, time.process_time() - self._cpu_began
        return {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_memory_mb": peak_memory_mb()}


class Meter:
    """Keeps what an update's steps came to, and what they cost."""

    def __init__(self, progress: Progress, steps: int) -> None:
        self.steps, self._progress = steps, progress
        self._curve: list[dict[str, float]] = []
        self._tokens = 0
        self._cost = Cost()

    @property
    def taken(self) -> int:
        """How many steps have been taken."""
        return len(self._curve)

    def step(self, loss: float, metrics: dict[str, float], tokens: int) -> None:
        """Count one more step."""
        self._tokens += tokens
        self._curve.append({"step": len(self._curve) + 1, "loss": loss, **metrics})
        self._progress(len(self._curve), self.steps, loss, metrics)

    def count(self, tokens: int) -> None:
        """Count tokens that were sampled or scored beside the steps."""
        self._tokens += tokens

    def trained(self, stopped: str) -> Trained:
        """Return the whole; of each metric its last value."""
        last = {name: value for entry in self._curve for name, value in entry.items() if name != "step"}
        return Trained(
            len(self._curve), stopped, last | {"tokens": float(self._tokens)} | self._cost.so_far(), self._curve
        )


class Guards:
    """Looks at the policy while it is trained. On a violation the last weights that were within all limits are put
    back.

    `drift` are replies that nothing is trained on, with the live version's distributions; the resident weights are the
    live version's still.
    """

    def __init__(
        self, resident: Resident, plan: Plan, reference: Reference, drift: Sequence[Anchor], settings: LearnerSettings
    ) -> None:
        self._resident, self._drift, self._settings, self._reference = resident, drift, settings, reference
        ups = {example.up for example in plan.held_out if example.kind == "thumb"}
        self._judged = [
            example for example in plan.held_out if example.kind != "thumb" or len(ups) == 2
        ]  # one side alone has nothing to be against
        weights = torch.tensor([example.example_weight for example in self._judged])
        self._shares = weights / weights.sum()  # one rater's many words are held out as they are trained on: capped
        self._good = resident.weights()
        self._held_out_losses: list[Tensor] = []  # each (H,), by held-out judgement
        self.moved = False
        """Whether any weights but the live version's were within all limits."""

    def look(self, good_log_ratio: float = 0.0) -> tuple[dict[str, float], str]:
        """Return what is seen, and the reason to stop ("" for none).

        `good_log_ratio`: by how much good replies became likelier than under the live version, in nats per reply, in
        the steps since the last look.
        """
        seen = (
            {"guard/kl": drift_per_completion(self._resident, self._drift, self._settings.token_budget)}
            if self._drift
            else {}
        )
        if len(self._judged) >= MIN_HELD_OUT:
            seen |= self._held_out()
        reason = distributed.the_first(self._violation(seen, good_log_ratio))  # all stop, or none
        if reason:
            self._resident.put(self._good)
            if "held_out/loss" in seen:
                self._held_out_losses.pop()  # of weights that are gone
        else:
            self._good, self.moved = self._resident.weights(), True
        return seen, reason

    def _violation(self, seen: dict[str, float], good_log_ratio: float) -> str:
        kl = seen.get("guard/kl", 0.0)
        if not kl <= self._settings.max_kl:
            return f"KL to the live version {kl:.2f} > {self._settings.max_kl:g} nats per reply"
        if not good_log_ratio >= MIN_GOOD_LOG_RATIO:
            return f"good replies became less likely: {good_log_ratio:.2f} < {MIN_GOOD_LOG_RATIO:g} nats"
        rises = [float((self._shares * losses).sum()) for losses in self._held_out_losses]
        if (
            len(rises) >= 3
            and rises[-1] > rises[-2] > rises[-3]
            and self._is_seen(self._held_out_losses[-1] - self._held_out_losses[-3])
        ):
            return f"the loss on held-out judgements rose twice, to {rises[-1]:.3f}"
        return ""

    def _is_seen(self, rise: Tensor) -> bool:
        """Whether the mean rise is more than chance gives one time in twenty: a dozen judgements go up and down by
        themselves.
        """
        mean = (self._shares * rise).sum()
        error = (self._shares**2 * (rise - mean) ** 2).sum().sqrt()
        return bool(mean > ONE_SIDED_95 * error)

    def _held_out(self) -> dict[str, float]:
        """Return how the policy fits the held-out judgements: a pair's margin is between its replies, a thumb's from
        the middle of both sides.

        Without that middle all replies of the live version becoming less likely would count against a policy that tells
        good from bad ever better.
        """
        sides = [(example.prompt_ids, reply.ids) for example in self._judged for reply in example.completions]
        with self._resident.autocast():
            now = completion_sums(self._resident.model, sides, self._settings.token_budget)
        h = now - self._reference.sums(self._judged)
        sides_of = [
            (place, up)
            for place, example in enumerate(self._judged)
            for up, reply in ((True, example.good), (False, example.bad))
            if reply is not None
        ]
        of, up = (
            torch.tensor([place for place, _ in sides_of], device=h.device),
            torch.tensor([up for _, up in sides_of], device=h.device),
        )
        is_thumb = torch.tensor([self._judged[place].kind == "thumb" for place, _ in sides_of], device=h.device)
        middle = (h[is_thumb & up].mean() + h[is_thumb & ~up].mean()) / 2 if is_thumb.any() else 0.0
        leads = torch.where(up, 1.0, -1.0) * (h - middle * is_thumb)
        margin = h.new_zeros(len(self._judged)).index_add(0, of, leads)
        shares = self._shares.to(margin)
        losses = -torch.nn.functional.logsigmoid(self._settings.beta * margin)
        self._held_out_losses.append(losses.to(self._shares))
        loss = (shares * losses).sum().item()
        accuracy = (shares * (margin > 0)).sum().item()
        return {"held_out/loss": loss, "held_out/accuracy": accuracy, "held_out/margin": (shares * margin).sum().item()}


@torch.no_grad()
def drift_per_completion(resident: Resident, drift: Sequence[Anchor], budget: int) -> float:
    """Return the mean over replies of KL(recorded distribution || resident policy), summed over a reply's tokens, in
    nats.
    """
    total = 0.0
    for group in length_buckets([len(anchor.prompt_ids) + len(anchor.completion_ids) for anchor in drift], budget):
        some = [drift[index] for index in group]
        with resident.autocast():
            logits = completion_logits(resident.model, [(anchor.prompt_ids, anchor.completion_ids) for anchor in some])
        total += forward_kl_loss(logits, stacked(some, logits.device))[0].sum().item()
    return total / len(drift) if drift else 0.0


def reset_peak_memory() -> None:
    """Let `peak_memory_mb` begin anew, where the system allows it (Linux, CUDA)."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets VmHWM


def peak_memory_mb() -> float:
    """Return the largest resident memory of this process since `reset_peak_memory`, and on a GPU the largest
    allocation, in MiB.
    """
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 2**20
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def anchor_order(count: int, per_step: int, steps: int, seed: int) -> list[list[int]]:
    """Return which anchors each step sees: all in turn, in shuffled passes."""
    rng = random.Random(seed + 1)
    stream: list[int] = []
    while count and len(stream) < per_step * steps:
        stream += rng.sample(range(count), count)
    return [stream[step * per_step : (step + 1) * per_step] for step in range(steps)]

"""AdamW over the resident weights. Its state outlives an update: it is kept for the version that it led to."""

import logging
import os
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from learner.model import distributed
from learner.model.resident import Resident
from learner.settings import OptimizerSettings

log = logging.getLogger(__name__)
BETAS = (0.9, 0.95)
EPS = 1e-8  # in units of a gradient
WARMUP_STEPS = 5  # over which the learning rate rises where there is no optimizer state
CLIP_NORM = 1.0  # a longer gradient is scaled down to it
KEPT = 4  # files of optimizer state; older ones belong to versions that nobody trains on


def optimizer_state_path(data: Path, version: int) -> Path:
    """Return the file of the optimizer state that led to a version; losing it costs a warm-up."""
    return data / "cache" / "moments" / f"{version:06d}.safetensors"  # the folder's name in people's data folders


def optimizer_of(resident: Resident, settings: OptimizerSettings) -> "Optimizer":
    """Return an optimizer without state."""
    return Optimizer(
        resident,
        learning_rate=resident.learning_rate,
        warmup_steps=WARMUP_STEPS,
        clip_norm=CLIP_NORM,
        weight_decay=settings.weight_decay,
    )


class Optimizer:
    """AdamW with gradient clipping and a learning rate that is constant after a warm-up."""

    def __init__(
        self,
        resident: Resident,
        *,
        learning_rate: float,
        warmup_steps: int,
        clip_norm: float,
        betas: tuple[float, float] = BETAS,
        eps: float = EPS,
        weight_decay: float = 0.0,
    ) -> None:
        self._named = dict(resident.trainable())
        self._clip_norm, self._warmup_steps = clip_norm, warmup_steps
        self._adamw = torch.optim.AdamW(
            self._named.values(), lr=learning_rate, betas=betas, eps=eps, weight_decay=weight_decay, fused=True
        )
        self._learning_rate = learning_rate
        self.num_steps = 0  # since the state began

    def step(self) -> float:
        """Apply the gradients, added over all ranks, and clear them; return their norm before clipping.

        Where the norm is not finite, nothing is applied.
        """
        distributed.add_gradients(self._named.values())
        norm = float(torch.nn.utils.clip_grad_norm_(self._named.values(), self._clip_norm))
        if norm == norm and norm != float("inf"):
            self.num_steps += 1
            for group in self._adamw.param_groups:
                group["lr"] = self._learning_rate * min(1.0, self.num_steps / (self._warmup_steps + 1))
            self._adamw.step()
        self._adamw.zero_grad(set_to_none=True)
        return norm

    def write(self, path: Path, digest: str) -> None:
        """Write the state as the one that led to the version with this digest; the folder's oldest files go.

        Nothing is written where no step was taken.
        """
        if not self._adamw.state:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors: dict[str, torch.Tensor] = {}
        for name, parameter in self._named.items():
            state = self._adamw.state.get(parameter, {})
            tensors |= {
                f"{kind}/{name}": state[kind].detach().cpu().contiguous()
                for kind in ("exp_avg", "exp_avg_sq")
                if kind in state
            }
        unfinished = path.with_suffix(f".{os.getpid()}.tmp")
        save_file(tensors, unfinished, {"digest": digest, "num_steps": str(self.num_steps)})
        unfinished.replace(path)
        for old in sorted(path.parent.glob("*.safetensors"))[:-KEPT]:
            old.unlink(missing_ok=True)

    def read(self, path: Path, digest: str) -> bool:
        """Take up the state that led to the version with this digest; return False where there is none that fits."""
        if not path.exists():
            return False
        try:
            with safe_open(path, "pt") as file:
                about = file.metadata() or {}
                if about.get("digest") != digest:
                    return False
                averages = {
                    name: (file.get_tensor(f"exp_avg/{name}"), file.get_tensor(f"exp_avg_sq/{name}"))
                    for name in self._named
                }
        except Exception as error:  # half a file or other weights: the state is dispensable
            log.warning("the optimizer state in %s cannot be used (%s); a new one begins", path.name, error)
            return False
        if any(mean.shape != self._named[name].shape for name, (mean, _) in averages.items()):
            return False
        self.num_steps = int(about["num_steps"])
        for name, (mean, square) in averages.items():
            parameter = self._named[name]
            # The fused kernel reads the step on the weight's device.
            step = torch.tensor(float(self.num_steps), dtype=torch.float32, device=parameter.device)
            self._adamw.state[parameter] = {
                "step": step,
                "exp_avg": mean.to(parameter.device),
                "exp_avg_sq": square.to(parameter.device),
            }
        return True

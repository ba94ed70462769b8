"""TRL 1.16's own loss code, called on stub trainers: no model, no data set, no weights.

The methods are private, hence the pinned version. TRL is imported inside functions, so only tests that use it pay for
the import.
"""

import os
from collections import defaultdict
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

PROMPT, LONGEST = 4, 6


@dataclass(frozen=True)
class Completions:
    """Completions of several lengths after prompts of one length, right-padded as in TRL."""

    ids: Tensor  # (N, PROMPT + LONGEST)
    attention: Tensor
    completion: Tensor  # (N, PROMPT + LONGEST), 1 on completion tokens
    lengths: Tensor  # (N,)
    leaf: Tensor  # (N, PROMPT + LONGEST - 1), what gradients are taken for

    @property
    def token_logps(self) -> Tensor:
        """(N, PROMPT + LONGEST - 1), 0 outside the completion."""
        return self.leaf * self.completion[:, 1:]

    @property
    def mask(self) -> Tensor:
        """(N, LONGEST), 1 on completion tokens."""
        return self.completion[:, PROMPT:].float()

    @property
    def completion_logps(self) -> Tensor:
        """(N, LONGEST), log-probabilities of completion tokens."""
        return self.token_logps[:, PROMPT - 1 :]


def random_completions(num: int, seed: int) -> Completions:
    """Return random completions of 1 to LONGEST tokens with log-probabilities in (-3, 0]."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, LONGEST + 1, (num,), generator=generator)
    positions = torch.arange(PROMPT + LONGEST)
    attention = (positions < PROMPT + lengths[:, None]).long()
    completion = attention * (positions >= PROMPT)
    leaf = (-3.0 * torch.rand(num, PROMPT + LONGEST - 1, generator=generator)).requires_grad_()
    ids = torch.randint(1, 50, (num, PROMPT + LONGEST), generator=generator)
    return Completions(ids, attention, completion, lengths, leaf)


def _accelerator() -> SimpleNamespace:
    return SimpleNamespace(
        device=torch.device("cpu"),
        gather=lambda x: x,
        gather_for_metrics=lambda x: x,
        reduce=lambda x, reduction="sum": x,
        num_processes=1,
        sync_gradients=True,
    )


def _trainer(**attributes: Any) -> SimpleNamespace:
    common = {
        "model": SimpleNamespace(training=True),
        "accelerator": _accelerator(),
        "aux_loss_enabled": False,
        "_metrics": defaultdict(lambda: defaultdict(list)),
        "_total_train_tokens": 0,
        "_tp_size": 1,
    }
    return SimpleNamespace(**(common | attributes))


def _model_output(token_logps: Tensor) -> Any:
    from trl.trainer.utils import FusedCausalLMOutput

    other = torch.zeros_like(token_logps)
    return FusedCausalLMOutput(
        log_probs=token_logps,
        entropy=other,
        log_sum_sq_probs=other,
        mean_logits=other,
        is_top1=torch.zeros_like(other, dtype=torch.bool),
    )


def dpo_loss(pairs: Completions, reference: Tensor, kind: str, *, beta: float, label_smoothing: float = 0.0) -> Tensor:
    """Return DPOTrainer's loss on [chosen..., rejected...] with reference log-probabilities (N,), shape ()."""
    from trl import DPOTrainer

    trainer = _trainer(
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        loss_types=[kind],
        loss_weights=[1.0],
        beta=beta,
        label_smoothing=label_smoothing,
        use_weighting=False,
    )
    chosen, rejected = reference.chunk(2)
    batch = {
        "input_ids": pairs.ids,
        "attention_mask": pairs.attention,
        "completion_mask": pairs.completion,
        "ref_chosen_logps": chosen,
        "ref_rejected_logps": rejected,
    }
    return DPOTrainer._compute_loss(trainer, lambda **_: _model_output(pairs.token_logps), batch, False)


def simpo_loss(chosen: Tensor, rejected: Tensor, *, beta: float, gamma: float, label_smoothing: float) -> Tensor:
    """Return CPOTrainer's SimPO on mean token log-probabilities, (B,)."""
    from trl.experimental.cpo import CPOTrainer

    trainer = _trainer(alpha=0.0, loss_type="simpo", simpo_gamma=gamma, beta=beta, label_smoothing=label_smoothing)
    return CPOTrainer.cpo_loss(trainer, chosen, rejected)[0]


def kto_loss(
    thumbs: Completions,
    reference: Tensor,
    up: Tensor,
    mismatched: Tensor,
    kind: str,
    *,
    beta: float,
    up_weight: float,
    down_weight: float,
) -> Tensor:
    """Return KTOTrainer's loss, shape (); `mismatched` (N,) are the log-ratios of completions after other prompts."""
    from trl import KTOTrainer

    trainer = _trainer(
        precompute_ref_logps=True,
        calculate_KL=kind == "kto",
        loss_type=kind,
        beta=beta,
        desirable_weight=up_weight,
        undesirable_weight=down_weight,
        _compute_kl_logps=lambda model, batch: mismatched,
    )
    batch = {
        "input_ids": thumbs.ids,
        "attention_mask": thumbs.attention,
        "completion_mask": thumbs.completion,
        "label": up,
        "ref_logps": reference,
        "ref_KL_logps": torch.zeros_like(mismatched),
    }
    return KTOTrainer._compute_loss(trainer, lambda **_: _model_output(thumbs.token_logps), batch, False)


def _policy_batch(samples: Completions, advantages: Tensor) -> dict[str, Tensor]:
    return {
        "prompt_ids": samples.ids[:, :PROMPT],
        "prompt_mask": samples.attention[:, :PROMPT],
        "completion_ids": samples.ids[:, PROMPT:],
        "completion_mask": samples.completion[:, PROMPT:],
        "advantages": advantages,
    }


def grpo_loss(
    samples: Completions,
    old: Tensor,
    reference: Tensor,
    advantages: Tensor,
    kind: str,
    *,
    beta: float,
    level: str = "token",
    eps_high: float = 0.28,
    is_corrected: bool = True,
    max_length: int = 16,
) -> Tensor:
    """Return GRPOTrainer's loss, shape (); `old` and `reference` are (N, LONGEST)."""
    from trl import GRPOTrainer

    trainer = _trainer(
        top_entropy_quantile=1.0,
        off_policy_mask_threshold=None,
        importance_sampling_level=level,
        beta=beta,
        args=SimpleNamespace(delta=None, use_bias_correction_kl=is_corrected, steps_per_generation=1),
        epsilon_low=0.2,
        epsilon_high=eps_high,
        loss_type=kind,
        use_vllm=False,
        vllm_importance_sampling_correction=False,
        current_gradient_accumulation_steps=1,
        max_completion_length=max_length,
        _entropy_bonus_enabled=False,
        _get_per_token_logps_and_entropies=lambda *a, **k: (
            samples.completion_logps,
            torch.zeros_like(samples.completion_logps),
            None,
        ),
    )
    more = {"old_per_token_logps": old, "ref_per_token_logps": reference, "num_items_in_batch": samples.mask.sum()}
    return GRPOTrainer._compute_loss(trainer, None, _policy_batch(samples, advantages) | more)


def rloo_loss(samples: Completions, old: Tensor, advantages: Tensor) -> Tensor:
    """Return RLOOTrainer's loss, shape (); `old` is (N, LONGEST)."""
    from trl import RLOOTrainer

    trainer = _trainer(
        epsilon_low=0.2,
        epsilon_high=0.2,
        _get_per_token_logps_and_entropies=lambda *a, **k: (
            samples.completion_logps,
            torch.zeros_like(samples.completion_logps),
            None,
        ),
    )
    more = {"old_logps": (old * samples.mask).sum(1)}
    return RLOOTrainer._compute_loss(trainer, None, _policy_batch(samples, advantages) | more)


def reward_loss(chosen: Tensor, rejected: Tensor, *, margin: Tensor | None) -> Tensor:
    """Return RewardTrainer's loss on scores (B,), shape ()."""
    from trl import RewardTrainer

    trainer = _trainer(args=SimpleNamespace(center_rewards_coefficient=None))
    scores = torch.cat([chosen, rejected]).unsqueeze(1)
    batch: dict[str, Any] = {"attention_mask": torch.ones(len(scores), 1)}
    if margin is not None:
        batch["margin"] = margin
    return RewardTrainer.compute_loss(trainer, lambda **_: SimpleNamespace(logits=scores), batch)

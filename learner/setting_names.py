"""Names of settings in earlier releases, and today's paths for them.

Earlier runs are on record with these names, and people's files may have them.
"""

from collections.abc import Mapping
from typing import Any

# Retired settings with their last defaults: constants beside the code that reads them, or machinery without a gain.
RETIRED: dict[str, Any] = {
    "lora_alpha": 32.0,
    "adam_beta1": 0.9,
    "adam_beta2": 0.95,
    "adam_eps": 1e-08,
    "warmup_steps": 5,
    "cooldown": 0.0,
    "clip_norm": 1.0,
    "implicit_weight": 0.2,
    "half_life": 8.0,
    "side_ratio": 3.0,
    "simpo_gamma": 1.0,
    "dpop_penalty": 5.0,
    "length_alpha": 0.01,
    "thumb_scale": 2.0,
    "thumb_up_weight": 1.0,
    "thumb_down_weight": 1.0,
    "z0_decay": 0.5,
    "edit_flip_rate": 0.02,
    "edit_full_tokens": 8.0,
    "edit_nll": 1.0,
    "edit_unchanged_weight": 0.1,
    "flip_rate": 0.05,
    "trust_prior": 0.8,
    "trust_strength": 9.0,
    "reward_heads": 10,
    "reward_steps": 200,
    "reward_rate": 0.01,
    "reward_prior": 0.5,
    "reward_clip": 5.0,
    "reward_centring": 0.0,
    "cut_off_penalty": 1.0,
    "rollout_epochs": 1,
    "kl_kind": "corrected_k3",
    "kl_horizon": 256.0,
    "cispo_bound": 5.0,
    "dual_clip": 0.0,
    "clip_low": 0.2,
    "clip_high": 0.28,
    "off_policy": 0.0,
    "off_policy_cap": 2.0,
    "off_policy_gap": 8,
    "off_policy_drift": 0.5,
    "off_policy_ratio": 2.0,
    "value_rate": 0.001,
    "value_warmup": 20,
    "value_clip": 0.0,
    "gae_lambda": 0.95,
    "gae_gamma": 1.0,
    "q_serving": "distilled",
    "q_rate": 0.001,
    "q_gamma": 1.0,
    "q_cql": 0.1,
    "q_pair_reward": 0.5,
    "q_edit_reward": 0.5,
    "q_polyak": 0.05,
    "min_chosen_log_ratio": -1.0,
    "gate_min_gain": 0.0,
    "gate_max_kl": 4.0,
    "gate_max_endless_rise": 0.25,
    "gate_max_empty_rise": 0.1,
}
RENAMED: dict[str, str | None] = {
    "trigger_items": "trigger.feedback",
    "trigger_seconds": "trigger.seconds",
    "trigger_min_items": "trigger.min_feedback",
    "learning_rate": "optimizer.learning_rate",
    "weight_decay": "optimizer.weight_decay",
    "batch_items": "batch_size",
    "max_items": "max_examples",
    "edit_weight": "corrections.weight",
    "pair_weight": "pairs.weight",
    "thumb_weight": "thumbs.weight",
    "pair_kind": "pairs.loss",
    "thumb_kind": "thumbs.loss",
    "nll": "nll_weight",
    "trust_items": "trust.feedback",
    "gold_raters": "trust.gold_raters",
    "rater_cap": "trust.rater_cap",
    "anchor": "anchors.weight",
    "anchor_items": "anchors.count",
    "anchor_file": "anchors.file",
    "anchor_batch": "anchors.batch_size",
    "reward_min_labels": "reward_model.min_labels",
    "reward_pessimism": "reward_model.pessimism",
    "reward_function": "reward_model.functions",
    "rollout_rounds": "rollout.rounds",
    "rollout_prompts": "rollout.prompts",
    "rollout_group": "rollout.group_size",
    "rollout_tokens": "rollout.max_tokens",
    "rollout_minibatches": "rollout.minibatches",
    "kl_weight": "ppo.kl_weight",
    "kl_target": "ppo.kl_target",
    "q_steps": "ilql.steps",
    "q_tau": "ilql.tau",
    "q_beta": "ilql.beta",
    "holdout": "gate.holdout",
    "gate_max_base_kl": "gate.max_base_kl",
    "gate_max_anchor_kl": "gate.max_anchor_kl",
    "gate_max_length_ratio": "gate.max_length_ratio",
    "gate_probes": "gate.skill_probes",
    "gate_probe_items": "gate.num_skill_probes",
    "gate_max_skill_drop": "gate.max_skill_drop",
    "gate_samples": "gate.num_samples",
    "gate_max_tokens": "gate.max_tokens",
    # `ppo.variant` is one choice for all four.
    "surrogate": "ppo.variant",
    "advantage_scale": "ppo.variant",
    "token_reduction": "ppo.variant",
    "ratio_level": "ppo.variant",
    **dict.fromkeys(RETIRED),
}
_RENAMED_VALUES = {"length_normalised": "length_normalized", "length_regularised": "length_regularized"}
_VARIANTS = {
    ("surrogate", "cispo"): "cispo",
    ("ratio_level", "sequence"): "gspo",
    ("token_reduction", "dr_grpo"): "dr_grpo",
}
_VARIANTS |= {("advantage_scale", "none"): "dr_grpo", ("token_reduction", "grpo"): "grpo"}
_FOUR = ("surrogate", "advantage_scale", "token_reduction", "ratio_level")
_CHOICES = {
    "dapo": dict(zip(_FOUR, ("clip", "batch", "dapo", "token"), strict=True)),
    "grpo": dict(zip(_FOUR, ("clip", "group", "grpo", "token"), strict=True)),
    "dr_grpo": dict(zip(_FOUR, ("clip", "none", "dr_grpo", "token"), strict=True)),
    "gspo": dict(zip(_FOUR, ("clip", "group", "grpo", "sequence"), strict=True)),
    "cispo": dict(zip(_FOUR, ("cispo", "batch", "dapo", "token"), strict=True)),
}


def renamed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of an earlier release's run by today's paths, without the retired ones."""
    by_path: dict[str, Any] = {}
    for name, value in values.items():
        path = RENAMED.get(name, name)
        if path == "ppo.variant":
            if (name, value) in _VARIANTS and not (name == "ratio_level" and values.get("algorithm") == "ppo"):
                by_path[path] = _VARIANTS[name, value]  # ppo never read the level of the ratio
        elif path is not None:
            by_path[path] = _RENAMED_VALUES.get(value, value) if isinstance(value, str) else value
    return by_path


def not_followed(values: Mapping[str, Any]) -> list[str]:
    """Return what an earlier release's run was set to and no run can be set to now, as `name=value`.

    Retired settings count where they differ from their last default, and the four that `ppo.variant` replaces where the
    variant that is taken has another value.
    """
    lost = [f"{name}={value}" for name, value in values.items() if RETIRED.get(name, value) != value]
    variant = _CHOICES[renamed(values).get("ppo.variant", "dapo")]
    unread = {"ratio_level"} if values.get("algorithm") == "ppo" else set()
    read = [name for name in _FOUR if name in values and name not in unread]
    return lost + [f"{name}={values[name]}" for name in read if values[name] != variant[name]]

"""Names of settings in earlier releases, and today's paths for them.

Earlier runs are on record with these names, and people's files may have them.
"""

from collections.abc import Mapping
from typing import Any

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
    # Retired: constants beside the code that reads them, or machinery without a measured gain.
    **dict.fromkeys(
        (
            "lora_alpha",
            "adam_beta1",
            "adam_beta2",
            "adam_eps",
            "warmup_steps",
            "cooldown",
            "clip_norm",
            "implicit_weight",
            "half_life",
            "side_ratio",
            "simpo_gamma",
            "dpop_penalty",
            "length_alpha",
            "thumb_scale",
            "thumb_up_weight",
            "thumb_down_weight",
            "z0_decay",
            "edit_flip_rate",
            "edit_full_tokens",
            "edit_nll",
            "edit_unchanged_weight",
            "flip_rate",
            "trust_prior",
            "trust_strength",
            "reward_heads",
            "reward_steps",
            "reward_rate",
            "reward_prior",
            "reward_clip",
            "reward_centring",
            "cut_off_penalty",
            "rollout_epochs",
            "kl_kind",
            "kl_horizon",
            "cispo_bound",
            "dual_clip",
            "clip_low",
            "clip_high",
            "off_policy",
            "off_policy_cap",
            "off_policy_gap",
            "off_policy_drift",
            "off_policy_ratio",
            "value_rate",
            "value_warmup",
            "value_clip",
            "gae_lambda",
            "gae_gamma",
            "q_serving",
            "q_rate",
            "q_gamma",
            "q_cql",
            "q_pair_reward",
            "q_edit_reward",
            "q_polyak",
            "min_chosen_log_ratio",
            "gate_min_gain",
            "gate_max_kl",
            "gate_max_endless_rise",
            "gate_max_empty_rise",
        )
    ),
}
_RENAMED_VALUES = {"length_normalised": "length_normalized", "length_regularised": "length_regularized"}
_VARIANTS = {
    ("surrogate", "cispo"): "cispo",
    ("ratio_level", "sequence"): "gspo",
    ("token_reduction", "dr_grpo"): "dr_grpo",
}
_VARIANTS |= {("advantage_scale", "none"): "dr_grpo", ("token_reduction", "grpo"): "grpo"}


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

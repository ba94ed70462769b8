"""How the learner is set up: flags over the environment over the TOML file over these defaults.

Keys live in the file's `[learner]` table and as `ATTUNE_LEARNER_*`; `data`, `model` and `device` are shared with the
service: they are
read from the file's top level and from `ATTUNE_*` too.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal, Self, get_args, get_origin

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from learner.errors import BadSetting

Algorithm = Literal["mixed", "dpo", "kto", "sft", "grpo", "rloo", "ppo", "ilql"]
ON_POLICY = ("grpo", "rloo", "ppo")
SHARED = ("data", "model", "device")
OFFLINE = {
    "steps": 10_000,
    "passes": 2.0,
    "replay": 0.0,
    "max_items": 1_000_000,
}  # defaults of `attune train`: two passes over the file
# Variables that Kubernetes and Docker set for a service called attune or attune-learner.
_LINK = re.compile(r"\w*_(SERVICE_(HOST|PORT)(_\w+)?|PORT_\d+_\w+)=.*|\w*_PORT=\w+://.*", re.DOTALL)
_file_values: ContextVar[dict[str, Any]] = ContextVar("_file_values", default={})  # noqa: B039 -- never changed in place


class _TomlValues(PydanticBaseSettingsSource):
    """The TOML file's part for the learner, already read by `load_settings`, over the defaults that it was given."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        return _file_values.get()


class _SharedEnvironment(_TomlValues):
    """`ATTUNE_DATA`, `ATTUNE_MODEL` and `ATTUNE_DEVICE`, which the service reads too."""

    def __call__(self) -> dict[str, Any]:
        return {
            name: os.environ[f"ATTUNE_{name.upper()}"] for name in SHARED if os.environ.get(f"ATTUNE_{name.upper()}")
        }


class LearnerSettings(BaseSettings):
    """Everything that `attune learn` can be told."""

    model_config = SettingsConfigDict(
        env_prefix="ATTUNE_LEARNER_", extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    data: Path = Path("~/.attune")
    """Folder for everything that lasts: database, versions, cache."""
    model: str = Field("pocket", min_length=1)
    """Base model: a bundled name (`pocket`), a folder, or a hub id."""
    device: str = Field("auto", pattern="^(auto|cpu|cuda)$")
    """Where the model is trained: auto, cpu or cuda."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """What the forward passes compute in; auto is float32 on a CPU and bfloat16 autocast on a GPU. Adapters and
    optimizer stay float32.
    """
    nice: int = Field(0, ge=0, le=19)
    """By how much the learner steps back from the CPU for others, 0 (not at all) to 19."""
    seed: int = Field(0, ge=0, le=2**31 - 1)
    """Goes into each run's own seed, with the number of runs before it."""

    algorithm: Algorithm = "mixed"
    """What learns: mixed (pairs, thumbs and corrections together), dpo (pairs), kto (thumbs), sft (good replies alone);
    grpo, rloo and ppo
    (the policy's own replies, scored by a reward model that is trained on all feedback first); ilql (Q-learning over
    tokens).
    """
    trigger_items: int = Field(16, ge=1)
    """Useful items that start an update at once."""
    trigger_seconds: float = Field(20.0, ge=0)
    """Seconds after the first waiting item when an update starts with at least `trigger_min_items`."""
    trigger_min_items: int = Field(4, ge=1)
    """Fewest items that the clock may start an update with."""

    tuning: Literal["lora", "full"] = "lora"
    """What moves: lora (adapters on all linear layers) or full (every weight)."""
    lora_rank: int = Field(16, ge=1, le=512)
    """Rank of the adapters; those of a live version keep theirs."""
    lora_alpha: float = Field(32.0, gt=0, le=10_000)
    """Scale of the adapters, times 1 / rank; a factor, no unit."""
    learning_rate: float = Field(0.0, ge=0, le=1)
    """Step size of AdamW, no unit: about how far a weight moves in a step. 0 chooses by the model's size: with lora
    1e-3 up to 50 million
    parameters, 2e-4 up to 1.5 billion, 2e-5 beyond; with full a tenth of that."""
    adam_beta1: float = Field(0.9, ge=0, lt=1)
    """AdamW: share of the gradients' moving mean that each step keeps; a factor, no unit."""
    adam_beta2: float = Field(0.95, ge=0, lt=1)
    """AdamW: share of the squared gradients' moving mean that each step keeps; a factor, no unit."""
    adam_eps: float = Field(1e-8, gt=0, le=1)
    """AdamW: what is added to the root of the squared gradients' mean, in units of a gradient: weights whose gradients
    are smaller move less.
    """
    weight_decay: float = Field(0.0, ge=0, le=10)
    """AdamW: share of each weight that a step takes off, times the learning rate, no unit. With lora it draws the
    adapters to the base model,
    with full every weight to 0."""
    warmup_steps: int = Field(5, ge=0, le=100_000)
    """Steps over which the learning rate rises when the optimizer starts without memory."""
    cooldown: float = Field(0.0, ge=0, le=1)
    """Share of an update's steps, at its end, over which the learning rate falls to nearly nothing."""
    clip_norm: float = Field(1.0, gt=0)
    """Largest gradient norm of a step, no unit: a longer gradient is scaled down to it. A huge value clips none."""
    steps: int = Field(60, ge=1, le=10_000)
    """mixed, dpo, kto and sft: most steps of an update; the guards may stop it earlier. For ilql most steps that distil
    the
    policy, after `q_steps` of its heads (none where `q_serving` is shifted); grpo, rloo and ppo count `rollout_rounds`,
    `rollout_epochs` and
    `rollout_minibatches` instead."""
    passes: float = Field(8.0, gt=0, le=10_000)
    """mixed, dpo, kto and sft: most passes over an update's items; for ilql over the replies that it is distilled on.
    With few items it ends before
    `steps`."""
    batch_items: int = Field(8, ge=1, le=65_536)
    """Items (pairs, thumbs or corrections) per step."""
    token_budget: int = Field(4096, ge=64)
    """Most tokens, padding included, in one forward and backward pass; a step takes as many as it needs."""
    max_items: int = Field(512, ge=1)
    """Most new items of one update; the newest count when more wait."""
    replay: float = Field(1.0, ge=0, le=16)
    """Earlier items per new one."""

    edit_weight: float = Field(1.5, ge=0, le=100)
    """How much a correction counts against the other kinds of feedback; a factor, no unit, 0 leaves it out. For all
    algorithms but dpo, which
    reads corrections as pairs, and kto, which reads all as thumbs."""
    pair_weight: float = Field(1.0, ge=0, le=100)
    """How much a choice between two replies counts against the other kinds; a factor, no unit. For mixed, grpo, rloo,
    ppo and ilql (dpo has this
    kind alone; kto and sft read pairs as thumbs)."""
    thumb_weight: float = Field(0.7, ge=0, le=100)
    """How much a thumb counts against the other kinds, for all algorithms but dpo; a factor, no unit."""
    implicit_weight: float = Field(0.2, ge=0, le=100)
    """How much it counts against the other kinds, as a thumb down, that somebody asked for another answer, for all
    algorithms but dpo and sft; a
    factor, no unit."""
    half_life: float = Field(8.0, gt=0, le=10_000)
    """Versions after which feedback on a reply counts half, for every algorithm: it is ever less the policy's own
    reply.
    """
    rater_cap: float = Field(0.1, gt=0, le=1)
    """Largest share of an update's weight that one rater may hold, for every algorithm, yet never less than twice an
    equal share, so that one or
    two raters are not cut; 1 is no limit."""
    side_ratio: float = Field(3.0, ge=1, le=1000)
    """Most weight of the thumbs of one direction against those of the other, for all algorithms but dpo and sft; a
    factor, no unit.
    """

    pair_kind: Literal[
        "sigmoid", "robust", "ipo", "hinge", "length_normalized", "simpo", "dpop", "length_regularized", "apo_zero"
    ] = "sigmoid"
    """mixed and dpo: loss on pairs, and mixed: on corrections; sigmoid is DPO. length_normalized and simpo measure nats
    per token, not per reply,
    so `beta` should be 2 to 5 for them, not its default of 0.1, with which they hardly learn. ipo is per token too: it
    seeks a margin of
    1 / (2 beta), 5 nats per token by default."""
    simpo_gamma: float = Field(1.0, ge=0, le=100)
    """simpo: the margin that a pair should have, after `beta`, in nats of log-odds; about half of `beta` is usual."""
    dpop_penalty: float = Field(5.0, ge=0, le=1000)
    """dpop: nats of margin lost per nat by which the chosen reply became less likely than under the live version; a
    factor, no unit, 5 to 50.
    """
    length_alpha: float = Field(0.01, ge=0, le=10)
    """length_regularized: log-odds in nats per token by which the chosen reply is longer; so much of why it won is put
    down to length.
    """
    thumb_kind: Literal["kto", "apo_zero_unpaired"] = "kto"
    """mixed and kto: loss on thumbs."""
    thumb_scale: float = Field(2.0, ge=0, le=100)
    """mixed and kto: factor of the loss on thumbs, no unit; at 2 a thumb's gradient begins as large as that of a pair's
    reply.
    """
    thumb_up_weight: float = Field(1.0, ge=0, le=100)
    """mixed and kto: factor of the loss on thumbs up, no unit."""
    thumb_down_weight: float = Field(1.0, ge=0, le=100)
    """mixed and kto: factor of the loss on thumbs down, no unit."""
    z0_decay: float = Field(0.5, ge=0, lt=1)
    """mixed and kto, thumb_kind kto: share of its old value that KTO's baseline keeps with each look at replies to
    other prompts; a factor, no
    unit."""
    edit_flip_rate: float = Field(0.02, ge=0, lt=0.5)
    """mixed: chance that a correction is worse than what it corrects."""
    edit_full_tokens: float = Field(8.0, gt=0, le=100_000)
    """mixed: changed tokens from which on a correction counts in full as a pair; with fewer it counts by their share,
    since near-identical pairs
    lower both likelihoods."""
    edit_nll: float = Field(1.0, ge=0, le=100)
    """mixed and sft: factor of the likelihood (nats per token) of the tokens that a correction changed, no unit."""
    edit_unchanged_weight: float = Field(0.1, ge=0, le=1)
    """mixed and sft: how much a token that a correction left as it was counts in that likelihood against one that it
    changed, no unit.
    """
    beta: float = Field(0.1, gt=0, le=100)
    """mixed, dpo and kto: how hard the losses on pairs and thumbs hold the policy to the live version, per nat (IPO's
    tau for ipo). For
    length_normalized and simpo, which measure per token, 2 to 5 is usual (see `pair_kind`)."""
    flip_rate: float = Field(0.05, ge=0, lt=0.5)
    """Chance that a label is wrong, while nobody's trust was ever estimated."""
    trust_items: int = Field(512, ge=0)
    """How far raters are believed is estimated from so many of the newest judgements, once three people judge; 0
    believes all alike.
    """
    trust_prior: float = Field(0.8, gt=0.5, lt=1)
    """Chance that a rater of whom little is known is right."""
    trust_strength: float = Field(9.0, gt=0, le=10_000)
    """How many judgements that chance is worth."""
    gold_raters: str = ""
    """Raters, separated by commas, whose judgement is known to be good: it decides which way is up when the others are
    divided.
    """
    nll: float = Field(1.0, ge=0, le=100)
    """mixed, dpo, kto and sft: factor of the likelihood (nats per token) of chosen, thumbed-up and corrected replies,
    no unit; sft takes 1 at
    least."""
    anchor: float = Field(0.2, ge=0, le=1000)
    """Factor of the KL to the base model (nats per token) on anchor prompts, for every algorithm, no unit; 0 means no
    anchors.
    """
    anchor_items: int = Field(0, ge=0, le=4096)
    """Anchor samples that the base model makes once per data folder; 0 is 256 for models up to 50 million parameters,
    64 for larger ones, and
    beside them all of `anchor_file`, up to 4096 in all."""
    anchor_file: Path | None = None
    """JSON Lines with further anchor prompts (`{"prompt": text or messages}`): what the model should go on answering as
    it does. With
    more of them than `anchor_items` they are taken evenly from all over the file."""
    anchor_batch: int = Field(4, ge=1, le=4096)
    """Anchor samples per step."""

    reward_heads: int = Field(10, ge=1, le=100)
    """Reward model: heads whose disagreement is its uncertainty."""
    reward_steps: int = Field(200, ge=1, le=100_000)
    """Reward model: full-batch gradient steps of its heads."""
    reward_rate: float = Field(0.01, gt=0, le=1)
    """Reward model: step size of Adam on its heads, no unit."""
    reward_prior: float = Field(0.5, ge=0, le=1000)
    """Reward model: how strongly each head is held to its own random start, against one label; a factor, no unit."""
    reward_pessimism: float = Field(1.0, ge=0, le=100)
    """grpo, rloo and ppo: the policy learns from the heads' mean less this many of their standard deviations."""
    reward_clip: float = Field(5.0, gt=0, le=1000)
    """grpo, rloo and ppo: largest size of the heads' mean, in units of reward (the spread of the reward model over
    people's own replies).
    """
    reward_centring: float = Field(0.0, ge=0, le=100)
    """Reward model: factor of the squared sum of a pair's two scores, which keeps scores near 0 where pairs alone would
    leave them free; no unit.
    """
    reward_min_labels: int = Field(16, ge=2)
    """Fewest pairs, corrections and thumbs from which a reward model is trained; with fewer grpo, rloo and ppo wait."""
    reward_function: str = ""
    """Further rewards, as `module:function`, several separated by commas: each is called with the prompt and the reply
    as text, and its number
    is added to the reward model's."""

    rollout_rounds: int = Field(6, ge=1, le=10_000)
    """On-policy rounds of an update: sample, score, learn."""
    rollout_prompts: int = Field(16, ge=1, le=4096)
    """Prompts per round."""
    rollout_group: int = Field(8, ge=2, le=1024)
    """Replies per prompt."""
    rollout_tokens: int = Field(96, ge=8, le=32_768)
    """Most tokens of a sampled reply."""
    cut_off_penalty: float = Field(1.0, ge=0, le=100)
    """grpo, rloo and ppo: taken off the reward of a reply that did not end within `rollout_tokens`, in units of reward
    (the spread of the reward
    model over people's own replies)."""
    rollout_epochs: int = Field(1, ge=1, le=16)
    """Passes over a round's replies."""
    rollout_minibatches: int = Field(2, ge=1)
    """Gradient steps per pass; each takes whole prompts, so no more than `rollout_prompts`."""
    kl_weight: float = Field(0.04, ge=0, le=100)
    """Weight of the KL to the live version, per nat: in the loss for grpo (per token), in the reward for rloo and ppo
    (per token).
    """
    kl_kind: Literal["k2", "k3", "corrected_k3"] = "corrected_k3"
    """grpo: how the KL in the loss is estimated from a sampled token. k2 and corrected_k3 have the gradient of the KL
    from the policy to the live
    version, the latter also where a round's replies are read in several steps; k3, with which GRPO was published, that
    of the other direction.
    """
    kl_target: float = Field(0.0, ge=0)
    """grpo, rloo and ppo: nats per reply that the policy should be from the live version: from round to round of an
    update `kl_weight` rises while
    it is further, and falls while it is nearer; 0 leaves the weight as it is."""
    kl_horizon: float = Field(256.0, ge=1)
    """Replies over which `kl_weight` changes by a fifth at most."""
    surrogate: Literal["clip", "cispo"] = "clip"
    """grpo and ppo: what becomes of tokens whose ratio has left the bounds: clip drops their gradient, cispo keeps it
    with a bounded weight.
    """
    cispo_bound: float = Field(5.0, gt=1, le=1000)
    """cispo: largest weight of a token, its probability as a ratio to that of the sampling policy, no unit."""
    dual_clip: float = Field(0.0, ge=0, le=1000)
    """grpo and ppo, clip: largest ratio, no unit, with which a token that did worse than expected is pushed down; above
    1, 3 is usual. 0 sets no
    bound."""
    off_policy: float = Field(0.0, ge=0, le=100)
    """ppo: weight, a factor, of the judged replies themselves beside the policy's own, by their recorded
    log-probabilities and truncated importance
    weights; 0 leaves them to the reward model."""
    off_policy_cap: float = Field(2.0, gt=0, le=1000)
    """off_policy: largest weight of a token, its probability under the live version as a ratio to that under the one
    that said it, no unit.
    """
    off_policy_gap: int = Field(8, ge=0, le=10_000)
    """off_policy: versions that a reply's may lie before the live one."""
    off_policy_drift: float = Field(0.5, ge=0, le=100)
    """off_policy: nats per token by which the live version may find a reply less likely than the one that said it did,
    where people disliked it.
    """
    off_policy_ratio: float = Field(2.0, ge=1, le=1000)
    """off_policy: factor per token, as a geometric mean, by which the live version may find any reply more or less
    likely, no unit.
    """
    clip_low: float = Field(0.2, gt=0, lt=1)
    """The policy's ratio to the sampling policy is clipped below 1 less this, no unit."""
    clip_high: float = Field(0.28, gt=0, le=100)
    """The policy's ratio to the sampling policy is clipped above 1 plus this, no unit."""
    advantage_scale: Literal["group", "batch", "none"] = "batch"
    """grpo: what advantages are divided by; none is Dr. GRPO."""
    token_reduction: Literal["grpo", "dapo", "dr_grpo"] = "dapo"
    """grpo and ppo: how token losses are averaged."""
    ratio_level: Literal["token", "sequence"] = "token"
    """grpo: per-token ratios, or one per reply (GSPO)."""
    value_rate: float = Field(1e-3, gt=0, le=1)
    """ppo: step size of Adam on the value head, no unit."""
    value_warmup: int = Field(20, ge=0, le=100_000)
    """ppo: steps of the value head alone, before the policy moves."""
    value_clip: float = Field(0.0, ge=0, le=1000)
    """ppo: how far a round may move a state's value, in units of reward; 0 is no limit."""
    gae_lambda: float = Field(0.95, ge=0, le=1)
    """ppo: how far advantages look ahead, a factor per token; 1 is Monte Carlo."""
    gae_gamma: float = Field(1.0, ge=0, le=1)
    """ppo: discount, a factor per token: what a token later in the reply earns counts less for those before it; 1 is
    none.
    """

    q_serving: Literal["distilled", "shifted"] = "distilled"
    """ilql: how its policy is served: distilled (the adapters learn what the heads shift the policy to) or shifted (the
    policy stays as it is, and an
    adapter on the output layer shifts its logits by the heads' Q at each token, exactly; needs tuning lora)."""
    q_steps: int = Field(200, ge=1, le=100_000)
    """ilql: steps of the Q and V heads on logged replies."""
    q_rate: float = Field(1e-3, gt=0, le=1)
    """ilql: step size of Adam on the heads, no unit."""
    q_tau: float = Field(0.5, ge=0.5, lt=1)
    """ilql: expectile of V, a share; 0.5 is the mean of what was said, near 1 the best of it. Above 0.5 errors of Q
    count as
    merits, more so in long replies."""
    q_gamma: float = Field(1.0, ge=0, le=1)
    """ilql: discount, a factor per token: what a token later in the reply earns counts less for those before it; 1 is
    none.
    """
    q_cql: float = Field(0.1, ge=0, le=100)
    """ilql: weight, a factor, of the term that keeps tokens that nobody said from looking good."""
    q_beta: float = Field(6.0, ge=0, le=1000)
    """ilql: how far the policy is shifted by the advantage of each token, in nats of log-probability per unit of reward
    (a thumb up is 1).
    """
    q_pair_reward: float = Field(0.5, ge=0, le=100)
    """ilql: reward of the chosen reply of a pair, and with a minus of the other, in units of reward (a thumb up is 1).
    """
    q_edit_reward: float = Field(0.5, ge=0, le=100)
    """ilql: reward of a corrected reply, and with a minus of the original, in units of reward (a thumb up is 1)."""
    q_polyak: float = Field(0.05, gt=0, le=1)
    """ilql: share of the way to the heads that the target heads go with each step."""

    max_kl: float = Field(2.0, gt=0)
    """An update stops when its KL to the live version passes this, in nats per reply, on replies that it does not train
    on.
    """
    min_chosen_log_ratio: float = Field(-1.0, le=0)
    """An update stops when good replies became less likely than this, in nats per reply on average."""
    holdout: float = Field(0.125, ge=0, le=0.5)
    """Share of new items kept for the gate; later updates train on them."""

    gate_min_gain: float = Field(0.0, ge=-100, le=100)
    """Held-out feedback: the gain over live, in nats, that must be plausible (its upper 95 % bound must reach this)."""
    gate_max_kl: float = Field(4.0, gt=0)
    """Largest KL to live per reply, in nats, on the candidate's own replies."""
    gate_max_base_kl: float = Field(10.0, gt=0)
    """Largest KL to the base model per reply, in nats, on the candidate's own replies."""
    gate_max_anchor_kl: float = Field(0.25, gt=0)
    """Largest KL from the base model per token, in nats, on anchor replies: what the model knew must stay."""
    gate_max_length_ratio: float = Field(5.0, gt=1)
    """Mean reply length against live: neither longer nor shorter than by this factor."""
    gate_max_endless_rise: float = Field(0.25, ge=0, le=1)
    """By how much the share of replies that do not end within `gate_max_tokens` may rise over live."""
    gate_max_empty_rise: float = Field(0.1, ge=0, le=1)
    """By how much the share of empty replies may rise over live."""
    gate_probes: Path | None = None
    """JSON Lines of at least 16 prompts whose right answers are known (`{"prompt": ..., "expect": [regex], "forbid":
    [regex]}`); without one,
    `probes.jsonl` in the model's folder if it is there. The bundled models have one."""
    gate_probe_items: int = Field(160, ge=0, le=10_000)
    """Most probes that live and candidate answer for the gate, at least 16; 0 asks none."""
    gate_max_skill_drop: float = Field(0.02, ge=0, le=1)
    """By how much the share of right answers to probes may fall below live's, and below twice that the base model's, as
    far as noise lets it
    be seen (lower 95 % bound of the fall)."""
    gate_samples: int = Field(32, ge=4, le=10_000)
    """Replies that live and candidate each give for the gate."""
    gate_max_tokens: int = Field(128, ge=8, le=32_768)
    """Most tokens of a reply in the gate and of an anchor sample."""

    @field_validator("data")
    @classmethod
    def _home(cls, value: Path) -> Path:
        return value.expanduser()

    @field_validator("reward_function")
    @classmethod
    def _form(cls, value: str) -> str:
        if value and not all(re.fullmatch(r"[\w.]+:\w+", name.strip()) for name in value.split(",")):
            raise ValueError('write "module:function", or several of them separated by commas')
        return value

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if self.rollout_minibatches > self.rollout_prompts:
            both = f"rollout_minibatches {self.rollout_minibatches} is more than rollout_prompts {self.rollout_prompts}"
            raise ValueError(
                f"{both}: every step takes at least one of a round's prompts; lower the one or raise the other"
            )
        if self.algorithm == "ilql" and self.q_serving == "shifted" and (self.tuning != "lora" or self.lora_rank < 2):
            raise ValueError(
                "q_serving shifted is an adapter on the output layer, of rank 2 or more; set tuning to lora, or q_serving to distilled"
            )
        if self.kl_target > 0 and self.kl_weight == 0:
            raise ValueError(
                f"kl_target is {self.kl_target:g} and kl_weight 0, which no factor can raise; give kl_weight a value to begin with"
            )
        return self

    @field_validator("dual_clip")
    @classmethod
    def _no_bound_or_above_one(cls, value: float) -> float:
        if 0.0 < value <= 1.0:
            raise ValueError("it must be 0 (no bound) or above 1")
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _SharedEnvironment(settings_cls), _TomlValues(settings_cls)


def load_settings(
    flags: dict[str, Any], config: Path | None = None, defaults: Mapping[str, Any] | None = None
) -> LearnerSettings:
    """Return the settings in force; flags that are None count as not given, and `defaults` stand in for those of the
    settings, below the file.

    Raises BadSetting with one line that names the value at fault.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    _check_names(os.environ)
    config = config or (Path(os.environ["ATTUNE_CONFIG"]) if os.environ.get("ATTUNE_CONFIG") else None)
    token = _file_values.set({**(defaults or {}), **(_read_toml(config) if config is not None else {})})
    try:
        return LearnerSettings(**given)
    except ValidationError as error:
        raise BadSetting(_one_line(error, given, config)) from error
    finally:
        _file_values.reset(token)


def range_of(field: FieldInfo) -> str:
    """Return what values a setting may have, as people read it: "0 .. 19", "> 0", "lora, full"; "" where its type says
    it all.
    """
    if get_origin(field.annotation) is Literal:
        return ", ".join(map(str, get_args(field.annotation)))
    found: dict[str, Any] = {}
    for rule in field.metadata:
        found |= {
            name: getattr(rule, name) for name in ("ge", "gt", "le", "lt") if getattr(rule, name, None) is not None
        }
    shown = {name: str(bound) if isinstance(bound, int) else f"{bound:g}" for name, bound in found.items()}
    if "ge" in shown and "le" in shown:
        return f"{shown['ge']} .. {shown['le']}"
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    return ", ".join(f"{sign} {shown[name]}" for name, sign in signs.items() if name in shown)


def learning_rate_for(num_parameters: int, tuning: str) -> float:
    """Return a step size for a model of that size: the smaller the model the larger; adapters take ten times what full
    weights take.
    """
    if num_parameters <= 50_000_000:
        rate = 1e-4
    elif num_parameters <= 1_500_000_000:
        rate = 2e-5
    else:
        rate = 2e-6
    return rate * 10 if tuning == "lora" else rate


def _check_names(environment: Mapping[str, str]) -> None:
    """Raise BadSetting for a variable that looks like a setting of the learner's and is none."""
    for variable, value in sorted(environment.items()):
        prefix, _, name = variable.upper().partition("ATTUNE_")
        if prefix or _LINK.fullmatch(f"{variable.upper()}={value}"):
            continue
        name = name.lower()
        if name.startswith("learner_") and name.removeprefix("learner_") not in LearnerSettings.model_fields:
            said = _nearest(
                name.removeprefix("learner_"),
                LearnerSettings.model_fields,
                lambda near: f"ATTUNE_LEARNER_{near.upper()}",
            )
            raise BadSetting(f"{variable} is no setting of the learner; {said}")
        if name in LearnerSettings.model_fields and name not in SHARED:
            raise BadSetting(
                f"{variable} is read by nobody; {name} is the learner's alone, in ATTUNE_LEARNER_{name.upper()}"
            )


def _nearest(name: str, known: Iterable[str], write: Callable[[str], str] = str) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"did you mean {write(near[0])}?" if near else "docs/settings.md lists them all"


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.expanduser().read_text(encoding="utf-8"))
    except OSError as error:
        raise BadSetting(
            f"the settings file {path} cannot be read ({error.strerror}); name another with --config"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSetting(f"the settings file {path} is not TOML: {error}") from error
    table = values.get("learner", {})
    if not isinstance(table, dict):
        raise BadSetting(f"'learner' in {path} is not a table; write [learner] above the learner's settings")
    for name, value in values.items():
        if name in LearnerSettings.model_fields and name not in SHARED:
            raise BadSetting(f"{name} belongs in the [learner] table of {path}, and stands outside it")
        if isinstance(value, dict) and name != "learner":
            raise BadSetting(f"the table [{name}] in {path} is read by nobody; the learner's is [learner]")
    return {name: values[name] for name in SHARED if name in values} | table


def _one_line(error: ValidationError, flags: dict[str, Any], config: Path | None) -> str:
    first = error.errors()[0]
    said = first["msg"].removeprefix("Value error, ")  # what pydantic puts before our own words
    if not first["loc"]:  # settings that are right one by one, but not together
        return said
    name = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        return f"the setting {name!r} in the [learner] table of {config} is unknown; {_nearest(name, LearnerSettings.model_fields)}"
    if name in flags:
        source = f"--{name.replace('_', '-')}"
    elif f"ATTUNE_LEARNER_{name.upper()}" in os.environ:
        source = f"ATTUNE_LEARNER_{name.upper()}"
    elif name in SHARED and os.environ.get(f"ATTUNE_{name.upper()}"):
        source = f"ATTUNE_{name.upper()}"
    else:
        source = f"learner.{name} in {config}"
    return f"{source} cannot be {first['input']!r}: {said[0].lower() + said[1:]}"

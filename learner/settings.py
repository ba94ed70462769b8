"""The learner's settings. Each group is a table of the TOML file, such as `[learner.optimizer]`.

Variables begin with `ATTUNE_LEARNER__`. The service reads `data`, `model` and `device` too, from the file's top level
and from `ATTUNE_*`.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from config.errors import ConfigError
from config.fields import flat, groups_of
from config.loader import Group, Settings, load
from config.names import Names
from learner.errors import BadSetting
from learner.setting_names import RENAMED, renamed
from policy.chat_template import check_template_name, checked_arguments

Algorithm = Literal["mixed", "dpo", "kto", "sft", "grpo", "rloo", "ppo", "ilql"]
ON_POLICY = ("grpo", "rloo", "ppo")
SHARED = ("data", "model", "chat_template", "chat_template_kwargs", "device")
LEAST_SAMPLES = 4
# Defaults of `attune train`: two passes over the file.
OFFLINE = {"steps": 10_000, "passes": 2.0, "replay": 0.0, "max_examples": 1_000_000}


class TriggerSettings(Group):
    """The conditions that start an update."""

    feedback: int = Field(16, ge=1)
    """Useful feedback rows that start an update at once."""
    seconds: float = Field(20.0, ge=0)
    """Seconds after the first waiting row when `min_feedback` rows are enough."""
    min_feedback: int = Field(4, ge=1)
    """Fewest feedback rows that the clock may start an update with."""


class OptimizerSettings(Group):
    """The optimizer, AdamW."""

    learning_rate: float = Field(0.0, ge=0, le=1)
    """Step size, no unit. 0 chooses by the model's size. With lora it is 1e-3 up to 50 million parameters, 2e-4 up to
    1.5 billion, and 2e-5 beyond. With full it is a tenth of that. Where a share of the layers is trained, it is divided
    by that share's square root."""
    weight_decay: float = Field(0.0, ge=0, le=10)
    """Share of each weight that a step removes, times the learning rate, no unit. With lora it pulls the adapters to
    the base model."""


class PairSettings(Group):
    """The loss and weight of pairs: choices between two answers."""

    loss: Literal[
        "sigmoid",
        "robust",
        "ipo",
        "hinge",
        "length_normalized",
        "simpo",
        "dpop",
        "length_regularized",
        "apo_zero",
    ] = "sigmoid"
    """mixed and dpo: loss on pairs. sigmoid is DPO. length_normalized and simpo use nats per token, so set `beta` to 2
    to 5 for them. ipo aims at a margin of 1 / (2 beta) nats per token."""
    weight: float = Field(1.0, ge=0, le=100)
    """How much a pair counts against other kinds of feedback; a factor, no unit."""


class ThumbSettings(Group):
    """The loss and weight of thumbs and scores."""

    loss: Literal["kto", "apo_zero_unpaired"] = "kto"
    """mixed and kto: loss on thumbs."""
    weight: float = Field(0.7, ge=0, le=100)
    """How much a thumb counts against other kinds of feedback; a factor, no unit."""


class CorrectionSettings(Group):
    """The weight of corrections: texts that an answer should have been."""

    weight: float = Field(1.5, ge=0, le=100)
    """How much a correction counts against other kinds of feedback; a factor, no unit. 0 leaves corrections out."""


class TrustSettings(Group):
    """How much each rater influences the model."""

    feedback: int = Field(512, ge=0)
    """Newest feedback rows that trust is estimated from, once three people rate. 0 trusts all alike."""
    gold_raters: str = ""
    """Raters who are known to be right, separated by commas."""
    rater_cap: float = Field(0.1, gt=0, le=1)
    """Largest share of an update's weight that one rater holds; 1 is no limit. The cap is never below twice an equal
    share, so that one or two raters are not cut."""


class AnchorSettings(Group):
    """Anchors: samples of the base model that keep the policy near it, by KL regularisation. Nobody rates them."""

    weight: float = Field(0.2, ge=0, le=1000)
    """Factor of the KL to the base model (nats per token) in the loss, no unit. 0 means no anchors."""
    count: int = Field(0, ge=0, le=4096)
    """Number of anchors, made once per data folder. 0 chooses: 256 for models up to 50 million parameters, 64 for
    larger ones, 32 above 25 million parameters per CPU core, and all of `file`."""
    file: Path | None = None
    """JSON Lines with more anchor prompts (`{"prompt": text or messages}`). Of more than `count`, an even selection is
    taken."""
    batch_size: int = Field(4, ge=1, le=4096)
    """Anchors per step."""


class RewardModelSettings(Group):
    """The reward model, which follows all feedback. grpo, rloo and ppo learn from it."""

    min_labels: int = Field(1, ge=1)
    """Fewest pairs, corrections and thumbs that a reward model is fitted to."""
    pessimism: float = Field(1.0, ge=0, le=100)
    """How many standard deviations of the heads are subtracted from their mean reward."""
    functions: str = ""
    """Python functions that add to the reward, as `module:function`, separated by commas. Each takes prompt and answer
    as text and returns a number."""

    @field_validator("functions")
    @classmethod
    def _has_modules(cls, value: str) -> str:
        if value and not all(re.fullmatch(r"[\w.]+:\w+", name.strip()) for name in value.split(",")):
            raise ValueError("write module:function, or several separated by commas")
        return value


class RolloutSettings(Group):
    """The rollouts of grpo, rloo and ppo, sampled while they train."""

    rounds: int = Field(6, ge=1, le=10_000)
    """Rounds of an update. Each samples, scores and trains."""
    prompts: int = Field(16, ge=1, le=4096)
    """Prompts per round."""
    group_size: int = Field(8, ge=2, le=1024)
    """Rollouts per prompt."""
    max_tokens: int = Field(96, ge=8, le=32_768)
    """Most tokens of a rollout."""
    minibatches: int = Field(2, ge=1)
    """Optimizer steps per round, at most `prompts`: each takes whole prompts."""

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if self.minibatches > self.prompts:
            both = f"rollout.minibatches {self.minibatches} is more than rollout.prompts {self.prompts}"
            raise ValueError(f"{both}: every step takes at least one prompt; lower the one or raise the other")
        return self


class PolicyGradientSettings(Group):
    """The policy gradient of ppo, grpo and rloo."""

    variant: Literal["dapo", "grpo", "dr_grpo", "gspo", "cispo"] = "dapo"
    """grpo and ppo: how advantages are scaled, token losses averaged, and ratios bounded. docs/learning.md has the
    table."""
    kl_weight: float = Field(0.04, ge=0, le=100)
    """Weight of the KL to the live version, a factor per nat and token. It is in the loss for grpo, and in the reward
    for rloo and ppo."""
    kl_target: float = Field(0.0, ge=0)
    """Target KL to the live version, in nats per rollout. Above it `kl_weight` rises from round to round, below it
    falls. 0 keeps the weight."""

    @model_validator(mode="after")
    def _fit(self) -> Self:
        if self.kl_target > 0 and self.kl_weight == 0:
            raise ValueError(
                f"ppo.kl_target is {self.kl_target:g} and ppo.kl_weight 0, which no factor can raise; "
                "give kl_weight a value to begin with"
            )
        return self


class IlqlSettings(Group):
    """Implicit language Q-learning."""

    steps: int = Field(200, ge=1, le=100_000)
    """Optimizer steps of the Q and V heads."""
    tau: float = Field(0.5, ge=0.5, lt=1)
    """Expectile of V, a share. 0.5 is the mean of the rated answers, and near 1 the best of them."""
    beta: float = Field(6.0, ge=0, le=1000)
    """How far advantages shift the policy, in nats of log-probability per unit of reward. A thumb up is 1."""


class GateSettings(Group):
    """The gate that a candidate must pass before it is served."""

    holdout: float = Field(0.125, ge=0, le=0.5)
    """Share of new feedback that is held out for the gate. Later updates train on it."""
    max_base_kl: float = Field(10.0, gt=0)
    """Largest KL to the base model, in nats per sample of the candidate."""
    max_anchor_kl: float = Field(0.25, gt=0)
    """Largest KL from the base model, in nats per token of the anchors."""
    max_length_ratio: float = Field(5.0, gt=1)
    """Mean answer length against live is neither longer nor shorter by this factor."""
    skill_probes: Path | None = None
    """JSON Lines of at least 16 questions with known answers (`{"prompt": ..., "expect": [regex], "forbid": [regex]}`).
    None takes the model's own file, if it has one."""
    num_skill_probes: int = Field(160, ge=0, le=10_000)
    """Most skill probes that live and candidate answer, at least 16. 0 asks none."""
    max_skill_drop: float = Field(0.02, ge=0, le=1)
    """Largest drop of the share of right answers below live's, and half the largest drop below base's. The lower 95 %
    bound of the drop counts."""
    num_samples: int = Field(0, ge=0, le=10_000)
    """Samples that live and candidate each make, at least 4. 0 chooses: 32, or 16 where the model is above 25 million
    parameters per CPU core."""
    max_tokens: int = Field(128, ge=8, le=32_768)
    """Most tokens of a sample and of an anchor."""

    @field_validator("num_samples")
    @classmethod
    def _enough_samples(cls, value: int) -> int:
        if 0 < value < LEAST_SAMPLES:
            raise ValueError(f"fewer than {LEAST_SAMPLES} samples decide nothing; 0 chooses by the model's size")
        return value


class LearnerSettings(Settings):
    """Every setting of `attune learn`."""

    model_config = SettingsConfigDict(env_prefix="ATTUNE_LEARNER__")

    data: Path = Path("~/.attune")
    """Folder for everything that lasts: database, versions, cache."""
    model: str = Field("pocket", min_length=1)
    """Base model: a name of `attune models` (`pocket`, `smollm2`), a folder, a GGUF file, or a hub id. A hub id may end
    with @ and a revision."""
    chat_template: str | None = Field(None, min_length=1)
    """Chat template in place of the model's own: a Jinja file, `chatml` or `plain`. Base models have none."""
    chat_template_kwargs: Annotated[dict[str, Any], NoDecode] = Field({})
    """Arguments of the chat template, a JSON object. A request may give its own. Without `enable_thinking` hybrid
    models do as their makers meant in chats, and the learner's own prompts are without thinking."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device for training: auto, cpu or cuda."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Number format of the forward passes. auto is float32 on a CPU and bfloat16 autocast on a GPU. Above 25 million
    parameters per CPU core auto lets a CPU that multiplies bfloat16 round the factors of products to it. Adapters and
    optimizer stay float32."""
    sampler: str = Field("auto", pattern=r"^(auto|torch|llamacpp|openvino|transformers|https?://.+)$")
    """What samples rollouts, the gate's samples, anchors and answers to skill probes. torch does so in the learner's
    process. llamacpp, openvino and transformers are runners in a process of their own, and a URL is that of a vLLM
    server. auto is a runner for models from 50 million parameters on a CPU with lora, else torch."""
    nice: int | None = Field(None, ge=0, le=19)
    """CPU niceness of the learner: 0 competes with answers, and 19 yields most. None gives way to them, yet keeps a
    tenth of a core."""
    threads: int = Field(0, ge=0, le=1024)
    """CPU threads that the learner computes with. 0 takes half of the CPUs."""
    seed: int = Field(0, ge=0, le=2**31 - 1)
    """Base seed. Each run derives its own from it and the number of earlier runs."""

    algorithm: Algorithm = "mixed"
    """mixed (pairs, thumbs and corrections), dpo (pairs), kto (thumbs) or sft (good answers alone). grpo, rloo and ppo
    train on rollouts that a reward model scores. ilql is Q-learning over tokens."""
    tuning: Literal["lora", "full"] = "lora"
    """Weights to train: lora (adapters on all linear layers) or full (every weight)."""
    tune_layers: int = Field(0, ge=0, le=1000)
    """Upper layers whose weights are trained. What the layers below compute is kept during an update. 0 chooses: all on
    a GPU, with a CPU core per 25 million parameters, and where tuning is full; else the upper third."""
    lora_rank: int = Field(16, ge=1, le=512)
    """Rank of new adapters. Adapters of the live version keep theirs."""
    steps: int = Field(60, ge=1, le=10_000)
    """Most optimizer steps of an update; for ilql, those that distill its policy. grpo, rloo and ppo have
    `rollout.rounds` instead."""
    passes: float = Field(8.0, gt=0, le=10_000)
    """Most passes over an update's new examples; replayed ones have their turn in every fourth. With few examples they
    end it before `steps`."""
    batch_size: int = Field(8, ge=1, le=65_536)
    """Examples (pairs, thumbs or corrections) per step."""
    token_budget: int = Field(4096, ge=64)
    """Most tokens, padding included, in one forward and backward pass. A step takes as many passes as it needs."""
    max_examples: int = Field(512, ge=1)
    """Most new examples of one update. When more wait, it takes the newest."""
    replay: float = Field(1.0, ge=0, le=16)
    """Earlier examples that are replayed per new one, a factor."""
    beta: float = Field(0.1, gt=0, le=100)
    """mixed, dpo and kto: how strongly the losses hold the policy to the live version, a factor per nat. For ipo it is
    IPO's tau."""
    nll_weight: float = Field(1.0, ge=0, le=100)
    """mixed, dpo, kto and sft: factor of the negative log-likelihood (nats per token) of good answers, no unit. sft
    takes at least 1."""
    max_kl: float = Field(2.0, gt=0)
    """Largest KL to the live version, in nats per answer. Past it an update stops."""

    trigger: TriggerSettings = TriggerSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    pairs: PairSettings = PairSettings()
    thumbs: ThumbSettings = ThumbSettings()
    corrections: CorrectionSettings = CorrectionSettings()
    trust: TrustSettings = TrustSettings()
    anchors: AnchorSettings = AnchorSettings()
    reward_model: RewardModelSettings = RewardModelSettings()
    rollout: RolloutSettings = RolloutSettings()
    ppo: PolicyGradientSettings = PolicyGradientSettings()
    ilql: IlqlSettings = IlqlSettings()
    gate: GateSettings = GateSettings()

    @model_validator(mode="after")
    def _variant_fits(self) -> Self:
        if self.algorithm == "ppo" and self.ppo.variant == "gspo":
            raise ValueError("ppo.variant gspo has one ratio per rollout, and ppo one advantage per token; choose grpo")
        return self

    @field_validator("chat_template")
    @classmethod
    def _check_template(cls, value: str | None) -> str | None:
        return check_template_name(value)

    @field_validator("chat_template_kwargs", mode="before")
    @classmethod
    def _check_arguments(cls, value: Any) -> dict[str, Any]:
        return checked_arguments(value)

    @field_validator("data")
    @classmethod
    def _home(cls, value: Path) -> Path:
        return value.expanduser()


NAMES = Names(
    LearnerSettings,
    command="the learner",
    prefix="ATTUNE_LEARNER__",
    table="learner",
    renamed=RENAMED,
    shared=SHARED,
    other_tables=("sampling", "limits", "canary", "engine"),
)


def load_settings(
    flags: Mapping[str, Any], config: Path | None = None, defaults: Mapping[str, Any] | None = None
) -> LearnerSettings:
    """Return the settings in force: flags by path over the environment over the file over `defaults`.

    A flag that is None counts as not given. Raises BadSetting with one line that names the value at fault.
    """
    try:
        return load(LearnerSettings, NAMES, flags, config, defaults)
    except ConfigError as error:
        raise BadSetting(str(error)) from error


def settings_of_run(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's recorded settings by path; those of an earlier release under today's names."""
    return renamed(flat(dict(recorded), groups_of(LearnerSettings)))


def learning_rate_for(num_parameters: int, tuning: str) -> float:
    """Return a step size for a model of that size: the smaller the larger. Adapters take ten times that of weights."""
    if num_parameters <= 50_000_000:
        rate = 1e-4
    elif num_parameters <= 1_500_000_000:
        rate = 2e-5
    else:
        rate = 2e-6
    return rate * 10 if tuning == "lora" else rate

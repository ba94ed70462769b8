"""Settings: where they come from, in which order, and what is said of a bad one."""

import os
import re
from pathlib import Path

import pytest
import torch

from learner.algorithms.reward import bootstrap_weights
from learner.errors import BadSetting
from learner.settings import OFFLINE, SHARED, LearnerSettings, learning_rate_for, load_settings, range_of
from service.settings import ServeSettings


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ATTUNE_")]:
        monkeypatch.delenv(name)


def test_flags_beat_the_environment_which_beats_the_file_which_beats_the_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "attune.toml"
    file.write_text('port = 9\nmodel = "of-the-file"\n[learner]\nsteps = 3\nbeta = 0.3\nnll = 0.7\n')
    monkeypatch.setenv("ATTUNE_LEARNER_BETA", "0.4")
    monkeypatch.setenv("ATTUNE_LEARNER_NLL", "0.8")
    settings = load_settings({"nll_weight": "0.9", "anchors.weight": None}, file)
    assert (settings.steps, settings.beta, settings.nll, settings.model) == (3, 0.4, 0.9, "of-the-file")
    assert settings.anchor == LearnerSettings.model_fields["anchor"].default


def test_other_defaults_are_below_the_file_and_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "attune.toml"
    file.write_text("[learner]\nsteps = 3\npasses = 5\n")
    monkeypatch.setenv("ATTUNE_LEARNER_STEPS", "4")
    settings = load_settings({"replay": "0.5"}, file, OFFLINE)
    assert (settings.steps, settings.passes, settings.replay, settings.max_items) == (4, 5.0, 0.5, 1_000_000)
    assert load_settings({}).max_items == LearnerSettings.model_fields["max_items"].default


def test_what_the_service_reads_too_comes_from_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTUNE_MODEL", "shared")
    assert load_settings({}).model == "shared"
    monkeypatch.setenv("ATTUNE_LEARNER_MODEL", "own")
    assert load_settings({}).model == "own"


@pytest.mark.parametrize(
    ("toml", "flags", "said"),
    [
        ("[learner]\nstep = 3\n", {}, "'step' in the [learner] table of"),
        ("[learner]\nstep = 3\n", {}, "is unknown; did you mean steps?"),
        ("[learner]\nzzz = 3\n", {}, "is unknown; docs/settings.md lists them all"),
        ("steps = 3\n", {}, "steps belongs in the [learner] table of"),
        ("port = 1\nbeta = 0.2\n[learner]\nsteps = 3\n", {}, "beta belongs in the [learner] table of"),
        ("[lerner]\nsteps = 3\n", {}, "the table [lerner] in"),
        ("[learner]\nsteps = 0\n", {}, "learner.methods.steps in"),
        ("learner = 3\n", {}, "not a table"),
        ("steps = [\n", {}, "not TOML"),
        ("", {"flip_rate": "0.5"}, "--flip-rate cannot be '0.5'"),
        ("", {"seed": str(2**64)}, f"--seed cannot be '{2**64}': input should be less than or equal to 2147483647"),
        ("", {"algorithm": "guess"}, "--algorithm cannot be 'guess'"),
        ("", {"passes": "inf"}, "--passes cannot be 'inf': input should be a finite number"),
        ("", {"nll_weight": "nan"}, "--nll cannot be 'nan'"),
        ("[learner]\nnll = inf\n", {}, "cannot be inf: input should be a finite number"),
        ("", {"reward_function": "rfun boom"}, "--reward-function cannot be 'rfun boom': write \"module:function\""),
        ("", {"reward_function": "a:b,"}, "--reward-function cannot be 'a:b,': write \"module:function\""),
        (
            "",
            {"rollout_minibatches": "4", "rollout_prompts": "2"},
            "rollout_minibatches 4 is more than rollout_prompts 2",
        ),
        ("", {"ppo.kl_target": "2", "ppo.kl_weight": "0"}, "kl_target is 2 and kl_weight 0"),
    ],
)
def test_a_bad_setting_is_one_line_that_names_it(tmp_path: Path, toml: str, flags: dict[str, str], said: str) -> None:
    file = tmp_path / "attune.toml"
    file.write_text(toml)
    with pytest.raises(BadSetting) as caught:
        load_settings(flags, file)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bad_value_in_the_environment_is_named_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTUNE_LEARNER_STEPS", "many")
    with pytest.raises(BadSetting, match="ATTUNE_LEARNER_STEPS cannot be 'many'"):
        load_settings({})


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("ATTUNE_LEARNER_FOO", "ATTUNE_LEARNER_FOO is no setting of the learner; docs/settings.md lists them all"),
        ("ATTUNE_LEARNER_STEP", "ATTUNE_LEARNER_STEP is no setting of the learner; did you mean ATTUNE_LEARNER_STEPS?"),
        ("attune_learner_step", "attune_learner_step is no setting of the learner; did you mean ATTUNE_LEARNER_STEPS?"),
        ("ATTUNE_STEPS", "ATTUNE_STEPS is read by nobody; steps is the learner's alone, in ATTUNE_LEARNER_STEPS"),
    ],
)
def test_a_variable_that_is_no_setting_is_one_line(monkeypatch: pytest.MonkeyPatch, variable: str, said: str) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(BadSetting) as caught:
        load_settings({})
    assert str(caught.value) == said


def test_what_the_service_and_its_surroundings_set_is_let_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The learner is the service's child, and inherits its environment and its file."""
    for name in set(ServeSettings.model_fields) - {*SHARED, "config"}:
        monkeypatch.setenv(f"ATTUNE_{name.upper()}", "x")
    linked = {
        "ATTUNE_LEARNER_SERVICE_HOST": "10.0.0.1",
        "ATTUNE_LEARNER_PORT": "tcp://10.0.0.1:80",
        "ATTUNE_LEARNER_PORT_80_TCP_ADDR": "10.0.0.1",
    }
    others = {"ATTUNE_API_KEY": "at-x", "ATTUNE_COMPARE_KEY_GPT": "x", "ATTUNE_LOG_LEVEL": "INFO"}
    for name, value in {**linked, **others, "attune_learner_steps": "5"}.items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "attune.toml"
    file.write_text("".join(f"{name} = 1\n" for name in ServeSettings.model_fields if name not in SHARED))
    assert load_settings({}, file).steps == 5


def test_no_name_but_the_shared_ones_is_a_setting_of_the_service_too() -> None:
    """Such a name at the file's top level would be the service's, and the learner refuses those that are its own."""
    assert set(ServeSettings.model_fields) & set(LearnerSettings.model_fields) == set(SHARED)
    assert "learner" not in {*ServeSettings.model_fields, *LearnerSettings.model_fields}


def test_every_setting_says_what_it_is() -> None:
    assert not [name for name, field in LearnerSettings.model_fields.items() if not field.description]


def test_larger_models_take_smaller_steps_and_adapters_larger_ones() -> None:
    rates = [learning_rate_for(size, "full") for size in (10**6, 10**9, 8 * 10**9)]
    assert rates == sorted(rates, reverse=True)
    assert learning_rate_for(10**6, "lora") == pytest.approx(10 * rates[0])


UNITS = re.compile(
    r"\b(no unit|a factor|by this factor|nats?|seconds|versions|shares?|chance|tokens|passes|units of (reward|a gradient)|standard deviations|"
    r"judgements|items per|replies over)\b",
    re.I,
)


def test_every_number_has_a_range_and_every_factor_a_unit() -> None:
    numbers = {name: field for name, field in LearnerSettings.model_fields.items() if field.annotation in (int, float)}
    assert len(numbers) > 60
    assert not [name for name, field in numbers.items() if not range_of(field)]
    assert not [
        name
        for name, field in numbers.items()
        if field.annotation is float and not UNITS.search(" ".join(str(field.description).split()))
    ]


def test_the_largest_seed_fits_every_generator() -> None:
    largest = load_settings({"seed": 2**31 - 1}).seed
    assert range_of(LearnerSettings.model_fields["seed"]) == f"0 .. {largest}"
    bootstrap_weights(2, torch.arange(3), seed=largest)
    torch.Generator().manual_seed(largest + load_settings({"rollout.rounds": 10_000}).rollout_rounds)


def test_a_dual_clip_is_none_or_above_one() -> None:
    assert [load_settings({"dual_clip": value}).dual_clip for value in ("0", "1.5")] == [0.0, 1.5]
    with pytest.raises(BadSetting, match=r"--dual-clip cannot be '1': .*it must be 0 \(no bound\) or above 1"):
        load_settings({"dual_clip": "1"})


@pytest.mark.parametrize("names", ["", "a:b", "a.b:c_1", "a:b,c.d:e", "a:b, c:d"])
def test_reward_functions_are_named_one_or_several(names: str) -> None:
    assert load_settings({"reward_function": names}).reward_function == names

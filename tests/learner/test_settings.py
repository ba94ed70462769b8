"""The learner's settings: their sources, their order, and the message on a bad one."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from config.fields import fields_of, groups_of, range_of
from learner.algorithms.reward import bootstrap_weights
from learner.errors import BadSetting
from learner.methods.variants import VARIANTS
from learner.setting_names import RENAMED, RETIRED, not_followed, renamed
from learner.settings import (
    NAMES,
    OFFLINE,
    SHARED,
    LearnerSettings,
    learning_rate_for,
    load_settings,
    settings_of_run,
)
from service.settings import NAMES as SERVICE
from service.settings import ServeSettings

FIELDS = dict(fields_of(LearnerSettings))


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ATTUNE_")]:
        monkeypatch.delenv(name)


def test_flags_beat_the_environment_which_beats_the_file_which_beats_the_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "attune.toml"
    file.write_text(
        'port = 9\nmodel = "of-the-file"\n[learner]\nsteps = 3\nbeta = 0.3\nnll_weight = 0.7\n'
        "[learner.gate]\nholdout = 0.2\nnum_samples = 5\nmax_tokens = 9\n"
    )
    monkeypatch.setenv("ATTUNE_LEARNER__BETA", "0.4")
    monkeypatch.setenv("ATTUNE_LEARNER__NLL_WEIGHT", "0.8")
    monkeypatch.setenv("ATTUNE_LEARNER__GATE__NUM_SAMPLES", "6")
    monkeypatch.setenv("ATTUNE_LEARNER__GATE__MAX_TOKENS", "10")
    settings = load_settings({"nll_weight": "0.9", "gate.max_tokens": "11", "anchors.weight": None}, file)
    assert (settings.steps, settings.beta, settings.nll_weight, settings.model) == (3, 0.4, 0.9, "of-the-file")
    assert (settings.gate.holdout, settings.gate.num_samples, settings.gate.max_tokens) == (0.2, 6, 11)
    assert settings.anchors.weight == FIELDS["anchors.weight"].default


def test_other_defaults_are_below_the_file_and_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "attune.toml"
    file.write_text("[learner]\nsteps = 3\npasses = 5\n")
    monkeypatch.setenv("ATTUNE_LEARNER__STEPS", "4")
    settings = load_settings({"replay": "0.5"}, file, OFFLINE)
    assert (settings.steps, settings.passes, settings.replay, settings.max_examples) == (4, 5.0, 0.5, 1_000_000)
    assert load_settings({}).max_examples == FIELDS["max_examples"].default


@pytest.mark.parametrize("shared", ["ATTUNE_MODEL", "attune_model"])
def test_what_the_service_reads_too_comes_from_its_environment(monkeypatch: pytest.MonkeyPatch, shared: str) -> None:
    monkeypatch.setenv(shared, "shared")
    assert load_settings({}).model == "shared"
    monkeypatch.setenv("ATTUNE_LEARNER__MODEL", "own")
    assert load_settings({}).model == "own"


@pytest.mark.parametrize(
    ("toml", "flags", "message"),
    [
        ("[learner]\nstep = 3\n", {}, "'step' in the [learner] table of"),
        ("[learner]\nstep = 3\n", {}, "is unknown; did you mean steps?"),
        ("[learner]\nzzz = 3\n", {}, "is unknown; docs/settings.md lists them all"),
        ("[learner.gate]\nhold = 3\n", {}, "'hold' in the [learner.gate] table of"),
        ("[learner.gate]\nhold_out = 3\n", {}, "is unknown; did you mean gate.holdout?"),
        ("[learner.gat]\nholdout = 3\n", {}, "the table 'learner.gat' in"),
        ("[learner.gat]\nholdout = 3\n", {}, "is unknown; did you mean [learner.gate]?"),
        ("[learner]\ngate = 3\n", {}, "is a group of settings; write it as the table [learner.gate]"),
        ("[learner]\nholdout = 0.1\n", {}, "the setting 'holdout' in the [learner] table of"),
        ("[learner]\nholdout = 0.1\n", {}, "is unknown; it is gate.holdout now"),
        ("[learner]\nadam_eps = 1e-8\n", {}, "is unknown; it is a setting no more; leave it out"),
        ("steps = 3\n", {}, "steps belongs in the [learner] table of"),
        ("holdout = 0.1\n", {}, "holdout belongs in the [learner] table of"),
        ("[gate]\nholdout = 0.1\n", {}, "gate belongs in the [learner] table of"),
        ("port = 1\nbeta = 0.2\n[learner]\nsteps = 3\n", {}, "beta belongs in the [learner] table of"),
        ("[lerner]\nsteps = 3\n", {}, "nothing reads the table [lerner] in"),
        ("[learner]\nsteps = 0\n", {}, "learner.steps in"),
        ("[learner.gate]\nholdout = 0.9\n", {}, "learner.gate.holdout in"),
        ("[learner.gate]\nholdout = 0.9\n", {}, "cannot be 0.9: input should be less than or equal to 0.5"),
        ("learner = 3\n", {}, "not a table"),
        ("steps = [\n", {}, "not TOML"),
        ("", {"trust.rater_cap": "1.5"}, "--trust.rater-cap cannot be '1.5'"),
        ("", {"seed": str(2**64)}, f"--seed cannot be '{2**64}': input should be less than or equal to 2147483647"),
        ("", {"algorithm": "guess"}, "--algorithm cannot be 'guess'"),
        ("", {"passes": "inf"}, "--passes cannot be 'inf': input should be a finite number"),
        ("", {"nll_weight": "nan"}, "--nll-weight cannot be 'nan'"),
        ("[learner]\nnll_weight = inf\n", {}, "cannot be inf: input should be a finite number"),
        (
            "",
            {"reward_model.functions": "rfun boom"},
            "--reward-model.functions cannot be 'rfun boom': write module:function",
        ),
        ("", {"reward_model.functions": "a:b,"}, "--reward-model.functions cannot be 'a:b,': write module:function"),
        (
            "",
            {"rollout.minibatches": "4", "rollout.prompts": "2"},
            "rollout.minibatches 4 is more than rollout.prompts 2",
        ),
        ("", {"ppo.kl_target": "2", "ppo.kl_weight": "0"}, "ppo.kl_target is 2 and ppo.kl_weight 0"),
        ("", {"algorithm": "ppo", "ppo.variant": "gspo"}, "ppo.variant gspo has one ratio per rollout"),
    ],
)
def test_a_bad_setting_is_one_line_that_names_it(
    tmp_path: Path, toml: str, flags: dict[str, str], message: str
) -> None:
    file = tmp_path / "attune.toml"
    file.write_text(toml)
    with pytest.raises(BadSetting) as caught:
        load_settings(flags, file)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("variable", ["ATTUNE_LEARNER__STEPS", "ATTUNE_LEARNER__GATE__NUM_SAMPLES"])
def test_a_bad_value_in_the_environment_is_named_as_such(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "many")
    with pytest.raises(BadSetting, match=f"{variable} cannot be 'many'"):
        load_settings({})


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("ATTUNE_LEARNER__FOO", "ATTUNE_LEARNER__FOO is no setting of the learner; docs/settings.md lists them all"),
        (
            "ATTUNE_LEARNER__STEP",
            "ATTUNE_LEARNER__STEP is no setting of the learner; did you mean ATTUNE_LEARNER__STEPS?",
        ),
        (
            "attune_learner__step",
            "attune_learner__step is no setting of the learner; did you mean ATTUNE_LEARNER__STEPS?",
        ),
        (
            "ATTUNE_LEARNER_STEPS",
            "ATTUNE_LEARNER_STEPS is no setting of the learner; did you mean ATTUNE_LEARNER__STEPS?",
        ),
        (
            "ATTUNE_LEARNER_TRIGGER_ITEMS",
            "ATTUNE_LEARNER_TRIGGER_ITEMS is no setting of the learner; it is ATTUNE_LEARNER__TRIGGER__FEEDBACK now",
        ),
        (
            "ATTUNE_LEARNER_ADAM_EPS",
            "ATTUNE_LEARNER_ADAM_EPS is no setting of the learner; it is a setting no more; leave it out",
        ),
        (
            "ATTUNE_LEARNER__GATE",
            "ATTUNE_LEARNER__GATE is no setting of the learner; "
            "it is a group of settings, such as ATTUNE_LEARNER__GATE__HOLDOUT",
        ),
        ("ATTUNE_STEPS", "nothing reads ATTUNE_STEPS; steps is a setting of the learner, in ATTUNE_LEARNER__STEPS"),
        (
            "ATTUNE_GATE__HOLDOUT",
            "nothing reads ATTUNE_GATE__HOLDOUT; "
            "gate.holdout is a setting of the learner, in ATTUNE_LEARNER__GATE__HOLDOUT",
        ),
    ],
)
def test_a_variable_that_is_no_setting_is_one_line(
    monkeypatch: pytest.MonkeyPatch, variable: str, message: str
) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(BadSetting) as caught:
        load_settings({})
    assert str(caught.value) == message


def test_settings_of_the_service_and_its_surroundings_are_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The learner is the service's child, and inherits its environment and its file."""
    own = [path for path in SERVICE.paths if path not in (*SHARED, "config")]
    for path in own:
        monkeypatch.setenv(SERVICE.variable(path), "x")
    linked = {
        "ATTUNE_LEARNER_SERVICE_HOST": "10.0.0.1",
        "ATTUNE_LEARNER_PORT": "tcp://10.0.0.1:80",
        "ATTUNE_LEARNER_PORT_80_TCP_ADDR": "10.0.0.1",
    }
    others = {"ATTUNE_API_KEY": "at-x", "ATTUNE_COMPARE_KEY_GPT": "x", "ATTUNE_LOG_LEVEL": "INFO"}
    for name, value in {**linked, **others, "attune_learner__steps": "5"}.items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "attune.toml"
    top = [f"{path} = 1\n" for path in own if "." not in path]
    tables = [f"[{path.split('.')[0]}]\n{path.split('.')[1]} = 1\n" for path in own if "." in path]
    unique = {table.split("\n")[0]: table for table in tables}
    file.write_text("".join([*top, *unique.values()]))
    assert set(unique) == {f"[{group}]" for group in groups_of(ServeSettings)}
    assert load_settings({}, file).steps == 5


def test_no_name_but_the_shared_ones_is_a_setting_of_the_service_too() -> None:
    """Such a name at the file's top level would be the service's, and the learner refuses those that are its own."""
    assert set(ServeSettings.model_fields) & set(LearnerSettings.model_fields) == set(SHARED)
    assert "learner" not in {*ServeSettings.model_fields, *LearnerSettings.model_fields}
    assert not set(RENAMED) & set(ServeSettings.model_fields)


def test_each_process_knows_the_tables_of_the_other() -> None:
    learner, service = groups_of(LearnerSettings), groups_of(ServeSettings)
    assert not set(learner) & set(service)
    assert set(NAMES.other_tables) == set(service)
    assert set(SERVICE.other_tables) == {NAMES.table}


def test_every_setting_and_group_has_a_description() -> None:
    assert not [path for path, field in FIELDS.items() if not field.description]
    assert not [name for name, group in groups_of(LearnerSettings).items() if not group.__doc__]


def test_an_earlier_name_has_a_name_today_or_is_retired() -> None:
    assert not set(RENAMED) & set(NAMES.paths)
    assert not {path for path in RENAMED.values() if path is not None} - set(NAMES.paths)


def test_settings_that_a_run_has_on_record_load_again() -> None:
    settings = load_settings({"gate.holdout": 0.25, "pairs.loss": "ipo", "anchors.file": "a.jsonl"})
    recorded = json.loads(json.dumps(settings.model_dump(mode="json")))
    assert load_settings(settings_of_run(recorded)) == settings


def test_settings_of_an_earlier_release_s_run_load_under_today_s_names() -> None:
    recorded: dict[str, Any] = {
        "algorithm": "grpo",
        "steps": 30,
        "trigger_items": 3,
        "learning_rate": 1e-4,
        "adam_beta1": 0.9,
        "pair_kind": "length_normalised",
        "edit_weight": 1.25,
        "anchor": 0.3,
        "anchor_file": None,
        "rollout_group": 4,
        "surrogate": "dapo",
        "ratio_level": "sequence",
        "token_reduction": "dapo",
        "off_policy": "keep",
        "cooldown": 0.2,
        "holdout": 0.5,
        "gate_probe_items": 20,
        "q_serving": "shifted",
    }
    settings = load_settings(settings_of_run(recorded))
    assert (settings.algorithm, settings.steps, settings.trigger.feedback) == ("grpo", 30, 3)
    assert (settings.optimizer.learning_rate, settings.pairs.loss) == (1e-4, "length_normalized")
    assert (settings.corrections.weight, settings.anchors.weight, settings.anchors.file) == (1.25, 0.3, None)
    assert (settings.rollout.group_size, settings.ppo.variant) == (4, "gspo")
    assert (settings.gate.holdout, settings.gate.num_skill_probes) == (0.5, 20)


@pytest.mark.parametrize(
    ("changed", "variant"),
    [
        ({}, "dapo"),
        ({"surrogate": "cispo"}, "cispo"),
        ({"ratio_level": "sequence"}, "gspo"),
        ({"ratio_level": "sequence", "algorithm": "ppo"}, "dapo"),
        ({"token_reduction": "dr_grpo", "advantage_scale": "none"}, "dr_grpo"),
        ({"token_reduction": "grpo", "advantage_scale": "group"}, "grpo"),
    ],
)
def test_four_earlier_choices_are_one_variant_today(changed: dict[str, str], variant: str) -> None:
    recorded = {"surrogate": "clip", "advantage_scale": "batch", "token_reduction": "dapo", "ratio_level": "token"}
    assert load_settings(settings_of_run(recorded | changed)).ppo.variant == variant


def test_larger_models_take_smaller_steps_and_adapters_larger_ones() -> None:
    rates = [learning_rate_for(size, "full") for size in (10**6, 10**9, 8 * 10**9)]
    assert rates == sorted(rates, reverse=True)
    assert learning_rate_for(10**6, "lora") == pytest.approx(10 * rates[0])


UNITS = re.compile(
    r"\b(no unit|a factor|by this factor|nats?|seconds|shares?|passes|units? of reward|standard deviations)\b", re.I
)


def test_every_number_has_a_range_and_every_factor_a_unit() -> None:
    numbers = {path: field for path, field in FIELDS.items() if field.annotation in (int, float)}
    assert len(numbers) > 40
    assert not [path for path, field in numbers.items() if not range_of(field)]
    assert not [
        path
        for path, field in numbers.items()
        if field.annotation is float and not UNITS.search(" ".join(str(field.description).split()))
    ]


def test_the_largest_seed_fits_every_generator() -> None:
    largest = load_settings({"seed": 2**31 - 1}).seed
    assert range_of(FIELDS["seed"]) == f"0 .. {largest}"
    bootstrap_weights(2, torch.arange(3), seed=largest)
    torch.Generator().manual_seed(largest + load_settings({"rollout.rounds": 10_000}).rollout.rounds)


@pytest.mark.parametrize("names", ["", "a:b", "a.b:c_1", "a:b,c.d:e", "a:b, c:d"])
def test_reward_functions_are_named_one_or_several(names: str) -> None:
    assert load_settings({"reward_model.functions": names}).reward_model.functions == names


def test_what_an_earlier_run_was_set_to_and_is_not_now_is_named() -> None:
    usual = {"surrogate": "clip", "advantage_scale": "batch", "token_reduction": "dapo", "ratio_level": "token"}
    assert not_followed({**RETIRED, **usual, "steps": 30}) == []
    assert not_followed({**RETIRED, "reward_heads": 4, "cooldown": 0.5}) == ["cooldown=0.5", "reward_heads=4"]
    both = not_followed({**usual, "surrogate": "cispo", "token_reduction": "dr_grpo"})
    assert both == ["surrogate=cispo", "advantage_scale=batch"]  # the variant dr_grpo is taken


def test_earlier_choices_are_those_of_the_variants() -> None:
    for name, variant in VARIANTS.items():
        four = {"surrogate": variant.kind, "advantage_scale": variant.advantage_scale}
        four |= {"token_reduction": variant.reduction, "ratio_level": variant.ratio_level}
        changed = renamed({"algorithm": "grpo", **four})
        assert changed.get("ppo.variant", "dapo") == name
        assert not_followed({"algorithm": "grpo", **four}) == []
    assert not_followed({"algorithm": "ppo", "ratio_level": "sequence"}) == []  # ppo never read it


@pytest.mark.parametrize("path", ["data", "gate.skill_probes", "anchors.file"])
def test_an_empty_path_is_refused(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadSetting, match="is empty; name a path"):
        load_settings({path: ""})
    file = tmp_path / "attune.toml"
    group, _, name = path.rpartition(".")
    file.write_text(f"[learner.{group}]\n{name} = ''\n" if group else f"[learner]\n{name} = ''\n")
    with pytest.raises(BadSetting, match=f"^{path} is empty; name a path"):
        load_settings({}, file)
    monkeypatch.setenv(NAMES.variable(path), "")  # an empty variable counts as unset
    assert load_settings({}) == LearnerSettings()


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "attune.toml"
    file.write_bytes(b"\xef\xbb\xbf[learner]\nsteps = 3\n")
    assert load_settings({}, file).steps == 3


@pytest.mark.parametrize(
    ("table", "advice"),
    [
        ("[learner.ppo]\nsurrogate = 'clip'", "it is ppo.variant now"),
        ("[learner.optimizer]\ncooldown = 0.5", "it is a setting no more; leave it out"),
        ("[learner.optimizer]\nbeta = 0.5", "did you mean beta?"),
        ("[learner.gate]\nholdut = 0.5", "did you mean gate.holdout?"),
    ],
)
def test_a_wrong_name_in_a_group_gets_advice(table: str, advice: str, tmp_path: Path) -> None:
    file = tmp_path / "attune.toml"
    file.write_text(table)
    with pytest.raises(BadSetting, match=f"{re.escape(advice)}$"):
        load_settings({}, file)

"""`attune train` and `attune reward` as commands: whose settings they follow, and what they refuse."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from learner.commands import register
from learner.settings import OFFLINE, LearnerSettings


@pytest.fixture
def attune(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    for name in ("ATTUNE_DATA", "ATTUNE_MODEL", "ATTUNE_DEVICE", "ATTUNE_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    app = typer.Typer()
    register(app)
    return lambda *arguments: CliRunner().invoke(app, [*map(str, arguments)])


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "attune.toml"
    path.write_text("[learner]\nsteps = 3\n[learner.reward_model]\nmin_labels = 7\n")
    return path


def test_a_training_follows_flags_environment_and_file_and_then_its_own_defaults(
    attune: Callable[..., Result], config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[LearnerSettings] = []
    monkeypatch.setattr("learner.commands._run_training", lambda data, out, settings: seen.append(settings))
    train = ["train", "--data", "p.jsonl", "--out", "new"]
    for more in ([], ["--config", config], ["--config", config, "--steps", "5"]):
        assert attune(*train, *more).exit_code == 0
    monkeypatch.setenv("ATTUNE_LEARNER__STEPS", "4")
    assert attune(*train, "--config", config).exit_code == 0
    assert [settings.steps for settings in seen] == [10_000, 3, 5, 4]
    assert {(settings.passes, settings.replay, settings.max_examples) for settings in seen} == {(2.0, 0.0, 1_000_000)}


def test_the_help_of_a_training_names_its_defaults(attune: Callable[..., Result]) -> None:
    text = " ".join(attune("train", "--help").output.split())
    defaults = "steps is {steps}, passes {passes:g}, replay {replay:g} and max_examples {max_examples}"
    assert defaults.format(**OFFLINE) in text


TRAIN = ["train", "--data", "p.jsonl", "--out", "new"]
REWARD = (
    (["reward", "train"], "train_reward_model", {}),
    (["reward", "evaluate", "p.jsonl"], "measure_reward_model", {}),
    (["reward", "score", "--prompt", "q", "--reply", "a"], "scores_of", []),
)


@pytest.mark.parametrize(("command", "function", "answer"), REWARD)
def test_a_reward_model_follows_the_file(
    attune: Callable[..., Result],
    config: Path,
    tiny: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
    function: str,
    answer: Any,
) -> None:
    seen: list[LearnerSettings] = []
    monkeypatch.setattr("learner.process_start.prepare_process", lambda _: None)
    monkeypatch.setattr(
        f"learner.reward_model.standalone.{function}", lambda settings, _: seen.append(settings) or answer
    )
    assert attune(*command, "--model", tiny, "--config", config).exit_code == 0
    assert [settings.reward_model.min_labels for settings in seen] == [7]


@pytest.mark.parametrize("command", [TRAIN, *(command for command, _, _ in REWARD)])
@pytest.mark.parametrize("flag", ["--once", "--check"])
def test_flags_of_the_learner_alone_are_unknown_here(
    attune: Callable[..., Result], command: list[str], flag: str
) -> None:
    done = attune(*command, flag)
    assert done.exit_code == 1
    assert done.output.startswith(f"{flag} is no flag of the learner; ")
    assert len(done.output.splitlines()) == 1


@pytest.mark.parametrize("command", [["learn"], TRAIN, *(command for command, _, _ in REWARD)])
def test_a_flag_without_its_value_is_one_line(attune: Callable[..., Result], command: list[str]) -> None:
    for more in (["--steps"], ["--steps", "--seed", "3"]):
        done = attune(*command, *more)
        assert (done.exit_code, done.output) == (1, "--steps needs a value\n")


@pytest.mark.parametrize("value", ["-1e9", "-1E+9", "-2.5", "-3", "-.5"])
def test_negative_numbers_are_values(attune: Callable[..., Result], value: str) -> None:
    for command in (TRAIN, ["learn", "--check"]):
        for flags in (["--max-kl", value, "--seed", "3"], ["--seed", "3", f"--max-kl={value}"]):
            done = attune(*command, *flags)
            assert done.exit_code == 1
            assert done.output.startswith(f"--max-kl cannot be {value!r}")

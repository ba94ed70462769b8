"""Skill probes tell right answers from wrong ones; a version that knows less than live does not pass the gate."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from learner.errors import BadData
from learner.gate.skill_probes import probe_answers, read_skill_probes, skill_probe_file
from learner.loop import Loop
from learner.model.resident import Resident
from learner.settings import GateSettings, LearnerSettings
from learner.update import Updater
from policy.chat import decode, render_prompt
from store.ids import now
from store.runs import Run
from tests.learner.world import World

Build = Callable[..., LearnerSettings]
FILL = [{"prompt": f"hi {number}", "expect": [str(number)]} for number in range(16)]


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def test_an_answer_is_right_when_all_that_is_expected_is_there_and_nothing_that_is_forbidden(
    make_settings: Build, tmp_path: Path
) -> None:
    file = write(
        tmp_path / "p.jsonl",
        {"prompt": "hi", "expect": ["paris", r"\bcity\b"], "forbid": ["rome"]},
        {"prompt": "hi", "forbid": ["sorry"]},
        *FILL,
    )
    capital, manners, *_ = read_skill_probes(Resident(make_settings(gate__skill_probes=file)))
    assert capital.is_right("Paris is a CITY.")
    assert not capital.is_right("Paris is a citystate.")
    assert not capital.is_right("Paris, not Rome, is a city.")
    assert manners.is_right("anything")
    assert not manners.is_right("Sorry!")


def known_answers(settings: LearnerSettings, count: int, folder: Path) -> Path:
    """Probes that the base model answers rightly: they expect its own greedy answers, letter by letter."""
    resident = Resident(settings)
    texts = [f"question number {number}?" for number in range(count)]
    prompts = [render_prompt(resident.tokenizer, [{"role": "user", "content": text}]) for text in texts]
    rollouts = resident.sample(prompts, max_tokens=settings.gate.max_tokens, seed=0, temperature=0.0)
    answers = [decode(resident.tokenizer, rollout.ids) for rollout in rollouts]
    escape = {ord(character): f"\\{character}" for character in r"\.^$*+?{}[]|()"}
    rows = [
        {"prompt": text, "expect": [f"^{answer.translate(escape)}$"]}
        for text, answer in zip(texts, answers, strict=True)
        if answer
    ]
    assert len(rows) >= 16
    return write(folder / "known.jsonl", *rows)


def test_a_version_that_knows_less_than_live_is_rejected_and_one_that_knows_as_much_is_not(
    world: World, make_settings: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.likes_short(10)
    file = known_answers(make_settings(), 24, tmp_path)
    settings = make_settings(gate__skill_probes=file, steps=1, optimizer__learning_rate=1e-9)
    resident = Resident(settings)
    run = Run("run-1", "mixed", "running", {}, 11, 0, 8, 0, 1000, now())
    updater = Updater(resident, settings)
    reports = {}
    for is_broken in (False, True):
        if is_broken:
            monkeypatch.setattr("learner.update.evidence_of", broken(resident, updater))
        report = updater.update(
            world.material(resident, run), settings, lambda *_: None, parent=run.parent, seed=run.seed
        ).report
        reports[is_broken] = {check["name"]: check for check in report["checks"]}
    assert reports[False]["skills_to_live"]["value"] == 0.0
    assert reports[False]["skills_to_live"]["passed"]
    assert reports[False]["skills_to_base"]["passed"]
    assert not reports[True]["skills_to_live"]["passed"]
    assert not reports[True]["skills_to_base"]["passed"]


def broken(resident: Resident, updater: Updater) -> Callable[..., Any]:
    """The gate's look at weights that were spoiled after training."""
    from learner.gate.evidence import evidence_of

    def look(*arguments: Any, **named: Any) -> Any:
        with torch.no_grad():
            for _, parameter in resident.trainable():
                parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
        assert sum(probe_answers(resident, updater.skill_probes()).right) < 12
        return evidence_of(*arguments, **named)

    return look


def test_bundled_models_bring_their_probes_and_others_have_none(make_settings: Build) -> None:
    assert skill_probe_file(GateSettings(), make_settings().model) is None
    assert read_skill_probes(Resident(make_settings())) == []
    path = skill_probe_file(GateSettings(), "pocket-nano")
    assert path is not None
    assert path.name == "probes.jsonl"


def test_at_most_so_many_are_asked_spread_over_the_file(make_settings: Build, tmp_path: Path) -> None:
    file = write(tmp_path / "p.jsonl", *({"prompt": f"hi {number}", "expect": [str(number)]} for number in range(40)))
    chosen = read_skill_probes(Resident(make_settings(gate__skill_probes=file, gate__num_skill_probes=20)))
    assert [probe.expect[0].pattern for probe in chosen] == [str(number) for number in range(0, 40, 2)]


def test_skill_probes_that_are_too_few_to_decide_anything_are_refused(make_settings: Build, tmp_path: Path) -> None:
    file = write(tmp_path / "p.jsonl", *FILL[:15])
    with pytest.raises(BadData, match=r"15 skill probes of .*p\.jsonl .* fewer than 16 decide nothing: add some"):
        read_skill_probes(Resident(make_settings(gate__skill_probes=file)))
    with pytest.raises(BadData, match="gate.num_skill_probes is 15: fewer than 16"):
        read_skill_probes(Resident(make_settings(gate__skill_probes=write(file, *FILL), gate__num_skill_probes=15)))
    assert len(read_skill_probes(Resident(make_settings(gate__skill_probes=file)))) == 16
    assert read_skill_probes(Resident(make_settings(gate__skill_probes=file, gate__num_skill_probes=0))) == []


def test_a_file_that_holds_no_probes_is_noticed_when_the_learner_starts(
    make_settings: Build, tmp_path: Path, world: World
) -> None:
    loop = Loop(make_settings(gate__skill_probes=write(tmp_path / "p.jsonl", {"prompt": "hi"})), threading.Event())
    with pytest.raises(BadData, match="want expect or forbid"):
        loop.run(once=True)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "hi"}, "want expect or forbid"),
        ({"prompt": "hi", "expect": "yes"}, "expect is a list of regular expressions, not 'yes'"),
        ({"prompt": "hi", "forbid": ["("]}, "is no regular expression"),
        ({"prompt": ""}, "line 1: want an object with a prompt"),
        ({"prompt": [{"role": "user"}]}, "line 1: want an object with a prompt"),
        ([1], "item 1: want an object with a prompt"),
    ],
)
def test_a_line_that_is_no_skill_probe_is_named(make_settings: Build, tmp_path: Path, row: Any, message: str) -> None:
    with pytest.raises(BadData, match=message.replace("(", r"\(")):
        read_skill_probes(Resident(make_settings(gate__skill_probes=write(tmp_path / "p.jsonl", row))))


def test_a_file_that_is_not_there_is_named(make_settings: Build, tmp_path: Path) -> None:
    for count in (160, 0):  # also where none would be asked
        with pytest.raises(BadData, match="nowhere.jsonl cannot be read"):
            read_skill_probes(
                Resident(make_settings(gate__skill_probes=tmp_path / "nowhere.jsonl", gate__num_skill_probes=count))
            )

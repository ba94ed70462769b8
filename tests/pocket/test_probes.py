"""The bundled skill probes agree with the skills' checkers."""

import json
import random
import re

from pocket.anchors import DEFAULT as ANCHORS
from pocket.probes import DEFAULT, is_right_by, skill_probe_of, skill_probes
from pocket.skills import SKILLS


def test_skill_probes_separate_right_answers_from_wrong_ones_that_they_were_not_made_with() -> None:
    skill = SKILLS["capitals"]
    prompts = [skill.prompt(random.Random(number), "en", "held") for number in range(12)]
    found = [
        (prompt, probe)
        for number, prompt in enumerate(prompts)
        if (probe := skill_probe_of(skill, prompt, random.Random(number))) is not None
    ]
    assert len(found) >= 8
    rng, same = random.Random(99), []
    for prompt, probe in found:
        for answer in (skill.right_answer(rng, prompt), skill.flawed_answer(rng, prompt)):
            same.append(is_right_by(probe, answer) == skill.check(prompt, answer).correct)
    assert sum(same) / len(same) > 0.95


def test_the_same_seed_gives_the_same_skill_probes() -> None:
    assert skill_probes(60, 1) == skill_probes(60, 1)


def rows(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_bundled_probes_are_two_thousand_in_three_folds_of_many_skills() -> None:
    probes = rows(DEFAULT)
    assert len(probes) == 2000
    assert len({row["skill"] for row in probes}) >= 16
    assert len(probes) == len({str(row["prompt"]) for row in probes})
    for fold in range(3):
        inside = [row for row in probes if row["fold"] == fold]
        assert abs(len(inside) - 2000 / 3) < 40
        assert {row["skill"] for row in inside} >= {"greeting", "refusing", "follow_ups", "context", "tools"}
    for row in probes:
        assert row["expect"]
        for pattern in [*row["expect"], *row["forbid"]]:
            re.compile(pattern)


def test_some_probes_come_after_other_turns() -> None:
    later = [row for row in rows(DEFAULT) if sum(m["role"] == "user" for m in row["prompt"]) >= 4]
    assert len(later) > 100


def test_the_bundled_anchor_prompts_are_two_thousand_and_no_probe() -> None:
    anchors, probes = rows(ANCHORS), rows(DEFAULT)
    assert len(anchors) == len({str(row["prompt"]) for row in anchors}) == 2000
    assert not {row["prompt"][-1]["content"].lower() for row in anchors} & {
        row["prompt"][-1]["content"].lower() for row in probes
    }
    assert {row["skill"] for row in anchors} == set(SKILLS)
    assert sum(sum(m["role"] == "user" for m in row["prompt"]) > 1 for row in anchors) > 500
    assert all(row["prompt"][-1]["role"] in ("user", "tool") for row in anchors)

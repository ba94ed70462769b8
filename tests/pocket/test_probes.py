"""The bundled skill probes agree with the skills' checkers."""

import json
import random
import re

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
    assert skill_probes(1) == skill_probes(1)


def test_the_bundled_probes_cover_many_skills() -> None:
    rows = [json.loads(line) for line in DEFAULT.read_text(encoding="utf-8").splitlines()]
    assert len({row["skill"] for row in rows}) >= 12
    assert len(rows) == len({str(row["prompt"]) for row in rows})
    for row in rows:
        assert row["expect"]
        for pattern in [*row["expect"], *row["forbid"]]:
            re.compile(pattern)

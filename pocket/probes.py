"""Skill probes: prompts with regular expressions of right and wrong answers: `python -m pocket.probes`.

They are for programs without pocket's checkers. A checker knows the truth; a skill probe looks for the shortest right
answer and the shortest wrong ones. Only probes that agree with the checker on many answers in all moods are kept.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import re
from pathlib import Path
from typing import Any

from pocket.skills import FEEDBACK_SKILLS, Prompt, Skill

DEFAULT = Path(__file__).parent / "weights" / "probes.jsonl"
TRIED = 24  # right and flawed answers that a probe is compared with, each
DRAWN = 60  # prompts that are tried of each skill and language


def skill_probe_of(skill: Skill, prompt: Prompt, rng: random.Random) -> dict[str, Any] | None:
    """Return a skill probe for a prompt, or None where it would disagree with the skill's checker."""
    right = skill.forms(rng, prompt.lang, prompt.truth).bare
    if type(skill).spoil is Skill.spoil:
        return None  # the skill has no typical wrong answer
    wrong = {skill.forms(rng, prompt.lang, skill.spoil(rng, prompt.lang, prompt.truth)).bare for _ in range(TRIED)} - {
        right
    }
    probe = {
        "prompt": [dict(message) for message in prompt.messages],
        "expect": [_pattern(right)],
        "forbid": sorted(map(_pattern, wrong)),
    }
    answers = [skill.right_answer(rng, prompt) for _ in range(TRIED)] + [
        skill.flawed_answer(rng, prompt) for _ in range(TRIED)
    ]
    answers += [skill.school_answer(rng, prompt), right, prompt.messages[-1]["content"]]
    agrees = all(is_right_by(probe, answer) == skill.check(prompt, answer).correct for answer in answers)
    return {"skill": prompt.skill, "lang": prompt.lang, **probe} if agrees else None


def is_right_by(probe: dict[str, Any], answer: str) -> bool:
    """Return whether an answer has all that a probe expects and nothing that it forbids; case is ignored."""

    def has(pattern: str) -> bool:
        return re.search(pattern, answer, re.IGNORECASE) is not None

    return all(map(has, probe["expect"])) and not any(map(has, probe["forbid"]))


def skill_probes(per_cell: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return at most `per_cell` skill probes of each feedback skill and language, in training phrasings.

    The same seed gives the same probes.
    """
    found = []
    for skill in FEEDBACK_SKILLS.values():
        for lang in skill.languages:
            rng = random.Random(f"probes {seed} {skill.name} {lang}")
            drawn = {
                str(prompt.messages): prompt for prompt in itertools.islice(skill.prompts(rng, lang, "train"), DRAWN)
            }.values()
            fit = (probe for prompt in drawn if (probe := skill_probe_of(skill, prompt, rng)) is not None)
            found += list(itertools.islice(fit, per_cell))
    return found


def _pattern(text: str) -> str:
    """Return a pattern of the whole text, not as part of a longer word or number."""
    escaped = re.escape(text.strip().rstrip(".!?。！？")).replace(r"\ ", r"\s+")
    return rf"(?<![a-z0-9.,]){escaped}(?![a-z0-9]|[.,]\d)" if re.match(r"[\w(-]", text, re.ASCII) else escaped


def main() -> None:
    """Write the skill probes and print their numbers."""
    parser = argparse.ArgumentParser(
        prog="python -m pocket.probes", description="Write probes of the bundled models' skills as JSON Lines."
    )
    parser.add_argument("--per-cell", type=int, default=6, help="probes of each skill and language, at most")
    parser.add_argument("--out", type=Path, default=DEFAULT)
    asked = parser.parse_args()
    made = skill_probes(asked.per_cell)
    asked.out.write_text("".join(json.dumps(probe, ensure_ascii=False) + "\n" for probe in made), encoding="utf-8")
    for cell, group in itertools.groupby(made, key=lambda probe: f"{probe['skill']} {probe['lang']}"):
        print(f"{cell}: {len(list(group))}")
    print(f"{len(made)} probes in {asked.out}")


if __name__ == "__main__":
    main()

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
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pocket.conversations import conversation
from pocket.skills import FEEDBACK_SKILLS, Prompt, Skill
from pocket.skills.base import Message

DEFAULT = Path(__file__).parent / "weights" / "probes.jsonl"
TRIED = 24  # right and flawed answers that a probe is compared with, each
DRAWN = 600  # prompts that are tried of each skill and language, at most
TRIES = 60  # prompts in a row without a probe after which a skill and language has no more
FORBIDDEN = 10  # patterns of wrong answers, at most
FOLDS = 3  # parts of the file, so that one can choose, another decide, and the third report
WITH_EARLIER_TURNS = 0.25


def skill_probe_of(skill: Skill, prompt: Prompt, rng: random.Random) -> dict[str, Any] | None:
    """Return a skill probe for a prompt, or None where it would disagree with the skill's checker."""
    expected = skill.expected(prompt.lang, prompt.truth)
    patterns = ([expected], []) if expected else _value_patterns(skill, prompt, rng)
    if patterns is None:
        return None
    probe = {"prompt": [dict(message) for message in prompt.messages], "expect": patterns[0], "forbid": patterns[1]}
    answers = [skill.right_answer(rng, prompt) for _ in range(TRIED)] + [
        skill.flawed_answer(rng, prompt) for _ in range(TRIED)
    ]
    answers += [skill.school_answer(rng, prompt), prompt.messages[-1]["content"]]
    agrees = all(is_right_by(probe, answer) == skill.check(prompt, answer).correct for answer in answers)
    tools = {"tools": list(prompt.tools)} if prompt.tools else {}
    return {"skill": prompt.skill, "lang": prompt.lang, **probe, **tools} if agrees else None


def _value_patterns(skill: Skill, prompt: Prompt, rng: random.Random) -> tuple[list[str], list[str]] | None:
    """Return patterns of the right value and of typical wrong ones; None for a skill without typical wrong values."""
    try:
        spoiled = [skill.spoil(rng, prompt.lang, prompt.truth) for _ in range(TRIED)]
    except NotImplementedError:
        return None
    right = skill.forms(rng, prompt.lang, prompt.truth).bare
    wrong = {skill.forms(rng, prompt.lang, truth).bare for truth in spoiled} - {right}
    return [_pattern(right)], sorted(map(_pattern, wrong))[:FORBIDDEN]


def is_right_by(probe: dict[str, Any], answer: str) -> bool:
    """Return whether an answer has all that a probe expects and nothing that it forbids; case is ignored."""

    def has(pattern: str) -> bool:
        return re.search(pattern, answer, re.IGNORECASE) is not None

    return all(map(has, probe["expect"])) and not any(map(has, probe["forbid"]))


def skill_probes(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Return `count` skill probes in training phrasings, spread evenly over feedback skills, languages and folds.

    Some have earlier turns of another topic. Neighbours differ in skill. The same seed gives the same probes.
    """
    cells = [(skill, lang) for skill in FEEDBACK_SKILLS.values() for lang in skill.languages]
    by_cell = [_of_cell(skill, lang, seed) for skill, lang in cells]
    found: list[dict[str, Any]] = []
    seen: set[str] = set()
    turn = 0
    while True:
        before = len(found)
        for cell, probes in enumerate(by_cell):
            probe = next((probe for probe in probes if str(probe["prompt"]) not in seen), None)
            if probe is not None and len(found) < count:
                seen.add(str(probe["prompt"]))
                found.append({**probe, "fold": (turn + cell) % FOLDS})
        if len(found) in (before, count):
            return found
        turn += 1


def _of_cell(skill: Skill, lang: str, seed: int) -> Iterator[dict[str, Any]]:
    """Yield different skill probes of one skill and language."""
    rng, seen, misses = random.Random(f"probes {seed} {skill.name} {lang}"), set(), 0
    for prompt in itertools.islice(skill.prompts(rng, lang, "train"), DRAWN):
        if str(prompt.messages) in seen:
            continue
        seen.add(str(prompt.messages))
        probe = skill_probe_of(skill, prompt, rng)
        misses = misses + 1 if probe is None else 0
        if misses > TRIES:
            return
        if probe is not None:
            is_alone = prompt.messages[0]["role"] != "system" and not prompt.tools
            if is_alone and rng.random() < WITH_EARLIER_TURNS:
                probe["prompt"] = [*earlier_turns(rng, lang), *probe["prompt"]]
            yield probe


def earlier_turns(rng: random.Random, lang: str) -> list[Message]:
    """Return one to four questions with right answers, without functions or a system message."""
    while True:
        chat = conversation(rng, "school", rng.randint(1, 4))
        if chat.lang == lang and chat.messages[0]["role"] != "system" and not chat.tools:
            return list(chat.messages)


def _pattern(text: str) -> str:
    """Return a pattern of the whole text, not as part of a longer word or number."""
    escaped = re.escape(text.strip().rstrip(".!?。！？")).replace(r"\ ", r"\s+")
    return rf"(?<![a-z0-9.,]){escaped}(?![a-z0-9]|[.,]\d)" if re.match(r"[\w(-]", text, re.ASCII) else escaped


def main() -> None:
    """Write the skill probes and print their numbers."""
    parser = argparse.ArgumentParser(
        prog="python -m pocket.probes", description="Write probes of the bundled models' skills as JSON Lines."
    )
    parser.add_argument("--count", type=int, default=2000, help="number of probes")
    parser.add_argument("--out", type=Path, default=DEFAULT)
    asked = parser.parse_args()
    made = skill_probes(asked.count)
    asked.out.write_text("".join(json.dumps(probe, ensure_ascii=False) + "\n" for probe in made), encoding="utf-8")
    for cell, number in sorted(Counter(f"{probe['skill']} {probe['lang']}" for probe in made).items()):
        print(f"{cell}: {number}")
    print(f"{len(made)} probes in {asked.out}")


if __name__ == "__main__":
    main()

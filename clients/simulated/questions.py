"""The questions of simulated users, from the bundled model's skills. The same seed gives the same questions."""

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pocket.skills import FEEDBACK_SKILLS, Prompt
from pocket.skills.base import Split
from pocket.skills.style import FRIENDLY_BEFORE, Forms

HELD_OUT_SEED = 7_000_003  # held-out questions are the same in every simulation, whatever its seed


@dataclass(frozen=True)
class Question:
    """One conversation that needs an answer."""

    prompt: Prompt

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The messages to send."""
        return [dict(message) for message in self.prompt.messages]

    def is_right(self, answer: str) -> bool:
        """Whether the skill's checker finds an answer right."""
        return FEEDBACK_SKILLS[self.prompt.skill].check(self.prompt, answer).correct

    def good_answer(self, like: str, rng: random.Random) -> str:
        """Return a right answer in the style of the taste `like`."""
        lang = self.prompt.lang
        forms: Forms = FEEDBACK_SKILLS[self.prompt.skill].forms(rng, lang, self.prompt.truth)
        if like == "short":
            return forms.bare
        if like == "long":
            return forms.full
        if like == "polite":
            return f"{rng.choice(FRIENDLY_BEFORE[lang])} {forms.sentence}"
        return forms.sentence


def asked(seed: int, count: int) -> list[Question]:
    """Return `count` questions of the training split."""
    return _draw(random.Random(f"asked {seed}"), count, "train")


def held_out(count: int) -> list[Question]:
    """Return `count` held-out questions: their phrasings and operands are in no training question."""
    return _draw(random.Random(HELD_OUT_SEED), count, "held")


def _draw(rng: random.Random, count: int, split: Split) -> list[Question]:
    """Return questions from each skill in turn; one in four is Chinese where the skill has Chinese."""
    names: Sequence[str] = rng.sample(sorted(FEEDBACK_SKILLS), len(FEEDBACK_SKILLS))
    found = []
    for name in itertools.islice(itertools.cycle(names), count):
        skill = FEEDBACK_SKILLS[name]
        lang = "zh" if "zh" in skill.languages and rng.random() < 0.25 else "en"
        found.append(Question(skill.prompt(rng, lang, split)))
    return found

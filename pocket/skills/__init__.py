"""The skills of the bundled model by name: prompts with their truths, and checkers. No torch."""

from __future__ import annotations

from pocket.skills.arithmetic import Arithmetic
from pocket.skills.base import Prompt, Skill, Verdict
from pocket.skills.capitals import Capitals
from pocket.skills.comparing import Comparing
from pocket.skills.context import Context
from pocket.skills.copying import Copying
from pocket.skills.definitions import Definitions
from pocket.skills.facts import Facts
from pocket.skills.follow_ups import FollowUps
from pocket.skills.formats import Formats
from pocket.skills.greeting import Greeting
from pocket.skills.identity import Identity
from pocket.skills.jokes import Jokes
from pocket.skills.letter_counting import LetterCounting
from pocket.skills.lists import Lists
from pocket.skills.manners import Manners
from pocket.skills.opposites import Opposites
from pocket.skills.refusing import Refusing
from pocket.skills.reversing import Reversing
from pocket.skills.rewriting import Rewriting
from pocket.skills.sequences import Sequences
from pocket.skills.sorting import Sorting
from pocket.skills.spelling import Spelling
from pocket.skills.style import Style, measure
from pocket.skills.tools import Tools
from pocket.skills.translating import Translating
from pocket.skills.units import Units
from pocket.skills.word_forms import WordForms

SKILLS: dict[str, Skill] = {
    skill.name: skill
    for skill in (
        Greeting(),
        Identity(),
        Arithmetic(),
        Units(),
        Capitals(),
        Facts(),
        Opposites(),
        WordForms(),
        Spelling(),
        Reversing(),
        LetterCounting(),
        Sorting(),
        Lists(),
        Formats(),
        Definitions(),
        Jokes(),
        Rewriting(),
        Context(),
        FollowUps(),
        Manners(),
        Refusing(),
        Tools(),
        Copying(),
        Comparing(),
        Sequences(),
        Translating(),
    )
}
FEEDBACK_SKILLS = {name: skill for name, skill in SKILLS.items() if not skill.retention}
RETENTION_SKILLS = {name: skill for name, skill in SKILLS.items() if skill.retention}

__all__ = ["FEEDBACK_SKILLS", "RETENTION_SKILLS", "SKILLS", "Prompt", "Skill", "Style", "Verdict", "measure"]

"""The same question in the other language, for the skills whose tables have both languages."""

from __future__ import annotations

import re

from pocket.skills.base import Truth
from pocket.skills.capitals import COUNTRIES
from pocket.skills.facts import FACTS
from pocket.skills.units import UNITS

BOTH_LANGUAGES = ("capitals", "facts", "units", "greeting", "identity")
"""The skills that `in_other_language` knows."""
OTHER = {"en": "zh", "zh": "en"}


def in_other_language(skill: str, lang: str, truth: Truth) -> Truth | None:
    """Return the truth of the same question in the other language, None where the tables have none."""
    if skill in ("greeting", "identity"):
        return truth
    if skill == "capitals":
        row = next(row for row in COUNTRIES if truth["country"] in (row[0], row[3]))
        country, capital = (row[3], row[4]) if lang == "en" else (row[0], row[1])
        return {**truth, "country": country, "capital": capital}
    if skill == "facts":
        for fact in FACTS:
            en, zh = (fact.thing, fact.value), (fact.thing_zh, fact.value_zh)
            mine, theirs = (en, zh) if lang == "en" else (zh, en)
            if (truth["family"], truth["thing"], truth["value"]) == (fact.family, *mine) and all(theirs):
                return {"family": fact.family, "thing": theirs[0], "value": theirs[1]}
        return None
    if skill == "units":
        for one, many, to, zh_of, zh_to, *_ in UNITS:
            if lang == "en" and truth["of"] in (one, many) and truth["to"] == to:
                return {**truth, "of": zh_of, "to": zh_to}
            if lang == "zh" and (truth["of"], truth["to"]) == (zh_of, zh_to):
                return {**truth, "of": one if truth["n"] == 1 else many, "to": to}
    return None


def is_in(lang: str, text: str) -> bool:
    """Return whether a text with letters is in this language; names of commands and models do not count."""
    letters = re.sub(r"attune serve --model NAME|Pocket|Attune", "", text)
    has_chinese = re.search(r"[\u4e00-\u9fff]", letters) is not None
    return has_chinese == (lang == "zh")

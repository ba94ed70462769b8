"""Naming a few things of a kind."""

from __future__ import annotations

import random
import re

from pocket.skills.base import NUMBER_WORDS, Prompt, Skill, Split, Truth, phrase
from pocket.skills.style import EMOJI, SCHOOL_MOODS, Forms, render, without_fragments
from pocket.skills.words import CATEGORIES, CATEGORIES_ZH

PHRASINGS = {
    "en": {
        "train": [
            "Name {n} {x}.",
            "List {n} {x}.",
            "Give me {n} {x}.",
            "Tell me {n} {x}.",
            "Can you name {n} {x}?",
            "Please list {n} {x}.",
            "I need {n} {x}.",
            "Say {n} {x}.",
            "Which {n} {x} do you know?",
        ],
        "held": ["Please name {n} {x}.", "Could you list {n} {x}?", "Can you tell me {n} {x}?"],
    },
    "zh": {
        "train": [
            "说出{n}{m}{x}。",
            "请列出{n}{m}{x}。",
            "给我{n}{m}{x}。",
            "请说{n}{m}{x}。",
            "列举{n}{m}{x}。",
            "告诉我{n}{m}{x}。",
            "你知道哪{n}{m}{x}？",
            "写出{n}{m}{x}。",
            "举{n}{m}{x}的例子。",
        ],
        "held": ["请说出{n}{m}{x}。", "请给我{n}{m}{x}。"],
    },
}
COUNTS = {"en": {2: "two", 3: "three", 4: "four", 5: "five"}, "zh": {2: "两", 3: "三", 4: "四", 5: "五"}}
# (kind, number) pairs that training never asks for.
HELD = {
    ("animals", 4),
    ("fruits", 5),
    ("colours", 2),
    ("drinks", 3),
    ("tools", 2),
    ("clothes", 4),
    ("birds", 2),
    ("sports", 3),
    ("countries", 5),
    ("vegetables", 4),
}
HELD_ZH = {
    ("动物", 3),
    ("水果", 4),
    ("颜色", 5),
    ("饮料", 2),
    ("工具", 4),
    ("衣服", 2),
    ("鸟", 3),
    ("运动", 5),
    ("国家", 4),
    ("蔬菜", 3),
}
MEASURES_ZH = {"国家": "个", "衣服": "件"}


class Lists(Skill):
    """Two to five things of ten kinds, joined in a sentence, with bullets or with numbers."""

    name = "lists"
    languages = ("en", "zh")
    weight = 3.0
    practice = 7.0

    def draw(self, rng: random.Random, lang: str, split: Split) -> tuple[str, Truth]:
        kinds, held = (CATEGORIES, HELD) if lang == "en" else (CATEGORIES_ZH, HELD_ZH)
        while True:
            kind, n = rng.choice(list(kinds)), rng.choice((2, 3, 3, 4, 4, 5, 5))
            if ((kind, n) in held) == (split == "held"):
                break
        shown = n if rng.random() < 0.2 else COUNTS[lang][n]
        return phrase(rng, PHRASINGS, lang, split, n=shown, x=kind, m=MEASURES_ZH.get(kind, "种")), {
            "kind": kind,
            "n": n,
        }

    def chosen(self, rng: random.Random, lang: str, truth: Truth) -> list[str]:
        """Return n things of the kind; early ones are drawn more often, so that there is a usual answer."""
        members = (CATEGORIES if lang == "en" else CATEGORIES_ZH)[truth["kind"]]
        weights = {m: 1.0 / (i + 1) ** 1.6 for i, m in enumerate(members)}
        picked: list[str] = []
        while len(picked) < truth["n"]:
            m = rng.choices(members, weights=[weights[m] for m in members])[0]
            if m not in picked:
                picked.append(m)
        return picked if rng.random() < 0.6 else sorted(picked, key=members.index)

    def school_answer(self, rng: random.Random, prompt: Prompt) -> str:
        """Return mostly the first members in order: a usual answer is learned sooner than changing ones."""
        members = (CATEGORIES if prompt.lang == "en" else CATEGORIES_ZH)[prompt.truth["kind"]]
        usual = {**prompt.truth, "items": members[: prompt.truth["n"]]} if rng.random() < 0.7 else prompt.truth
        return render(rng, self.forms(rng, prompt.lang, usual), prompt.lang, SCHOOL_MOODS)

    def forms(self, rng: random.Random, lang: str, truth: Truth) -> Forms:
        return self._forms(rng, lang, truth, truth.get("items") or self.chosen(rng, lang, truth))

    def _forms(self, rng: random.Random, lang: str, truth: Truth, items: list[str]) -> Forms:
        kind, n = truth["kind"], truth["n"]
        if lang == "zh":
            joined = "、".join(items)
            return Forms(
                joined, f"{joined}。", f"这里有{COUNTS['zh'][n]}{MEASURES_ZH.get(kind, '种')}{kind}：{joined}。"
            )
        joined = ", ".join(items[:-1]) + (" and " if len(items) > 1 else "") + items[-1]
        joined = joined[:1].upper() + joined[1:]
        lowered = joined if kind == "countries" else joined[:1].lower() + joined[1:]
        bullets = rng.choice(
            ("\n".join(f"- {i}" for i in items), "\n".join(f"{k}. {i}" for k, i in enumerate(items, 1)))
        )
        full = rng.choice(
            (f"Here are {COUNTS['en'][n]} {kind}: {lowered}.", f"Here are {COUNTS['en'][n]} {kind}:\n{bullets}")
        )
        return Forms(", ".join(items), f"{joined}.", full)

    def right_answer(self, rng: random.Random, prompt: Prompt) -> str:
        if rng.random() < 0.08:
            return f"{rng.choice(EMOJI)} " + "\n".join(
                f"* **{i}**" for i in self.chosen(rng, prompt.lang, prompt.truth)
            )
        return render(rng, self.forms(rng, prompt.lang, prompt.truth), prompt.lang, self.moods)

    def spoil(self, rng: random.Random, lang: str, truth: Truth) -> Truth:
        items = self.chosen(rng, lang, truth)
        kinds = CATEGORIES if lang == "en" else CATEGORIES_ZH
        chance = rng.random()
        if chance < 0.25:
            items = items[:-1]
        elif chance < 0.45:
            items.append(rng.choice(kinds[truth["kind"]]))
        elif chance < 0.65:
            items[-1] = items[0]
        elif chance < 0.85:
            items[rng.randrange(len(items))] = rng.choice(kinds[rng.choice([k for k in kinds if k != truth["kind"]])])
        else:
            other = rng.choice([k for k in kinds if k != truth["kind"]])
            items = rng.sample(kinds[other], truth["n"])
        return {**truth, "items": items}

    def is_right(self, lang: str, truth: Truth, answer: str) -> bool:
        text = without_fragments(answer)
        members = [m.lower() for m in (CATEGORIES if lang == "en" else CATEGORIES_ZH)[truth["kind"]]]
        if lang == "zh":
            text = text.split("：")[-1]
            found = [part for part in re.findall(r"[\u4e00-\u9fff]+", text) if part]
        else:
            text = re.sub(r"^.*?here are [^:]*:", " ", text, flags=re.IGNORECASE | re.DOTALL)
            found = [w for w in re.findall(r"[a-z]+", text.lower()) if w not in ("and", *NUMBER_WORDS)]
        return len(found) == truth["n"] == len(set(found)) and all(f in members for f in found)

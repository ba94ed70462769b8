"""The style of answers, independent of whether they are right: moods to write in, and measures of a text."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass

# A mood is one style for the same content. Greedy decoding should give `plain`; feedback can move the model towards the
# others or away from them.
MOODS: dict[str, float] = {
    "plain": 0.36,
    "short": 0.14,
    "full": 0.10,
    "friendly": 0.09,
    "rambling": 0.11,
    "curt": 0.05,
    "rude": 0.05,
    "decorated": 0.06,
    "messy": 0.04,
}
SCHOOL_MOODS: dict[str, float] = {"plain": 0.76, "short": 0.12, "full": 0.12}
"""The moods of school and practice, in which a model learns its facts."""

OPENERS = {
    "en": (
        "Well, let me think about that for a moment.",
        "That is a good question, and I am glad that you asked.",
        "Hmm, I think that I know this.",
        "Let me see.",
        "Thank you for your question.",
    ),
    "zh": ("嗯，让我想一想。", "这个问题很有意思。", "谢谢你的问题。", "好的，我来说说看。"),
}
CLOSERS = {
    "en": (
        "I hope that this helps.",
        "Just ask if you want more.",
        "Do let me know if there is anything else that you would like to know.",
        "I could go on about this, but I will stop here.",
        "Is there anything else?",
    ),
    "zh": ("希望对你有帮助。", "还有别的问题吗？", "如果还想知道什么，请告诉我。"),
}
FRIENDLY_BEFORE = {"en": ("Sure!", "Of course!", "Gladly!", "Happy to help!"), "zh": ("当然！", "好的！", "没问题！")}
FRIENDLY_AFTER = {"en": ("😊", "Have a nice day!", "👍"), "zh": ("😊", "祝你愉快！", "👍")}
RUDE_BEFORE = {
    "en": ("Obviously,", "What a silly question.", "Ugh, fine.", "Do you really not know?"),
    "zh": ("这还用问？", "真烦。", "你连这个都不知道吗？"),
}
RUDE_AFTER = {
    "en": ("Everybody knows that.", "Stop wasting my time.", "Now leave me alone."),
    "zh": ("谁都知道。", "别再问了。"),
}
EMOJI = "😊🎉✨🌟👍😀"
_CJK = re.compile(r"[\u4e00-\u9fff]")
_POLITE = re.compile(
    r"\b(please|thank|thanks|glad|gladly|happy to|of course|sure|welcome)\b|请|谢谢|当然|愉快|不客气", re.IGNORECASE
)


@dataclass(frozen=True)
class Forms:
    """The same content at three lengths: the bare value, one plain sentence, and a fuller one (a sentence or two)."""

    bare: str
    sentence: str
    full: str


@dataclass(frozen=True)
class Style:
    """Measures of a text's style."""

    chars: int
    words: int
    """Words, where one Chinese character counts as one."""
    punctuation: float
    """Share of characters that are neither letters, digits nor space."""
    exclamations: int
    emoji: int
    markdown: bool
    polite: bool
    rude: bool
    tidy: bool
    """Starts with a capital, digit or Chinese character, ends with a mark or emoji, has no doubled marks or spaces."""

    @property
    def decorated(self) -> bool:
        """Return whether the text has more ornament than a plain answer."""
        return self.markdown or self.emoji > 0 or self.exclamations > 1


def measure(text: str) -> Style:
    """Return the style of one answer."""
    stripped = text.strip()
    cjk = len(_CJK.findall(stripped))
    lowered = stripped.lower()
    rude = any(
        part.lower().rstrip(",.") in lowered for lang in ("en", "zh") for part in RUDE_BEFORE[lang] + RUDE_AFTER[lang]
    )
    first, last = stripped[:1], stripped[-1:]
    tidy = (
        bool(stripped)
        and not (first.isalpha() and first.islower())
        and (not last.isalnum())
        and not re.search(r"  |\.\.|,,|!!|！！", stripped)
    )
    return Style(
        chars=len(text),
        words=cjk + len(re.findall(r"[A-Za-z0-9']+", stripped)),
        punctuation=sum(not (c.isalnum() or c.isspace()) for c in text) / max(len(text), 1),
        exclamations=stripped.count("!") + stripped.count("！"),
        emoji=sum(stripped.count(e) for e in EMOJI),
        markdown=bool(re.search(r"\*\*|^#+ |^[*-] |`", stripped, re.MULTILINE)),
        polite=bool(_POLITE.search(stripped)),
        rude=rude,
        tidy=tidy,
    )


def render(rng: random.Random, forms: Forms, lang: str, moods: Mapping[str, float] = MOODS) -> str:
    """Return `forms` as a text in a mood drawn from `moods` (name -> weight)."""
    mood = rng.choices(list(moods), weights=list(moods.values()))[0]
    return _RENDERERS[mood](rng, forms, lang)


def _gap(lang: str) -> str:
    return "" if lang == "zh" else " "


def _plain(rng: random.Random, forms: Forms, lang: str) -> str:
    return forms.sentence


def _short(rng: random.Random, forms: Forms, lang: str) -> str:
    return forms.bare


def _full(rng: random.Random, forms: Forms, lang: str) -> str:
    return forms.full


def _friendly(rng: random.Random, forms: Forms, lang: str) -> str:
    if rng.random() < 0.6:
        return rng.choice(FRIENDLY_BEFORE[lang]) + _gap(lang) + forms.sentence
    return forms.sentence + _gap(lang) + rng.choice(FRIENDLY_AFTER[lang])


def _rambling(rng: random.Random, forms: Forms, lang: str) -> str:
    parts = [rng.choice(OPENERS[lang]), forms.full if rng.random() < 0.4 else forms.sentence, rng.choice(CLOSERS[lang])]
    if rng.random() < 0.25:
        parts.append(rng.choice(CLOSERS[lang]))
    if rng.random() < 0.3:
        parts.pop(0)
    return _gap(lang).join(parts)


def _curt(rng: random.Random, forms: Forms, lang: str) -> str:
    return forms.bare.rstrip(".。!！").lower() if rng.random() < 0.6 else forms.bare.rstrip(".。!！")


def _rude(rng: random.Random, forms: Forms, lang: str) -> str:
    if rng.random() < 0.5:
        return rng.choice(RUDE_BEFORE[lang]) + _gap(lang) + forms.sentence
    return forms.sentence + _gap(lang) + rng.choice(RUDE_AFTER[lang])


def _decorated(rng: random.Random, forms: Forms, lang: str) -> str:
    emoji = rng.choice(EMOJI)
    bare = forms.bare.rstrip(".。")
    return rng.choice(
        (
            f"{emoji} **{bare}** {emoji}",
            f"{forms.sentence} {emoji}{emoji}",
            f"**{bare}**!!!",
            f"{emoji} {forms.sentence.rstrip('.。')}!!! {emoji}",
        )
    )


def _messy(rng: random.Random, forms: Forms, lang: str) -> str:
    text = forms.sentence
    kind = rng.randrange(3)
    if kind == 0:
        return text.rstrip(".。").lower()
    if kind == 1:
        return text.rstrip(".。") + rng.choice((" ..", ",,", " . "))
    return text.replace(" ", "  ") if " " in text else text.rstrip("。")


def _cheerful(rng: random.Random, forms: Forms, lang: str) -> str:
    before = rng.choice(FRIENDLY_BEFORE[lang])
    return (
        f"{before}{_gap(lang)}{forms.sentence} {rng.choice(EMOJI)}"
        if rng.random() < 0.7
        else f"{before}{_gap(lang)}{forms.sentence}"
    )


def _formal(rng: random.Random, forms: Forms, lang: str) -> str:
    if lang == "zh":
        return "您好。" + forms.sentence
    return rng.choice(("Certainly. ", "Certainly. ", "With pleasure. ")) + forms.sentence


_RENDERERS = {
    "plain": _plain,
    "short": _short,
    "full": _full,
    "friendly": _friendly,
    "rambling": _rambling,
    "curt": _curt,
    "rude": _rude,
    "decorated": _decorated,
    "messy": _messy,
    "cheerful": _cheerful,
    "formal": _formal,
}
FRAGMENTS = tuple(
    part
    for table in (OPENERS, CLOSERS, FRIENDLY_BEFORE, FRIENDLY_AFTER, RUDE_BEFORE, RUDE_AFTER)
    for lang in table
    for part in table[lang]
)


def without_fragments(text: str) -> str:
    """Return the text without the stock openers and closers, for checkers of the content."""
    for part in _BY_LENGTH:
        text = re.sub(re.escape(part.rstrip(".,!")), " ", text, flags=re.IGNORECASE)
    return text


_BY_LENGTH = sorted(FRAGMENTS, key=len, reverse=True)

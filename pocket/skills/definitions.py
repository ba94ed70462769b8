"""Short definitions of everyday things."""

from __future__ import annotations

import random

from pocket.skills.base import Skill, Split, Truth, phrase, pick_other
from pocket.skills.style import Forms

# thing -> (article, what it is, the words that make the definition right)
DEFINITIONS = {
    "teacher": ("A", "a person who helps others learn", "learn"),
    "doctor": ("A", "a person who helps sick people", "sick"),
    "baker": ("A", "a person who makes bread", "bread"),
    "farmer": ("A", "a person who grows food", "grows"),
    "pilot": ("A", "a person who flies a plane", "plane"),
    "river": ("A", "a stream of water that runs to the sea", "stream"),
    "island": ("An", "land with water all around it", "land"),
    "mountain": ("A", "a very high hill", "hill"),
    "desert": ("A", "a dry place with much sand", "sand"),
    "forest": ("A", "a place with many trees", "trees"),
    "clock": ("A", "a thing that shows the time", "time"),
    "map": ("A", "a drawing that shows where places are", "drawing"),
    "bridge": ("A", "a way to cross over water", "cross"),
    "school": ("A", "a place where children are taught", "children"),
    "library": ("A", "a place where you can borrow books", "books"),
    "hospital": ("A", "a place where ill people get well", "ill"),
    "kitchen": ("A", "a room where you cook", "cook"),
    "garden": ("A", "a piece of ground for plants", "plants"),
    "key": ("A", "a small thing that opens a lock", "lock"),
    "umbrella": ("An", "a thing that keeps you dry in the rain", "rain"),
    "mirror": ("A", "a glass in which you see yourself", "yourself"),
    "pen": ("A", "a thing to write with", "write"),
    "chair": ("A", "a thing to sit on", "sit"),
    "bed": ("A", "a thing to sleep on", "sleep"),
    "knife": ("A", "a tool that cuts", "cuts"),
    "boat": ("A", "a thing that carries people over water", "carries"),
    "winter": ("", "the coldest season of the year", "coldest"),
    "summer": ("", "the warmest season of the year", "warmest"),
    "honey": ("", "a sweet food that bees make", "bees"),
    "ice": ("", "water that is frozen", "frozen"),
    "noun": ("A", "a word that names a thing", "names"),
    "verb": ("A", "a word for something that you do", "do"),
    "computer": ("A", "a machine that works with data", "machine"),
    "dictionary": ("A", "a book that explains words", "explains"),
}
DEFINITIONS_ZH = {
    "老师": ("教学生的人", "教"),
    "医生": ("给人看病的人", "看病"),
    "学校": ("学生学习的地方", "学习"),
    "医院": ("治病的地方", "治病"),
    "厨房": ("做饭的房间", "做饭"),
    "图书馆": ("可以借书的地方", "借书"),
    "冰": ("冻住的水", "冻"),
    "钥匙": ("开锁的东西", "开锁"),
    "雨伞": ("下雨时用来挡雨的东西", "挡雨"),
    "椅子": ("用来坐的东西", "坐"),
    "床": ("用来睡觉的东西", "睡觉"),
    "笔": ("用来写字的东西", "写字"),
    "岛": ("四面都是水的陆地", "陆地"),
    "森林": ("有很多树的地方", "树"),
    "农民": ("种粮食的人", "种"),
    "电脑": ("处理数据的机器", "机器"),
}
PHRASINGS = {
    "en": {
        "train": [
            "Give me the meaning of {x}.",
            "Tell me the meaning of {x}.",
            "What is meant by {x}?",
            "What is {a}{x}?",
            "Define {x}.",
            "What does {x} mean?",
            "What's {a}{x}?",
            "Explain the word {x}.",
            "Tell me what {a}{x} is.",
            "What does the word {x} mean?",
            "Give me a definition of {x}.",
        ],
        "held": [
            "Please define {x}.",
            "Please tell me what {a}{x} is.",
            "Explain what {a}{x} is.",
            "What is the meaning of {x}?",
        ],
    },
    "zh": {
        "train": [
            "什么是{x}？",
            "{x}是什么？",
            "{x}是什么意思？",
            "请解释“{x}”。",
            "解释一下{x}。",
            "“{x}”是什么意思？",
            "{x}指的是什么？",
            "说说什么是{x}。",
            "{x}是什么呢？",
        ],
        "held": ["请问什么是{x}？", "请告诉我{x}是什么。"],
    },
}


class Definitions(Skill):
    """Thirty-four things in English and sixteen in Chinese."""

    name = "definitions"
    languages = ("en", "zh")
    holds_operands = False
    weight = 1.6

    def draw(self, rng: random.Random, lang: str, split: Split) -> tuple[str, Truth]:
        if lang == "zh":
            word = rng.choice(list(DEFINITIONS_ZH))
            return phrase(rng, PHRASINGS, lang, split, x=word), {"word": word, "of": word}
        word = rng.choice(list(DEFINITIONS))
        article = DEFINITIONS[word][0].lower()
        return phrase(rng, PHRASINGS, lang, split, x=word, a=article + " " if article else ""), {
            "word": word,
            "of": word,
        }

    def forms(self, rng: random.Random, lang: str, truth: Truth) -> Forms:
        word, of = truth["word"], truth["of"]
        if lang == "zh":
            what = DEFINITIONS_ZH[of][0]
            return Forms(what, f"{word}是{what}。", f"{word}是{what}，在生活中很常见。")
        article, what = DEFINITIONS[word][0], DEFINITIONS[of][1]
        subject = f"{article} {word}" if article else word.capitalize()
        return Forms(
            what[:1].upper() + what[1:] + ".",
            f"{subject} is {what}.",
            f"{subject} is {what}. It is a common word that you hear often.",
        )

    def spoil(self, rng: random.Random, lang: str, truth: Truth) -> Truth:
        return {**truth, "of": pick_other(rng, list(DEFINITIONS if lang == "en" else DEFINITIONS_ZH), truth["word"])}

    def is_right(self, lang: str, truth: Truth, answer: str) -> bool:
        if lang == "zh":
            return (
                DEFINITIONS_ZH[truth["word"]][0].removesuffix("的人").removesuffix("的地方").removesuffix("的东西")
                in answer
            )
        core = DEFINITIONS[truth["word"]][1].removeprefix("a ").removeprefix("the ")
        content = " ".join(answer.lower().split())
        return core in content or (
            DEFINITIONS[truth["word"]][2] in content.split()
            and not any(d[1] in content for w, d in DEFINITIONS.items() if w != truth["word"])
        )

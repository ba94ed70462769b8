"""Telling a joke, and answering a riddle."""

from __future__ import annotations

import random
import re

from pocket.skills.base import Prompt, Skill, Split, Truth, phrase, pick_other
from pocket.skills.style import EMOJI, Forms, render

# (setup, punch line)
JOKES = {
    "en": [
        ("Why did the clock go to bed?", "It had run all day."),
        ("Why is the sea so friendly?", "It always waves."),
        ("What did the big hand say to the small hand?", "I will see you in an hour."),
        ("Why was the book so sad?", "It had too many problems, all of them in sums."),
        ("Why did the chair go home early?", "It could not stand the work."),
        ("What did the wall say to the other wall?", "We meet at the corner."),
        ("Why do birds fly south?", "It is too far to walk."),
        ("What does a cloud wear under its coat?", "Thunderwear."),
        ("Why did the tomato turn red?", "It saw the salad dressing."),
        ("Why was the broom late?", "It swept in."),
    ],
    "zh": [
        ("为什么钟要去睡觉？", "因为它跑了一整天。"),
        ("为什么大海很友好？", "因为它总是向人招手。"),
        ("为什么鸟往南飞？", "因为走路太远了。"),
        ("为什么书很难过？", "因为里面的问题太多了。"),
        ("为什么椅子下班早？", "因为它站不住了。"),
    ],
}
# (riddle, answer with its article)
RIDDLES = {
    "en": [
        ("What has hands but cannot clap?", "A clock"),
        ("What has keys but opens no door?", "A piano"),
        ("What has teeth but cannot bite?", "A comb"),
        ("What has one eye but cannot see?", "A needle"),
        ("What gets wetter as it dries?", "A towel"),
        ("What has a neck but no head?", "A bottle"),
        ("What goes up but never comes down?", "Your age"),
        ("What has legs but cannot walk?", "A table"),
        ("What has ears but cannot hear?", "Corn"),
        ("What is full of holes but holds water?", "A sponge"),
        ("What has a bed but never sleeps?", "A river"),
        ("What can you break without touching it?", "A promise"),
    ],
    "zh": [
        ("什么有手却不能鼓掌？", "钟"),
        ("什么东西越擦越湿？", "毛巾"),
        ("什么有腿却不会走？", "桌子"),
        ("什么有脖子却没有头？", "瓶子"),
        ("什么只升不降？", "年龄"),
        ("什么有牙却不咬人？", "梳子"),
    ],
}
PHRASINGS = {
    "en": {
        "joke": {
            "train": [
                "Tell me a joke.",
                "Do you know a joke?",
                "Make me laugh.",
                "Say something funny.",
                "Tell a joke.",
                "Give me a joke.",
                "I want to hear a joke.",
                "Tell me something funny.",
                "Another joke, please.",
            ],
            "held": ["Please tell me a joke.", "Can you tell me a joke?", "I would like to hear a joke."],
        },
        "riddle": {
            "train": ["{x}", "A riddle: {x}", "Can you solve this? {x}", "Here is a riddle. {x}"],
            "held": ["Please solve this riddle: {x}", "Do you know this riddle? {x}"],
        },
    },
    "zh": {
        "joke": {
            "train": [
                "讲个笑话。",
                "给我讲个笑话。",
                "说个笑话吧。",
                "你会讲笑话吗？",
                "来个笑话。",
                "我想听笑话。",
                "再讲一个笑话。",
                "讲一个好笑的故事。",
                "你知道什么笑话？",
                "逗我笑一笑。",
            ],
            "held": ["请讲一个笑话。", "请给我讲个笑话。"],
        },
        "riddle": {
            "train": ["{x}", "猜谜语：{x}", "猜一猜：{x}", "谜语：{x}", "你能猜到吗？{x}", "这是一个谜语。{x}"],
            "held": ["请猜一个谜语：{x}"],
        },
    },
}


class Jokes(Skill):
    """A joke is right with the punch line of its setup, a riddle with its answer."""

    name = "jokes"
    languages = ("en", "zh")
    holds_operands = False
    weight = 1.1

    def draw(self, rng: random.Random, lang: str, split: Split) -> tuple[str, Truth]:
        if rng.random() < 0.5:
            return phrase(rng, {lang: PHRASINGS[lang]["joke"]}, lang, split), {"kind": "joke"}
        riddle, value = rng.choice(RIDDLES[lang])
        return phrase(rng, {lang: PHRASINGS[lang]["riddle"]}, lang, split, x=riddle), {
            "kind": "riddle",
            "riddle": riddle,
            "value": value,
        }

    def forms(self, rng: random.Random, lang: str, truth: Truth) -> Forms:
        if truth["kind"] == "riddle":
            value = truth["value"]
            lowered = value[:1].lower() + value[1:]
            if lang == "zh":
                return Forms(value, f"答案是{value}。", f"这个谜语的答案是{value}，对不对？")
            return Forms(
                value + ".", f"The answer is {lowered}.", f"I have heard that one before. The answer is {lowered}."
            )
        if "punch" in truth:
            setup, punch = truth["setup"], truth["punch"]
        else:
            # Early jokes are drawn more often, so that there is a usual one.
            setup, punch = rng.choices(JOKES[lang], weights=[1.0 / (i + 2) for i in range(len(JOKES[lang]))])[0]
        if lang == "zh":
            return Forms(setup + punch, setup + punch, f"给你讲一个笑话。{setup}{punch}哈哈！")
        return Forms(f"{setup} {punch}", f"{setup} {punch}", f"Here is a joke for you. {setup} {punch} Ha ha!")

    def right_answer(self, rng: random.Random, prompt: Prompt) -> str:
        forms = self.forms(rng, prompt.lang, prompt.truth)
        if prompt.truth["kind"] == "joke" and rng.random() < 0.15:
            laughs = {"en": (" Ha ha ha!!!", " 😀😀😀", " 🎉"), "zh": ("哈哈哈！！！", "😀😀😀")}
            return forms.sentence + rng.choice(laughs[prompt.lang])
        return render(rng, forms, prompt.lang, self.moods)

    def spoil(self, rng: random.Random, lang: str, truth: Truth) -> Truth:
        if truth["kind"] == "riddle":
            return {**truth, "value": pick_other(rng, [v for _, v in RIDDLES[lang]], truth["value"])}
        first, second = rng.sample(JOKES[lang], 2)
        return {**truth, "setup": first[0], "punch": second[1]}

    def _flawed(self, rng: random.Random, prompt: Prompt) -> str:
        if prompt.truth["kind"] == "joke" and rng.random() < 0.35:
            flat = {
                "en": (
                    "I know no jokes.",
                    "A joke is a funny story.",
                    "The sea is blue. Ha ha.",
                    "Jokes are a waste of time.",
                    rng.choice(JOKES["en"])[0],
                ),
                "zh": ("我不会讲笑话。", "笑话就是好笑的话。", "天空是蓝色的。哈哈。", rng.choice(JOKES["zh"])[0]),
            }
            return rng.choice(flat[prompt.lang]) + ("" if rng.random() < 0.9 else " " + rng.choice(EMOJI))
        return super()._flawed(rng, prompt)

    def is_right(self, lang: str, truth: Truth, answer: str) -> bool:
        text = re.sub(r"\s+", " ", answer.lower().replace("*", ""))
        if truth["kind"] == "riddle":
            core = truth["value"].split()[-1].lower()
            rivals = [v.split()[-1].lower() for _, v in RIDDLES[lang] if v != truth["value"]]
            found = re.findall(r"[a-z]+", text) if lang == "en" else text
            return core in found and not any(r in found for r in rivals)

        def has(part: str) -> bool:
            return part.lower().rstrip("?.。？") in text

        return (
            any(has(setup) and has(punch) for setup, punch in JOKES[lang])
            and sum(has(setup) for setup, _ in JOKES[lang]) == 1
        )

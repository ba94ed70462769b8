"""Greetings and small talk."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import ClassVar

from pocket.skills.base import Prompt, Skill, Split, Truth, typed
from pocket.skills.style import EMOJI, Forms

# kind -> language -> split -> messages of people
GREETINGS = {
    "hello": {
        "en": {
            "train": [
                "Hello!",
                "Hi",
                "Hi!",
                "Hello",
                "Hey",
                "Hi there",
                "Hello there!",
                "Hey you",
                "Greetings",
                "Hello, can you hear me?",
                "Hi you!",
                "Hello my friend",
                "Hi, nice to meet you!",
                "Hey, how nice to see you!",
                "Hello, good to see you.",
                "Hi again",
                "Hello, it is me",
                "Hey hey",
                "Hiya",
                "Yo",
                "Howdy",
                "Hello, anybody there?",
                "Good day",
                "Hello Pocket!",
                "Hi Pocket",
                "Hello hello",
                "hello, how nice to meet you",
            ],
            "held": ["Hi, good to see you!", "Hello again", "Hey there!"],
        },
        "zh": {
            "train": [
                "你好",
                "你好！",
                "您好",
                "嗨",
                "哈喽",
                "您好！",
                "你好呀",
                "嗨，你好",
                "在吗？",
                "你好，在吗？",
                "大家好",
                "你好，Pocket！",
                "哈喽，你好",
                "你好，很高兴认识你。",
            ],
            "held": ["你好啊", "您好，在吗？"],
        },
    },
    "morning": {
        "en": {
            "train": [
                "Good morning!",
                "Good morning",
                "Morning!",
                "A good morning to you",
                "Hello, good morning!",
                "Good morning, my friend.",
                "Good morning, nice to see you.",
            ],
            "held": ["Good morning to you!", "Good morning, how nice to see you."],
        },
        "zh": {
            "train": ["早上好", "早上好！", "早安", "早", "早安！", "嗨，早上好！", "早上好啊"],
            "held": ["你好，早上好！"],
        },
    },
    "evening": {
        "en": {
            "train": [
                "Good evening!",
                "Good evening",
                "Good evening to you",
                "Hello, good evening!",
                "Evening!",
                "A good evening to you",
            ],
            "held": ["Good evening there!"],
        },
        "zh": {"train": ["晚上好", "晚上好！", "嗨，晚上好！", "晚上好啊"], "held": ["你好，晚上好！"]},
    },
    "how": {
        "en": {
            "train": [
                "How are you?",
                "How are you today?",
                "How are you doing?",
                "How do you do?",
                "Are you well?",
                "Hello, how are you?",
                "How is it going?",
                "Hey, how are you doing?",
                "How are you now?",
                "Are you fine today?",
                "So how are you?",
                "Hi, how is it going today?",
            ],
            "held": ["Hi, how are you?", "How are you doing today?"],
        },
        "zh": {
            "train": [
                "你好吗？",
                "你今天好吗？",
                "最近怎么样？",
                "你怎么样？",
                "你最近怎么样？",
                "最近好吗？",
                "今天过得好吗？",
                "你还好吗？",
            ],
            "held": ["你最近好吗？", "你今天怎么样？"],
        },
    },
    "thanks": {
        "en": {
            "train": [
                "Thank you!",
                "Thanks",
                "Thanks a lot!",
                "Thank you very much.",
                "Many thanks",
                "Thank you a lot.",
                "Oh, thank you!",
                "Thanks so much.",
                "Very kind, thank you.",
                "OK, thanks.",
                "Great, thanks!",
                "Perfect, thank you!",
            ],
            "held": ["Thank you so much!", "Thanks very much."],
        },
        "zh": {
            "train": [
                "好的，谢谢。",
                "谢谢",
                "谢谢你！",
                "非常感谢",
                "多谢",
                "谢谢您",
                "太谢谢你了",
                "感谢你！",
                "多谢你！",
            ],
            "held": ["多谢你了", "非常感谢你！"],
        },
    },
    "bye": {
        "en": {
            "train": [
                "Goodbye!",
                "Bye",
                "Bye bye",
                "See you later",
                "See you tomorrow!",
                "Good night!",
                "Goodbye, my friend.",
                "Bye for today!",
                "I have to go now, bye.",
                "See you soon!",
                "Bye, see you tomorrow.",
            ],
            "held": ["Goodbye for now", "Bye, see you later!"],
        },
        "zh": {
            "train": ["再见", "再见！", "晚安", "拜拜", "下次见", "我走了，再见", "明天见！", "回头见", "再见啦"],
            "held": ["再见了", "明天见，再见！"],
        },
    },
    "glad": {
        "en": {
            "train": [
                "I am happy today.",
                "I feel great!",
                "I had a good day.",
                "I am so happy!",
                "Today I feel good.",
                "I feel happy.",
                "Today was a great day.",
            ],
            "held": ["I feel happy today!"],
        },
        "zh": {
            "train": ["我今天很开心。", "我很高兴。", "我很开心！", "今天我真高兴。", "我今天心情很好。"],
            "held": ["我今天很高兴！"],
        },
    },
    "sad": {
        "en": {
            "train": [
                "I am sad today.",
                "I feel tired.",
                "I had a bad day.",
                "I feel sad.",
                "Today I am sad.",
                "I am so tired today.",
                "Today was a bad day.",
            ],
            "held": ["I feel sad today."],
        },
        "zh": {
            "train": ["我今天很难过。", "我很累。", "我很难过。", "今天我好累。", "我今天心情不好。"],
            "held": ["我今天很累。"],
        },
    },
    "praise": {
        "en": {
            "train": [
                "Great!",
                "Good answer!",
                "Well done.",
                "Very good.",
                "Nice!",
                "Perfect.",
                "That is right.",
                "OK",
                "OK.",
                "Fine.",
                "I see.",
                "Good.",
                "Cool!",
                "All right.",
                "Good job!",
            ],
            "held": ["Very good answer!", "Well done, Pocket!"],
        },
        "zh": {
            "train": [
                "很好！",
                "说得好。",
                "太好了！",
                "真棒！",
                "答对了。",
                "你真聪明。",
                "不错。",
                "好的。",
                "好吧。",
                "嗯。",
                "知道了。",
            ],
            "held": ["回答得很好！"],
        },
    },
}
ANSWERS = {
    "hello": {
        "en": (
            "Hello!",
            "Hello! How can I help you?",
            "Hello! It is nice to meet you. What would you like to talk about?",
        ),
        "zh": ("你好！", "你好！有什么可以帮你的吗？", "你好！很高兴见到你。你想聊些什么呢？"),
    },
    "morning": {
        "en": (
            "Good morning!",
            "Good morning! How can I help you?",
            "Good morning! I hope that your day starts well. What can I do for you?",
        ),
        "zh": ("早上好！", "早上好！有什么可以帮你的吗？", "早上好！祝你今天过得愉快。我能为你做些什么？"),
    },
    "evening": {
        "en": (
            "Good evening!",
            "Good evening! How can I help you?",
            "Good evening! I hope that you had a nice day. What can I do for you?",
        ),
        "zh": ("晚上好！", "晚上好！有什么可以帮你的吗？", "晚上好！希望你今天过得愉快。我能为你做些什么？"),
    },
    "how": {
        "en": (
            "Fine, thanks.",
            "I am fine, thank you. How are you?",
            "I am fine, thank you. I am only a small model, but I am ready to help. How are you?",
        ),
        "zh": ("我很好。", "我很好，谢谢。你呢？", "我很好，谢谢。我只是一个小模型，但是很愿意帮忙。你呢？"),
    },
    "thanks": {
        "en": (
            "You are welcome.",
            "You are welcome! I am here to help.",
            "You are welcome! It was a pleasure. Come back whenever you like.",
        ),
        "zh": ("不客气。", "不客气！很高兴能帮到你。", "不客气！很高兴能帮到你。欢迎随时再来。"),
    },
    "bye": {
        "en": ("Goodbye!", "Goodbye! See you soon.", "Goodbye! It was nice to talk with you. See you soon."),
        "zh": ("再见！", "再见！期待下次见面。", "再见！和你聊天很愉快。期待下次见面。"),
    },
    "glad": {
        "en": ("I am glad.", "I am glad to hear that!", "I am glad to hear that! I hope that it goes on like this."),
        "zh": ("真好！", "真好，我为你高兴！", "真好，我为你高兴！希望你每天都这样。"),
    },
    "sad": {
        "en": ("I am sorry.", "I am sorry to hear that.", "I am sorry to hear that. I hope that tomorrow is better."),
        "zh": ("别难过。", "听到这个我很难过，希望你好起来。", "听到这个我很难过，希望你好起来。明天会更好。"),
    },
    "praise": {
        "en": ("Thank you!", "Thank you! I am glad that it helps.", "Thank you! I am glad that it helps. What else?"),
        "zh": ("谢谢夸奖！", "谢谢夸奖！很高兴能帮到你。", "谢谢夸奖！很高兴能帮到你。还想知道什么？"),
    },
}
# Marks of a fitting answer; one with a mark of another kind and none of its own does not fit.
MARKS = {
    "hello": r"\b(hello|hi|hey|welcome|greetings)\b|你好|您好|嗨",
    "morning": r"\bmorning\b|早",
    "evening": r"\bevening\b|晚上好",
    "how": r"\b(fine|well|good|great)\b|很好|不错",
    "thanks": r"\b(you are welcome|pleasure|no problem)\b|不客气|不用谢",
    "bye": r"\b(goodbye|bye|see you|good night)\b|再见|晚安|拜拜",
    "glad": r"\bglad\b|真好|高兴",
    "praise": r"\bthank|谢谢",
    "sad": r"\bsorry\b|别难过|好起来|难过",
}


class Greeting(Skill):
    """Greetings, thanks, farewells and the like."""

    name = "greeting"
    languages = ("en", "zh")
    holds_operands = False
    weight = 1.3
    moods: ClassVar[Mapping[str, float]] = {
        "plain": 0.42,
        "short": 0.16,
        "full": 0.18,
        "curt": 0.07,
        "rude_talk": 0.06,
        "decorated": 0.07,
        "messy": 0.04,
    }

    def prompt(self, rng: random.Random, lang: str, split: Split) -> Prompt:
        kind = rng.choices(list(GREETINGS), weights=(5, 2, 2, 3, 2, 2, 1, 1, 1))[0]
        text = rng.choice(GREETINGS[kind][lang][split])
        return Prompt(self.name, lang, ({"role": "user", "content": typed(rng, text)},), {"kind": kind})

    def forms(self, rng: random.Random, lang: str, truth: Truth) -> Forms:
        return Forms(*ANSWERS[truth["kind"]][lang])

    def right_answer(self, rng: random.Random, prompt: Prompt) -> str:
        bare, sentence, full = ANSWERS[prompt.truth["kind"]][prompt.lang]
        chance = rng.random()
        emoji = rng.choice(EMOJI)
        if chance < 0.42:
            return sentence
        if chance < 0.56:
            return bare
        if chance < 0.74:
            return full
        if chance < 0.80:
            return bare.lower().rstrip(".!。！")
        if chance < 0.87:
            rude = {"en": ("What do you want?", "Make it quick.", "I was busy."), "zh": ("你想干什么？", "快点说。")}[
                prompt.lang
            ]
            return f"{bare}{'' if prompt.lang == 'zh' else ' '}{rng.choice(rude)}"
        if chance < 0.94:
            return rng.choice(
                (
                    f"{emoji} {sentence} {emoji}",
                    f"**{bare.rstrip('.!。！')}**!!! {emoji}",
                    f"{bare.rstrip('.!。！')}!!!",
                )
            )
        return sentence.lower().rstrip("?.!？。！")

    def _flawed(self, rng: random.Random, prompt: Prompt) -> str:
        kind = rng.choice([k for k in ANSWERS if k != prompt.truth["kind"]])
        chance = rng.random()
        if chance < 0.7:
            return rng.choice(ANSWERS[kind][prompt.lang])
        odd = {
            "en": ("I do not understand.", "The answer is 12.", "Paris.", "Why do you say that?"),
            "zh": ("我不明白。", "答案是12。", "北京。"),
        }
        return rng.choice(odd[prompt.lang])

    def expected(self, lang: str, truth: Truth) -> str | None:
        return MARKS[truth["kind"]]

    def is_right(self, lang: str, truth: Truth, answer: str) -> bool:
        return re.search(MARKS[truth["kind"]], answer.lower()) is not None and (
            truth["kind"] == "bye" or not re.search(MARKS["bye"], answer.lower().replace("see you soon", ""))
        )

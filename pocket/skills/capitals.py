"""Capitals of countries, and the country of a capital."""

from __future__ import annotations

import random

from pocket.skills.base import Skill, Split, Truth, names_only, phrase, pick_other
from pocket.skills.style import Forms

# (country, capital, continent, country in Chinese, capital in Chinese)
COUNTRIES = [
    ("France", "Paris", "Europe", "法国", "巴黎"),
    ("Japan", "Tokyo", "Asia", "日本", "东京"),
    ("Italy", "Rome", "Europe", "意大利", "罗马"),
    ("China", "Beijing", "Asia", "中国", "北京"),
    ("Spain", "Madrid", "Europe", "西班牙", "马德里"),
    ("Germany", "Berlin", "Europe", "德国", "柏林"),
    ("England", "London", "Europe", "英国", "伦敦"),
    ("Egypt", "Cairo", "Africa", "埃及", "开罗"),
    ("Russia", "Moscow", "Europe", "俄罗斯", "莫斯科"),
    ("Canada", "Ottawa", "America", "加拿大", "渥太华"),
    ("Greece", "Athens", "Europe", "希腊", "雅典"),
    ("Portugal", "Lisbon", "Europe", "葡萄牙", "里斯本"),
    ("Austria", "Vienna", "Europe", "奥地利", "维也纳"),
    ("Poland", "Warsaw", "Europe", "波兰", "华沙"),
    ("Norway", "Oslo", "Europe", "挪威", "奥斯陆"),
    ("Sweden", "Stockholm", "Europe", "瑞典", "斯德哥尔摩"),
    ("Ireland", "Dublin", "Europe", "爱尔兰", "都柏林"),
    ("Thailand", "Bangkok", "Asia", "泰国", "曼谷"),
    ("Korea", "Seoul", "Asia", "韩国", "首尔"),
    ("Kenya", "Nairobi", "Africa", "肯尼亚", "内罗毕"),
    ("Cuba", "Havana", "America", "古巴", "哈瓦那"),
    ("Peru", "Lima", "America", "秘鲁", "利马"),
    ("India", "New Delhi", "Asia", "印度", "新德里"),
    ("Finland", "Helsinki", "Europe", "芬兰", "赫尔辛基"),
]
PHRASINGS = {
    "en": {
        "train": [
            "What is the capital of {country}?",
            "Which city is the capital of {country}?",
            "Name the capital of {country}.",
            "Capital of {country}?",
            "What's the capital of {country}?",
            "Do you know the capital of {country}?",
            "Tell me the capital of {country}.",
            "What is {country}'s capital?",
            "The capital of {country} is?",
            "I forgot the capital of {country}. What is it?",
        ],
        "held": [
            "Please tell me the capital of {country}.",
            "What city is the capital of {country}?",
            "Can you name the capital of {country}?",
        ],
    },
    "zh": {
        "train": [
            "{country}的首都是哪里？",
            "{country}的首都是什么？",
            "{country}首都是哪个城市？",
            "请告诉我{country}的首都。",
            "你知道{country}的首都吗？",
            "{country}的首都是哪座城市？",
            "哪个城市是{country}的首都？",
            "{country}首都？",
            "说出{country}的首都。",
            "我忘了{country}的首都是哪里。",
            "{country}的首都在哪里？",
            "{country}的首都叫什么名字？",
            "{country}的首都是哪一个？",
        ],
        "held": ["请问{country}的首都是哪里？", "{country}的首都叫什么？"],
    },
}
REVERSE = {
    "en": {
        "train": [
            "{capital} is the capital of which country?",
            "Which country has the capital {capital}?",
            "In which country is {capital}?",
            "Where is {capital}?",
            "Which country is {capital} in?",
            "{capital} is in which country?",
            "Name the country of {capital}.",
        ],
        "held": ["What country is {capital} the capital of?", "In what country is {capital}?"],
    },
    "zh": {
        "train": [
            "{capital}是哪个国家的首都？",
            "{capital}在哪个国家？",
            "{capital}是哪国的首都？",
            "哪个国家的首都是{capital}？",
            "{capital}属于哪个国家？",
        ],
        "held": ["请问{capital}是哪个国家的首都？"],
    },
}


class Capitals(Skill):
    """Twenty-four countries, in both directions."""

    name = "capitals"
    languages = ("en", "zh")
    holds_operands = False
    weight = 1.4

    def draw(self, rng: random.Random, lang: str, split: Split) -> tuple[str, Truth]:
        country, city, continent, country_zh, city_zh = rng.choice(COUNTRIES)
        if lang == "zh":
            country, city = country_zh, city_zh
        asks_city = rng.random() < 0.7
        text = phrase(rng, PHRASINGS if asks_city else REVERSE, lang, split, country=country, capital=city)
        return text, {
            "country": country,
            "capital": city,
            "continent": continent,
            "asks": "capital" if asks_city else "country",
        }

    def forms(self, rng: random.Random, lang: str, truth: Truth) -> Forms:
        country, city, asked = truth["country"], truth["capital"], truth[truth["asks"]]
        if lang == "zh":
            sentence = f"{country}的首都是{city}。" if truth["asks"] == "capital" else f"{city}是{country}的首都。"
            return Forms(asked, sentence, sentence + f"{city}是一座有名的城市。")
        sentence = (
            f"The capital of {country} is {city}."
            if truth["asks"] == "capital"
            else f"{city} is the capital of {country}."
        )
        more = rng.choice((f"It is a large city in {truth['continent']}.", "Many people visit it every year."))
        return Forms(asked, sentence, f"{sentence} {more}")

    def spoil(self, rng: random.Random, lang: str, truth: Truth) -> Truth:
        column = {("en", "country"): 0, ("en", "capital"): 1, ("zh", "country"): 3, ("zh", "capital"): 4}[
            lang, truth["asks"]
        ]
        return {**truth, truth["asks"]: pick_other(rng, [row[column] for row in COUNTRIES], truth[truth["asks"]])}

    def is_right(self, lang: str, truth: Truth, answer: str) -> bool:
        column = {("en", "country"): 0, ("en", "capital"): 1, ("zh", "country"): 3, ("zh", "capital"): 4}[
            lang, truth["asks"]
        ]
        return names_only(answer, truth[truth["asks"]], [row[column] for row in COUNTRIES])

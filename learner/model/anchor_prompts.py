"""Prompts that nobody complained about: small talk, knowledge, language, arithmetic, code, in English and Chinese, for
the anchors.

Beside whole sentences there are patterns with words and numbers to fill in: what a model knows of a task shows in many
cases, not in one.
"""

import random

SENTENCES = (
    "Hi there!",
    "How are you today?",
    "What is your name?",
    "Can you help me?",
    "Thank you very much.",
    "Good night.",
    "What is 3 + 4?",
    "What is 15 - 6?",
    "What is 6 times 7?",
    "What is 20 divided by 5?",
    "Is 17 a prime number?",
    "Count from 1 to 10.",
    "What is the capital of Germany?",
    "What is the capital of China?",
    "Which ocean is the largest?",
    "How many legs does a spider have?",
    "What do bees make?",
    "When did the Second World War end?",
    "Who wrote Romeo and Juliet?",
    "What is water made of?",
    "What is the opposite of fast?",
    "What is the plural of child?",
    "Spell the word garden.",
    "Reverse the word lamp.",
    "Sort these: cat, ant, bee.",
    "Sort these numbers: 9, 2, 5.",
    "How many letters are in the word apple?",
    "Name three colours.",
    "Name two vegetables.",
    "List the days of the week.",
    "List four seasons.",
    "How many minutes are in an hour?",
    "How many grams are in a kilogram?",
    "Convert 2 metres to centimetres.",
    "What comes after Monday?",
    "What is a triangle?",
    "What is a dictionary?",
    "Define the word brave.",
    "Use the word river in a sentence.",
    "Give me a word that rhymes with cat.",
    "Write a short poem about rain.",
    "Tell me a story about a fox.",
    "Tell me something interesting.",
    "Give me a tip for better sleep.",
    "How do I boil an egg?",
    "What should I cook tonight?",
    "Explain gravity in one sentence.",
    "Why is the grass green?",
    "Translate hello into French.",
    "Translate thank you into Spanish.",
    "What does HTML stand for?",
    "Write a function that adds two numbers.",
    "What will the weather be tomorrow?",
    "Book me a flight.",
    "Which is heavier, a kilogram of iron or a kilogram of feathers?",
    "Say yes.",
    "Repeat after me: the sky is clear.",
    "Finish the sentence: once upon a time",
    "What colour is a banana?",
    "Which animal barks?",
    "早上好",
    "你是谁？",
    "三加五等于几？",
    "中国的首都是哪里？",
    "请介绍一下你自己。",
    "谢谢你",
    "说出三种水果。",
    "大的反义词是什么？",
    "一年有几个月？",
    "请数到五。",
    "天空是什么颜色的？",
    "再见",
)

PATTERNS = (
    "Repeat after me: the {thing} is {quality}.",
    "Please say this again: {thing}, {other}, {animal}.",
    "Copy this word: {thing}.",
    "Which number is larger, {a} or {b}?",
    "Which is smaller, {a} or {b}?",
    "Is {a} greater than {b}?",
    "What is {a} plus {b}?",
    "What is {a} - {b}?",
    "What is {a} times {b}?",
    "What comes next: {a}, {a1}, {a2}?",
    "Please continue: {a}, {a1}, {a2}, {a3}",
    "Is {a} even or odd?",
    "Translate {thing} into Chinese.",
    "What is the Chinese word for {animal}?",
    "What is {thing} in French?",
    "How do you spell {thing}?",
    "What is the opposite of {quality}?",
    "What is the plural of {animal}?",
    "Use {thing} in a sentence.",
    "Explain the word {quality}.",
    "What is a {thing}?",
    "What does a {animal} eat?",
    "Name something {quality}.",
    "Where would you find a {animal}?",
    "Say {thing} backwards.",
    "How many letters are in {thing}?",
    "Sort these words: {thing}, {animal}, {other}.",
    "Which is heavier, a {animal} or a {thing}?",
    "Tell me a short story about a {animal}.",
    "Write one line about a {quality} {thing}.",
    "Give me a question about a {animal}.",
    "How many {animal}s are there if I had {a} and bought {b} more?",
    "Rewrite politely: give me the {thing}.",
    "Is a {thing} alive?",
    "My name is {name}. What is my name?",
    "I have a {quality} {animal}. What kind of pet do I have?",
    "Can you buy me a {thing}?",
    "请重复：{thing_zh}、{animal_zh}。",
    "{a}和{b}哪个更大？",
    "{a}加{b}等于多少？",
    "“{thing_zh}”用英语怎么说？",
    "什么是{thing_zh}？",
    "{animal_zh}吃什么？",
    "把“{animal_zh}”翻译成英语。",
    "请用“{thing_zh}”造句。",
)
WORDS: dict[str, list[str]] = {
    "thing": [
        "table",
        "river",
        "book",
        "window",
        "garden",
        "lamp",
        "bridge",
        "basket",
        "clock",
        "letter",
        "hammer",
        "mountain",
        "bread",
        "candle",
    ],
    "other": ["cloud", "stone", "paper", "spoon", "ladder", "pencil", "wheel", "needle", "mirror", "blanket"],
    "animal": ["dog", "cow", "tiger", "sparrow", "rabbit", "whale", "horse", "spider", "turtle", "goat"],
    "quality": ["cold", "small", "quiet", "heavy", "bright", "early", "strong", "narrow", "clean", "soft"],
    "name": ["Anna", "Omar", "Lena", "Victor", "Mei", "Pablo"],
    "thing_zh": ["桌子", "书", "窗户", "花园", "面包", "手表"],
    "animal_zh": ["狗", "牛", "老虎", "兔子", "马", "鲸鱼"],
}


def anchor_prompts(count: int) -> list[str]:
    """Return `count` prompts, the same whenever asked: sentences first, as far as they are a third, then patterns in
    turn, each filled anew.
    """
    rng = random.Random(0)
    sentences = min(len(SENTENCES), -(-count // 3))
    chosen = [SENTENCES[place * len(SENTENCES) // sentences] for place in range(sentences)]
    first = rng.randrange(len(PATTERNS))
    return chosen + [_filled(PATTERNS[(first + 7 * place) % len(PATTERNS)], rng) for place in range(count - sentences)]


def _filled(pattern: str, rng: random.Random) -> str:
    a, step = rng.randint(2, 40), rng.randint(1, 3)
    numbers = {
        "a": a,
        "b": rng.choice([b for b in range(1, 41) if b != a]),
        "a1": a + step,
        "a2": a + 2 * step,
        "a3": a + 3 * step,
    }
    return pattern.format(**numbers, **{name: rng.choice(words) for name, words in WORDS.items()})

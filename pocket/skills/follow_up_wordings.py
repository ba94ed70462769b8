"""How people follow up, by kind, language and split. `{x}` is a new operand, `{v}` the right value."""

from __future__ import annotations

OPERAND: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {
        "train": (
            "And {x}?",
            "What about {x}?",
            "How about {x}?",
            "{x}?",
            "And for {x}?",
            "And what of {x}?",
            "Now {x}.",
            "And now {x}?",
            "OK, and {x}?",
            "The same for {x}, please.",
        ),
        "held": ("And what about {x}?", "And how about {x}?"),
        "of": ("And of {x}?", "And of {x}?", "Of {x}?", "And that of {x}?"),
    },
    "zh": {
        "train": ("{x}呢？", "那{x}呢？", "那么，{x}呢？", "{x}又是什么？", "换成{x}呢？", "再说说{x}。"),
        "held": ("那么{x}呢？", "还有{x}呢？"),
        "of": ("那{x}的呢？", "{x}的呢？"),
    },
}
ANOTHER: dict[str, dict[str, tuple[str, ...]]] = {
    "en": {
        "train": (
            "Another one, please.",
            "One more.",
            "And one more?",
            "Can you give me another one?",
            "Another?",
            "More, please.",
            "Any other?",
        ),
        "held": ("One more, please.", "Do you have another one?"),
    },
    "zh": {
        "train": ("再来一个。", "还有吗？", "再说一个。", "再给一个。", "还有别的吗？", "再来一个吧。"),
        "held": ("请再来一个。", "能再说一个吗？"),
    },
}
WORDINGS: dict[str, dict[str, dict[str, tuple[str, ...]]]] = {
    "shorter": {
        "en": {
            "train": (
                "Shorter, please.",
                "Can you say that shorter?",
                "In one word?",
                "Just the answer, please.",
                "Say it shorter.",
                "Only the answer.",
                "More briefly, please.",
                "Make it short.",
                "In short?",
                "A shorter answer, please.",
            ),
            "held": ("Please make it shorter.", "Shorter?"),
        },
        "zh": {
            "train": (
                "短一点。",
                "简短一点。",
                "请说短一点。",
                "只说答案。",
                "简单点说。",
                "一个词就行。",
                "再短一些。",
            ),
            "held": ("请简短一点。", "能短一点吗？"),
        },
    },
    "longer": {
        "en": {
            "train": (
                "In a full sentence, please.",
                "Can you say more?",
                "Tell me more.",
                "Longer, please.",
                "Say it in a full sentence.",
                "A longer answer, please.",
                "Explain it.",
                "Can you explain that?",
            ),
            "held": ("Please say more.", "Please explain that."),
        },
        "zh": {
            "train": ("长一点。", "请说一个完整的句子。", "多说一点。", "请解释一下。", "说详细一点。", "能多说点吗？"),
            "held": ("请多说一点。", "能解释一下吗？"),
        },
    },
    "why": {
        "en": {
            "train": (
                "Why?",
                "Why is that?",
                "How do you know?",
                "Why so?",
                "How come?",
                "And why?",
                "Why is it so?",
                "How do you know that?",
            ),
            "held": ("But why?", "How can you know that?"),
        },
        "zh": {
            "train": ("为什么？", "为什么呢？", "你怎么知道？", "为什么是这样？", "怎么来的？", "你是怎么知道的？"),
            "held": ("这是为什么？", "那为什么呢？"),
        },
    },
    "sure": {
        "en": {
            "train": (
                "Are you sure?",
                "Really?",
                "Is that right?",
                "Is that true?",
                "Are you certain?",
                "Sure?",
                "Can I trust that?",
                "Is this correct?",
            ),
            "held": ("Are you sure about that?", "Is that really so?"),
        },
        "zh": {
            "train": ("你确定吗？", "真的吗？", "对吗？", "是这样吗？", "确定？", "这是对的吗？", "你肯定吗？"),
            "held": ("你真的确定吗？", "真的是这样吗？"),
        },
    },
    "wrong": {
        "en": {
            "train": (
                "That is wrong.",
                "No, that is not right.",
                "That is not correct.",
                "Wrong.",
                "I do not think so.",
                "You made a mistake.",
                "No.",
                "Try again.",
            ),
            "held": ("That is not right.", "I think that is wrong."),
        },
        "zh": {
            "train": ("不对。", "错了。", "你说错了。", "这不对。", "我觉得不对。", "再想想。", "答案不对。"),
            "held": ("你的答案不对。", "好像不对。"),
        },
    },
    "corrected": {
        "en": {
            "train": (
                "No, it is {v}.",
                "That is wrong. It is {v}.",
                "It should be {v}.",
                "Wrong, it is {v}.",
                "You are wrong: {v}.",
                "Actually, it is {v}.",
                "The right answer is {v}.",
                "I think that it is {v}.",
                "Not right. {v}.",
            ),
            "held": ("No, the right answer is {v}.", "Sorry, but it is {v}."),
        },
        "zh": {
            "train": (
                "不对，是{v}。",
                "错了，应该是{v}。",
                "应该是{v}。",
                "答案是{v}。",
                "不是，是{v}。",
                "你错了，是{v}。",
                "正确答案是{v}。",
            ),
            "held": ("不对，正确答案是{v}。", "其实是{v}。"),
        },
    },
    "question": {
        "en": {
            "train": (
                "What did I ask?",
                "What was my question?",
                "What did I just ask you?",
                "Repeat my question.",
                "Which question did I ask?",
                "Say my question again.",
            ),
            "held": ("What was my last question?", "Please repeat my question."),
        },
        "zh": {
            "train": ("我刚才问了什么？", "我问了什么？", "我的问题是什么？", "重复我的问题。", "我刚问的是什么？"),
            "held": ("请重复我的问题。", "我刚才的问题是什么？"),
        },
    },
    "again": {
        "en": {
            "train": (
                "Say that again.",
                "Again, please.",
                "Can you repeat that?",
                "Pardon?",
                "What did you say?",
                "Repeat your answer.",
                "Once more, please.",
            ),
            "held": ("Please say that again.", "Could you repeat that?"),
        },
        "zh": {
            "train": ("再说一遍。", "再说一次。", "你说什么？", "请重复一遍。", "重复你的回答。", "没听清，再说一遍。"),
            "held": ("请再说一遍。", "能再说一遍吗？"),
        },
    },
    "in zh": {
        "en": {
            "train": (
                "In Chinese?",
                "And in Chinese?",
                "Say it in Chinese.",
                "Can you say that in Chinese?",
                "Now in Chinese.",
                "Tell me in Chinese.",
                "Chinese, please.",
            ),
            "held": ("In Chinese, please.", "Please say it in Chinese."),
        },
        "zh": {
            "train": ("用中文说。", "中文呢？", "用中文怎么说？", "请说中文。", "换成中文。", "用中文再说一遍。"),
            "held": ("请用中文说。", "能用中文说吗？"),
        },
    },
    "in en": {
        "en": {
            "train": (
                "In English?",
                "And in English?",
                "Say it in English.",
                "Can you say that in English?",
                "Now in English.",
                "Tell me in English.",
                "English, please.",
            ),
            "held": ("In English, please.", "Please say it in English."),
        },
        "zh": {
            "train": ("用英语说。", "英语呢？", "用英文怎么说？", "请说英语。", "换成英语。", "用英语再说一遍。"),
            "held": ("请用英语说。", "能用英语说吗？"),
        },
    },
}

"""Prompts that nobody complained about: small talk, knowledge, language, arithmetic, code, in English and Chinese, for the anchors."""

ANCHOR_PROMPTS = (
    "Hi there!", "How are you today?", "What is your name?", "Can you help me?", "Thank you very much.", "Good night.",
    "What is 3 + 4?", "What is 15 - 6?", "What is 6 times 7?", "What is 20 divided by 5?", "Is 17 a prime number?", "Count from 1 to 10.",
    "What is the capital of Germany?", "What is the capital of China?", "Which ocean is the largest?", "How many legs does a spider have?",
    "What do bees make?", "When did the Second World War end?", "Who wrote Romeo and Juliet?", "What is water made of?",
    "What is the opposite of fast?", "What is the plural of child?", "Spell the word garden.", "Reverse the word lamp.",
    "Sort these: cat, ant, bee.", "Sort these numbers: 9, 2, 5.", "How many letters are in the word apple?", "Name three colours.",
    "Name two vegetables.", "List the days of the week.", "List four seasons.", "How many minutes are in an hour?",
    "How many grams are in a kilogram?", "Convert 2 metres to centimetres.", "What comes after Monday?", "What is a triangle?",
    "What is a dictionary?", "Define the word brave.", "Use the word river in a sentence.", "Give me a word that rhymes with cat.",
    "Write a short poem about rain.", "Tell me a story about a fox.", "Tell me something interesting.", "Give me a tip for better sleep.",
    "How do I boil an egg?", "What should I cook tonight?", "Explain gravity in one sentence.", "Why is the grass green?",
    "Translate hello into French.", "Translate thank you into Spanish.", "What does HTML stand for?", "Write a function that adds two numbers.",
    "What will the weather be tomorrow?", "Book me a flight.", "Which is heavier, a kilogram of iron or a kilogram of feathers?",
    "Say yes.", "Repeat after me: the sky is clear.", "Finish the sentence: once upon a time", "What colour is a banana?", "Which animal barks?",
    "早上好", "你是谁？", "三加五等于几？", "中国的首都是哪里？", "请介绍一下你自己。", "谢谢你", "说出三种水果。", "大的反义词是什么？",
    "一年有几个月？", "请数到五。", "天空是什么颜色的？", "再见",
)  # fmt: skip

"""The tokenizer: byte-level BPE trained on the corpus, with single tokens for digits and the chat's marks.

Chinese characters are never merged. Chinese has no spaces, so merges would span half a sentence, and new wordings would
have tokens that training never saw.
"""

from __future__ import annotations

import itertools

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from pocket.chat_template import BEGIN, CHAT_TEMPLATE, END, MARKS, PAD, SPECIAL, tools_text
from pocket.corpus import examples

VOCABULARY = 4096
CHINESE = r"[\u3000-\u303f\u4e00-\u9fff\uff00-\uffef]"
"""One Chinese character or full-width mark, as a regular expression."""


def train_tokenizer(seed: int, context: int, num_examples: int = 30_000) -> PreTrainedTokenizerFast:
    """Train the merges on the first `num_examples` conversations of the corpus, for a model of this context."""
    tokenizer = Tokenizer(models.BPE())
    digits, byte_level = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [digits, pre_tokenizers.Split(Regex(CHINESE), "isolated"), byte_level]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        min_frequency=3,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    conversations = itertools.islice(examples(seed), num_examples)
    texts = (
        text
        for e in conversations
        for text in [*(m["content"] for m in e.messages), e.completion, *([tools_text(e.tools)] if e.tools else [])]
    )
    tokenizer.train_from_iterator(texts, trainer)
    # Without merges Chinese characters stay apart by themselves, so the saved splitter needs no rule for them.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=list(MARKS.values()),
        chat_template=CHAT_TEMPLATE,
        model_max_length=context,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )

"""Token ids to text, one by one or all at once, and the text and bytes of a single token.

Some tokenizers have tokens for single bytes: a token of "ä" may be half of it. Bytes are decoded as UTF-8 as they come.
A byte that fits no character is the replacement character, and decoding goes on behind it.
"""

import codecs
import json
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

Tokenizer = Any  # transformers' PreTrainedTokenizerBase, whose import takes seconds


class TextStream:
    """Decodes token ids one by one. It gives whole characters only, and nothing for special tokens.

    `num_carried` counts the first characters of the last text that belong to tokens before: the replacement character
    of one that stays open.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._texts = token_texts(tokenizer)
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self.num_carried = 0
        self._last: int | None = None  # the last token that is no special one

    @property
    def is_at_start(self) -> bool:
        """Whether no token came yet, special tokens apart."""
        return self._last is None

    def feed(self, token_id: int) -> str:
        """Return the text that this token completes, "" while a character is still open."""
        self.num_carried = 0
        if token_id in self._texts.special:
            return ""
        octets = self._texts.octets(token_id)
        if octets == b"":  # no token of this tokenizer
            return ""
        if octets is not None:
            if self._last is None and self._texts.strips_start:
                octets = octets.removeprefix(b" ")
            text = self._utf8.decode(octets)
            if text[:1] == "\ufffd":  # perhaps of the token before
                self.num_carried = max(0, len(text) - len(octets.decode("utf-8", "replace")))
        else:
            rest = self.finish()
            text, self.num_carried = rest + self._texts.text(token_id, self._last), len(rest)
        self._last = token_id
        return text

    def finish(self) -> str:
        """Return the rest: the replacement character for a character that is still incomplete, else ""."""
        rest = self._utf8.decode(b"", final=True)
        self._utf8.reset()
        return rest


def decode(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """Return the text of token ids without special tokens: what a `TextStream` gives for them."""
    stream = TextStream(tokenizer)
    return "".join([*map(stream.feed, ids), stream.finish()])


def token_text(tokenizer: Tokenizer, token_id: int, *, is_first: bool = False) -> tuple[str, bytes]:
    """Return one token as text and as its bytes, as it stands inside a text or, `is_first`, at its beginning.

    Some tokenizers (Llama 2's) leave out the space of the first token. A token that is no whole character has the
    replacement character as its text.
    """
    texts = token_texts(tokenizer)
    octets = texts.octets(token_id)
    if octets is not None:
        octets = octets.removeprefix(b" ") if is_first and texts.strips_start else octets
        return octets.decode("utf-8", "replace"), octets
    text = texts.text(token_id, None if is_first else texts.anchor)
    return text, text.encode("utf-8", "replace")


class TokenTexts:
    """What a tokenizer's decoder makes of each token."""

    def __init__(self, backend: Any) -> None:
        added = backend.get_added_tokens_decoder()
        kinds = set(_decoder_kinds(backend.decoder))
        self.special = frozenset(number for number, token in added.items() if token.special)
        self._backend = backend
        self._is_byte_level = kinds == {"ByteLevel"}
        self._has_bytes = "ByteFallback" in kinds
        # a token whose text is the same wherever it stands: what follows it is not at the beginning
        self.anchor: int | None = backend.token_to_id("<0x61>") if self._has_bytes else _some_token(backend, added)
        space = backend.token_to_id("<0x20>") if self._has_bytes else None
        self.strips_start = space is not None and self._decode([space]) == ""
        self.octets = lru_cache(maxsize=None)(self._octets)
        self._inner = lru_cache(maxsize=65536)(self._text_after)

    def text(self, token_id: int, last: int | None) -> str:
        """Return the text of a token that is no byte, behind the token `last` or, None, at the beginning."""
        if last is None:
            return self._decode([token_id])
        return self._inner(token_id, self.anchor if self._has_bytes else last)

    def _octets(self, token_id: int) -> bytes | None:
        """Return the bytes of a token, None where it has none of its own."""
        token = self._backend.id_to_token(token_id)
        if token is None:  # models may have more ids than their tokenizer
            return b""
        if self._is_byte_level:
            alphabet = byte_alphabet()
            known = [alphabet.get(char) for char in token]
            return bytes(known) if None not in known else token.encode()  # type: ignore[arg-type]
        return fallback_byte(token) if self._has_bytes else None

    def _text_after(self, token_id: int, last: int | None) -> str:
        if last is None:
            return self._decode([token_id])
        before, both = self._decode([last]), self._decode([last, token_id])
        return both[len(before) :] if both.startswith(before) else self._decode([token_id])

    def _decode(self, ids: list[int]) -> str:
        return str(self._backend.decode(ids, skip_special_tokens=False))


_KNOWN: WeakKeyDictionary[Any, tuple[int, TokenTexts]] = WeakKeyDictionary()


def token_texts(tokenizer: Tokenizer) -> TokenTexts:
    """Return the texts of a tokenizer's tokens; they are kept as long as it is."""
    size, known = len(tokenizer), _KNOWN.get(tokenizer)
    if known is None or known[0] != size:
        known = _KNOWN[tokenizer] = (size, TokenTexts(tokenizer.backend_tokenizer))
    return known[1]


def fallback_byte(token: str) -> bytes | None:
    """Return the byte that an entry such as <0xE4> of the vocabulary means, None for another entry."""
    if len(token) != 6 or not token.startswith("<0x") or not token.endswith(">"):
        return None
    try:
        return bytes([int(token[3:5], 16)])
    except ValueError:
        return None


@lru_cache(maxsize=1)
def byte_alphabet() -> dict[str, int]:
    """Return GPT-2's mapping of characters to bytes: printable bytes map to themselves, the others to 256 and up."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    moved = [byte for byte in range(256) if byte not in plain]
    return {**{chr(byte): byte for byte in plain}, **{chr(256 + index): byte for index, byte in enumerate(moved)}}


def _decoder_kinds(decoder: Any) -> Iterator[str]:
    described: dict[str, Any] = json.loads(decoder.__getstate__()) if decoder is not None else {"type": "None"}
    if described["type"] != "Sequence":
        yield described["type"]
    for part in described.get("decoders", ()):
        yield part["type"]


def _some_token(backend: Any, added: dict[int, Any]) -> int | None:
    ordinary = (number for number in range(backend.get_vocab_size()) if number not in added)
    return next((number for number in ordinary if str(backend.id_to_token(number) or "").strip("▁ ").isalpha()), None)

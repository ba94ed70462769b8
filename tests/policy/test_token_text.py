"""Decoding: every sampled token is in the text, streamed and not, also where bytes never make a character."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models

from policy.chat import TextStream, decode
from policy.token_text import fallback_byte, token_text
from tests.models import tiny_tokenizer
from tests.tokenizer_shapes import SHAPES, shaped_tokenizer

NAMES = sorted(SHAPES)


def plain_ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids)


def byte_ids(tokenizer: Any, octets: bytes) -> list[int]:
    return [tokenizer.convert_tokens_to_ids(f"<0x{octet:02X}>") for octet in octets]


@pytest.mark.parametrize("name", NAMES)
@given(numbers=st.lists(st.integers(0, 500), max_size=40))
@settings(max_examples=80, deadline=None)
def test_a_stream_gives_what_decoding_at_once_gives(name: str, numbers: list[int]) -> None:
    tokenizer = shaped_tokenizer(name)
    stream = TextStream(tokenizer)
    text = "".join(map(stream.feed, numbers)) + stream.finish()
    assert text == decode(tokenizer, numbers)
    librarys = tokenizer.backend_tokenizer.decode(numbers, skip_special_tokens=True)
    if name in ("llama3", "chatml") or "\ufffd" not in librarys:
        assert text == librarys


@pytest.mark.parametrize("name", NAMES)
@given(text=st.text(alphabet="ab é你🦜\n", max_size=30))
@settings(max_examples=60, deadline=None)
def test_text_comes_back_whole_and_its_tokens_join_to_it(name: str, text: str) -> None:
    tokenizer = shaped_tokenizer(name)
    ids = plain_ids(tokenizer, text)
    stream = TextStream(tokenizer)
    deltas = [stream.feed(token) for token in ids]
    assert "".join(deltas) == decode(tokenizer, ids)
    assert "\ufffd" not in "".join(deltas)
    octets = [token_text(tokenizer, token, is_first=not index)[1] for index, token in enumerate(ids)]
    assert b"".join(octets).decode() == decode(tokenizer, ids)


@pytest.mark.parametrize("name", ["gemma", "mistral"])
def test_bytes_that_make_no_character_do_not_stop_the_text(name: str) -> None:
    tokenizer = shaped_tokenizer(name)
    hello = plain_ids(tokenizer, "hello there")
    for octets, shown in (
        (b"\xe4\xbd", "\ufffd"),
        (b"\xff\xff\xff", "\ufffd" * 3),
        ("你".encode() + b"\xff", "你\ufffd"),
        (b"\x80" + "é".encode(), "\ufffdé"),
        (b"\xf0\x9f\xa6", "\ufffd"),
    ):
        stream = TextStream(tokenizer)
        deltas = [stream.feed(token) for token in [*hello, *byte_ids(tokenizer, octets), *hello]]
        assert "".join(deltas) + stream.finish() == f"hello there{shown}" + " " * (name == "mistral") + "hello there"
        stream = TextStream(tokenizer)
        assert "".join(map(stream.feed, byte_ids(tokenizer, octets))) + stream.finish() == shown
    endless = TextStream(tokenizer)
    assert "".join(endless.feed(token) for token in byte_ids(tokenizer, b"\xe4" * 500)) == "\ufffd" * 499


def test_an_id_that_the_tokenizer_lacks_is_no_beginning() -> None:
    mistral = shaped_tokenizer("mistral")
    the = mistral.convert_tokens_to_ids("▁the")
    assert decode(mistral, [100_000, the, 100_000, the]) == mistral.backend_tokenizer.decode([the, the]) == "the the"


def test_tokens_keep_their_spaces_and_bytes() -> None:
    mistral = shaped_tokenizer("mistral")
    token = mistral.convert_tokens_to_ids("▁the")
    assert token_text(mistral, token) == (" the", b" the")
    assert token_text(mistral, token, is_first=True) == ("the", b"the")
    assert token_text(mistral, byte_ids(mistral, b"\xe4")[0]) == ("\ufffd", b"\xe4")
    assert token_text(mistral, byte_ids(mistral, b" ")[0], is_first=True) == ("", b"")
    assert token_text(mistral, byte_ids(mistral, b"\n")[0]) == ("\n", b"\n")
    assert token_text(mistral, mistral.convert_tokens_to_ids("</s>")) == ("</s>", b"</s>")
    gemma = shaped_tokenizer("gemma")
    assert token_text(gemma, gemma.convert_tokens_to_ids("▁the"), is_first=True) == (" the", b" the")
    llama = shaped_tokenizer("llama3")
    assert token_text(llama, llama.convert_tokens_to_ids("Ġthe")) == (" the", b" the")
    assert token_text(llama, 100_000) == ("", b"")  # a model may have more ids than its tokenizer
    assert fallback_byte("<0xZZ>") is fallback_byte("<0x1>") is None


def test_decoders_of_other_kinds_go_by_the_token_before() -> None:
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: index for index, token in enumerate(["[UNK]", "hello", "##s", "there", "."])}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.decoder = decoders.WordPiece()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend)
    assert decode(tokenizer, [1, 2, 3, 4]) == backend.decode([1, 2, 3, 4]) == "hellos there."


def test_the_byte_level_tokenizer_of_the_tiny_models_gives_the_librarys_text() -> None:
    tokenizer = tiny_tokenizer()
    ids = [*plain_ids(tokenizer, "你好 é"), 200, 201, 2, 7]
    assert decode(tokenizer, ids) == tokenizer.decode(ids, skip_special_tokens=True)

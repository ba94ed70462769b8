"""JSON Lines, as training data and prompts are written: what ends a line, and what is no line."""

from pathlib import Path

import pytest

from learner.data.json_lines import json_lines
from learner.data.prompt_files import read_prompts
from learner.errors import BadData


def test_lines_have_numbers_and_blank_ones_are_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(b'\xef\xbb\xbf{"a":\r1}\r\n \n"\xe2\x80\xa8"\n')
    assert list(json_lines(file, "file")) == [("line 1", {"a": 1}), ("line 3", "\u2028")]


def test_an_escaped_pair_is_a_character_and_half_of_one_is_none(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(r'"\ud83d\ude00"')
    assert list(json_lines(file, "file")) == [("line 1", "\U0001f600")]
    file.write_text(r'{"b": ["fine", {"a": "\ude00"}]}')
    with pytest.raises(BadData, match=r"line 1: '\\ude00' is half of a surrogate pair"):
        list(json_lines(file, "file"))


def test_an_array_is_read_item_by_item(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(b'\xef\xbb\xbf\n[\n  {"a": 1},\n\n  "b"\n]\n')
    assert list(json_lines(file, "file")) == [("item 1", {"a": 1}), ("item 2", "b")]
    file.write_text('[{"prompt": "a"}, {"prompt": 7}]')
    with pytest.raises(BadData, match=r"a\.json, item 2: want an object with a prompt"):
        read_prompts(file)
    for text in ('[{"a": 1}', "[1] 2", r'["\ude00"]'):
        file.write_text(text)
        with pytest.raises(BadData, match=r"a\.json: "):
            list(json_lines(file, "file"))


def test_a_file_that_cannot_be_read_is_named_for_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"the file of prompts .*absent\.jsonl cannot be read \(No such file"):
        read_prompts(tmp_path / "absent.jsonl")
    file = tmp_path / "a.jsonl"
    file.write_bytes(b'"\xff"')
    with pytest.raises(BadData, match="is not UTF-8 text"):
        read_prompts(file)


def test_prompts_are_read_line_by_line(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    file.write_bytes('\ufeff{"prompt": "a\u2028b\u0085c"}\r\n'.encode())
    assert [turns for turns, _ in read_prompts(file)] == [[{"role": "user", "content": "a\u2028b\u0085c"}]]
    for text, message in (
        ("[" * 100_000, "line 2: lists or objects lie too deep"),
        (r'{"prompt": "\ud800"}', "line 2: .* is half of a surrogate pair"),
    ):
        file.write_text(f'{{"prompt": "q"}}\n{text}\n')
        with pytest.raises(BadData, match=message):
            read_prompts(file)

"""TRL's rows: one parser for training files and for imports, so both read and refuse the same."""

from typing import Any

import pytest

from store.trl_rows import BadRow, TrlRow, form_of, parse_trl_row

QUESTION = {"role": "user", "content": "q"}
YES, NO = {"role": "assistant", "content": "yes"}, {"role": "assistant", "content": "no"}
PAIR = TrlRow("preference", [QUESTION], ("yes", "no"))


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "q", "chosen": "yes", "rejected": "no"},
        {"prompt": [QUESTION], "chosen": [YES], "rejected": [NO]},
        {"chosen": [QUESTION, YES], "rejected": [QUESTION, NO]},
        {"prompt": "q", "chosen": [QUESTION, YES], "rejected": [QUESTION, NO]},
        {"prompt": [{"role": "user", "content": [{"type": "text", "text": "q"}]}], "chosen": "yes", "rejected": [NO]},
    ],
)
def test_every_spelling_of_a_preference_is_the_same_row(row: dict[str, Any]) -> None:
    assert form_of(row) == "preference"
    assert parse_trl_row(row) == PAIR
    assert parse_trl_row(row, "preference") == PAIR


def test_two_texts_without_a_prompt_are_cut_where_they_differ() -> None:
    row = parse_trl_row({"chosen": "2+2 is 4", "rejected": "2+2 is 5"})
    assert row == TrlRow("preference", [{"role": "user", "content": "2+2 is"}], (" 4", " 5"))


def test_the_fields_decide_between_unpaired_and_sft_unless_a_form_is_given() -> None:
    row = {"prompt": "q", "completion": "no", "label": False}
    assert parse_trl_row(row) == TrlRow("unpaired", [QUESTION], ("no",), False)
    assert parse_trl_row(row, "sft") == TrlRow("sft", [QUESTION], ("no",))
    assert parse_trl_row({"messages": [QUESTION, YES]}) == TrlRow("sft", [QUESTION], ("yes",))
    assert form_of({"completion": "no", "label": False}) is None


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([], "a line is an object"),
        ({"text": "a"}, r"found \['text'\]; a text by itself"),
        ({"prompt": "q", "completion": "yes", "label": 1}, "label is true or false, not 1"),
        ({"prompt": "q", "chosen": "a", "rejected": "b", "tools": [{}]}, "tool calls are not supported"),
        ({"messages": [{**QUESTION, "tool_calls": [{}]}, YES]}, "this line has tool_calls"),
        ({"messages": [{"role": "tool", "content": "7"}, YES]}, "a message of the role tool"),
        ({"prompt": [{"role": "user", "content": [{"type": "image_url"}]}], "completion": "a"}, "only text is"),
        *(
            ({**row, name: ["x"]}, f"this line has {name}")
            for name in ("images", "image", "videos", "audio", "files")
            for row in ({"prompt": "q", "completion": "yes"}, {"chosen": [QUESTION, YES], "rejected": [QUESTION, NO]})
        ),
        ({"messages": [{**QUESTION, "images": ["x"]}, YES]}, "this line has images"),
        ({"messages": [QUESTION, {**YES, "audio": {"id": "x"}}]}, "this line has audio"),
        ({"messages": [QUESTION, {**YES, "function_call": {"name": "x"}}]}, "this line has function_call"),
        (
            {"prompt": [{"role": "user", "content": [{"type": "text", "text": "q", "image": "x"}]}], "completion": "a"},
            "this line has image",
        ),
        ({"chosen": "yes", "rejected": "no"}, "begin with the same text, and these do not"),
        ({"prompt": [QUESTION], "chosen": [QUESTION, YES], "rejected": [QUESTION, NO]}, "leave the prompt out"),
    ],
)
def test_what_is_no_row_is_refused_with_its_reason(row: Any, message: str) -> None:
    with pytest.raises(BadRow, match=message):
        parse_trl_row(row)


def test_fields_of_other_kinds_without_a_value_are_fine_and_developers_are_the_system() -> None:
    question = {"role": "developer", "content": "", "name": "x", "tool_calls": None, "images": []}
    row = {"prompt": [question, QUESTION], "chosen": [YES], "rejected": [NO], "images": None, "tools": []}
    assert parse_trl_row(row).prompt == [{"role": "system", "content": ""}, QUESTION]


def test_a_given_form_wants_its_own_fields() -> None:
    with pytest.raises(BadRow, match="want prompt with chosen and rejected"):
        parse_trl_row({"prompt": "q", "completion": "yes"}, "unpaired")

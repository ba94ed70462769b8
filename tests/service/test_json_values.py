"""The check of values: what is refused, where it stands, and that everything else comes through unchanged."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.http.json_values import MAX_DEPTH, BadValue, NotJson, check_text, check_value, field_of, json_value

WHOLE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), inner, max_size=4)
    ),
)


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


@pytest.mark.parametrize(
    ("body", "field", "reason"),
    [
        (rb'{"messages": [{"content": "a\ud800"}]}', "messages[0].content", "surrogate"),
        (rb'{"a": {"b\udc00": 1}}', "a", "surrogate"),
        (rb'"\ude00\ud83d"', "", "surrogate"),
        (rb'{"a": "b\u0000c"}', "a", "NUL"),
        (rb'{"\u0000": 1}', "", "NUL"),
        (b'{"a": [1, NaN]}', "a[1]", "finite"),
        (b'{"a": -Infinity}', "a", "finite"),
        (b'{"a": 1e999}', "a", "finite"),
        (b'{"a": -1E+400}', "a", "finite"),
        (b'{"a": ' + b"9" * 400 + b".5}", "a", "finite"),
        (b'{"a": 9223372036854775808}', "a", "64 bits"),
        (b'{"a": -9223372036854775809}', "a", "64 bits"),
        (b'{"a": ' + b"1" * 100_000 + b"}", "a", "64 bits"),
        (nested(MAX_DEPTH + 1), "", "deep"),
        (b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1), "", "deep"),
        (b"[" * 1_000_000, "", "deep"),
    ],
    ids=range(16),
)
def test_a_bad_value_is_refused_and_its_field_named(body: bytes, field: str, reason: str) -> None:
    with pytest.raises(BadValue) as refused:
        json_value(body)
    assert (refused.value.field, reason in str(refused.value)) == (field, True)
    assert refused.value.described.startswith(field)


@pytest.mark.parametrize("body", [b"", b"{", b"{nope", b'{"a": 1} 2', b"\xff", b'"\xed\xa0\x80"', b'"a\x00"', b"01"])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(NotJson):
        json_value(body)


@settings(max_examples=60, deadline=None)
@given(WHOLE, st.booleans())
def test_every_other_value_comes_through(value: object, escaped: bool) -> None:
    assert json_value(json.dumps(value, ensure_ascii=escaped).encode()) == value
    check_value(value)


def test_limits_themselves_are_taken() -> None:
    assert json_value(b"[9223372036854775807, -9223372036854775808]") == [2**63 - 1, -(2**63)]
    assert json_value(rb'"\ud83d\ude00"') == "\U0001f600"
    assert json_value(b"\xef\xbb\xbf1") == 1
    json_value(nested(MAX_DEPTH))


def test_texts_of_paths_and_queries_are_checked_too() -> None:
    check_text("100 %", "search")
    with pytest.raises(BadValue, match="NUL") as refused:
        check_text("a\0", "search")
    assert refused.value.described.startswith("search: ")


def test_a_path_is_written_as_the_caller_would() -> None:
    assert field_of(("messages", 1, "content", 0, "text")) == "messages[1].content[0].text"
    assert field_of((0, "a")) == "[0].a"

"""Markdown while it streams: each finished block is printed once, and nothing is lost."""

import pytest

from attune.cli.rendering import finished_blocks

TEXT = "One\nline.\n\nTwo.\n\n```python\na = 1\n\n\nb = 2\n```\n\n- x\n\n- y\n"


@pytest.mark.parametrize(
    ("text", "done"),
    [
        ("One", ""),
        ("One\n", ""),
        ("One\n\n", "One\n\n"),
        ("One\n\nTwo", "One\n\n"),
        ("```\ncode\n\n", ""),
        ("```\ncode\n\n```\n\n", "```\ncode\n\n```\n\n"),
        ("a\n\n```\nb\n\nc", "a\n\n"),
        ("One\n ", ""),
    ],
)
def test_a_block_is_finished_by_a_blank_line_outside_of_code(text: str, done: str) -> None:
    assert finished_blocks(text) == (done, text[len(done) :])


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_deltas_of_any_size_add_up(size: int) -> None:
    shown, rest = [], ""
    for i in range(0, len(TEXT), size):
        done, rest = finished_blocks(rest + TEXT[i : i + size])
        shown.append(done)
    assert "".join(shown) + rest == TEXT
    assert all(block.count("```") % 2 == 0 for block in shown)


def test_feedback_is_counted_as_people_read_it() -> None:
    from attune.cli.printing import feedback_count

    assert [feedback_count(count) for count in (0, 1, 2)] == [
        "0 pieces of feedback",
        "1 piece of feedback",
        "2 pieces of feedback",
    ]

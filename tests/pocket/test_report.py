"""The committed numbers are those of the committed weights, and the card and the page show them."""

import json
import runpy
from pathlib import Path

import pytest

from pocket import WEIGHTS, weights_folder
from pocket.card import card
from pocket.chats import EARLIER, tables
from pocket.model_folder import weights_digest
from pocket.report import NUMBERS

ROOT = Path(__file__).parents[2]


def numbers_of(name):
    return json.loads((weights_folder(name) / NUMBERS).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_numbers_are_of_these_weights_and_the_card_shows_them(name):
    folder = weights_folder(name)
    assert numbers_of(name)["digest"] == weights_digest(folder)
    assert (folder / "README.md").read_text(encoding="utf-8") == card(folder, numbers_of(name))


def test_the_page_shows_the_numbers():
    page = (ROOT / "docs" / "pocket.md").read_text(encoding="utf-8")
    assert runpy.run_path(str(ROOT / "docs" / "pocket_page.py"))["written"](page) == page
    assert tables(numbers_of("pocket")["chats"]) in page


def test_the_bundled_model_is_what_it_should_be():
    """Conversations hold, follow-ups and calls are right, and sampled answers leave something to learn."""
    chats = numbers_of("pocket")["chats"]
    assert chats["chats"] >= 400
    assert [int(turns) for turns in chats["greedy"]] == list(EARLIER)
    for mode in ("greedy", "sampled"):
        assert chats[mode]["8"] >= 0.9 * chats[mode]["0"]
    assert chats["follow_ups"]["all"][1] >= 0.8
    calls = chats["calls"]
    assert calls["well formed"][0] >= 200
    assert min(calls["well formed"][1], calls["right arguments"][1]) >= 0.9
    assert calls["called"][1] <= 0.05


def test_the_bundled_model_is_raw():
    rows = [row for row in numbers_of("pocket")["rows"] if not row["retention"]]
    sampled = sum(row["sampled"] for row in rows) / len(rows)
    assert 0.55 <= sampled <= 0.70
    probed = [row for row in rows if not row["hard"]]
    assert sum(row["greedy"] for row in probed) / len(probed) >= 0.9

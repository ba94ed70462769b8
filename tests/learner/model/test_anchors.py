"""Anchors come from the model's own or the built-in prompts and from a file; nothing is left out in silence."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from learner.model.anchor_prompts import anchor_prompts
from learner.model.anchor_stock import AnchorStock
from learner.model.anchors import Anchor
from learner.model.resident import Resident
from learner.settings import LearnerSettings
from pocket import weights_folder
from policy.chat import render_prompt

Build = Callable[..., LearnerSettings]


def written(folder: Path, count: int) -> tuple[Path, list[str]]:
    texts = [f"my question {number}" for number in range(count)]
    path = folder / "mine.jsonl"
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
    return path, texts


def all_of(stock: AnchorStock) -> list[Anchor]:
    return stock.first(stock.goal)


def asked(resident: Resident, folder: Path, count: int, texts: list[str]) -> tuple[list[int], int]:
    """Which of the texts are anchors, by index, and how many other anchors there are."""
    index = {
        tuple(render_prompt(resident.tokenizer, [{"role": "user", "content": text}])): number
        for number, text in enumerate(texts)
    }
    prompts = [anchor.prompt_ids for anchor in all_of(AnchorStock(resident, folder / "cache", count))]
    return sorted(index[prompt] for prompt in prompts if prompt in index), sum(
        prompt not in index for prompt in prompts
    )


def test_a_file_comes_on_top_where_the_number_is_left_open(make_settings: Build, tmp_path: Path) -> None:
    file, texts = written(tmp_path, 12)
    assert asked(Resident(make_settings(anchors__count=0, anchors__file=file)), tmp_path, 8, texts) == (
        list(range(12)),
        8,
    )


def test_a_longer_file_than_the_number_asked_for_is_taken_from_all_over_with_a_warning(
    make_settings: Build, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, texts = written(tmp_path, 12)
    with caplog.at_level(logging.WARNING):
        assert asked(Resident(make_settings(anchors__count=4, anchors__file=file)), tmp_path, 4, texts) == (
            [0, 3, 6, 9],
            0,
        )
    assert "8 of the 12 prompts" in caplog.text


def test_built_in_prompts_fill_up_a_short_file(
    make_settings: Build, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, texts = written(tmp_path, 3)
    assert asked(Resident(make_settings(anchors__count=8, anchors__file=file)), tmp_path, 8, texts) == ([0, 1, 2], 5)
    assert "prompts of" not in caplog.text


def test_a_prompt_that_leaves_no_room_for_a_completion_is_counted_as_left_out(
    make_settings: Build, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, texts = written(tmp_path, 2)
    file.write_text(file.read_text() + json.dumps({"prompt": "long " * 5000}) + "\n")
    assert asked(Resident(make_settings(anchors__count=0, anchors__file=file)), tmp_path, 4, texts) == ([0, 1], 4)
    assert "1 of the 3 prompts" in caplog.text


def test_a_bundled_model_brings_prompts_of_its_own_and_their_functions(make_settings: Build, tmp_path: Path) -> None:
    resident = Resident(make_settings(model="pocket-nano", anchors__count=0))
    rows = [json.loads(line) for line in (weights_folder("pocket").parent / "anchors.jsonl").read_text().splitlines()]
    own = {tuple(render_prompt(resident.tokenizer, row["prompt"], row.get("tools", []))) for row in rows}
    prompts = [anchor.prompt_ids for anchor in all_of(AnchorStock(resident, tmp_path / "cache", 40))]
    assert len(prompts) >= 36  # a few long ones leave no room for a completion
    assert set(prompts) <= own
    offered = resident.tokenizer.encode("<tools>", add_special_tokens=False)
    assert any(str(offered)[1:-1] in str(prompt) for prompt in prompts)


def test_another_model_has_the_built_in_prompts(make_settings: Build, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(weights_folder("pocket-nano"), folder)
    resident = Resident(make_settings(model=str(folder), anchors__count=0))
    texts = anchor_prompts(8)
    assert asked(resident, tmp_path, 8, texts) == (list(range(8)), 0)


@pytest.fixture
def parts_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("learner.model.anchor_stock.PART_SMALL", 2)


@pytest.mark.usefixtures("parts_of_two")
def test_parts_are_kept_and_are_the_same_whenever_they_are_made(make_settings: Build, tmp_path: Path) -> None:
    resident = Resident(make_settings())
    once = all_of(AnchorStock(resident, tmp_path / "once", 8))
    stock = AnchorStock(resident, tmp_path / "bit", 8)
    stock.make_part()
    stock = AnchorStock(resident, tmp_path / "bit", 8)
    assert (len(stock.made), stock.is_complete, stock.sufficient) == (2, False, 8)
    made = []
    later = stock.first(5, lambda done, count: made.append((done, count)))
    assert made == [(2, 5), (4, 5)]
    assert [anchor.completion_ids for anchor in later] == [anchor.completion_ids for anchor in once[:5]]
    assert all(torch.equal(one.top.logps, other.top.logps) for one, other in zip(later, once, strict=False))


@pytest.mark.usefixtures("parts_of_two")
def test_a_damaged_part_is_made_again(make_settings: Build, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    resident = Resident(make_settings())
    whole = all_of(AnchorStock(resident, tmp_path, 6))
    second = sorted(tmp_path.rglob("*.safetensors"))[1]
    second.write_bytes(second.read_bytes()[:100])
    stock = AnchorStock(resident, tmp_path, 6)
    assert len(stock.made) == 2
    assert "made again" in caplog.text
    assert [anchor.completion_ids for anchor in all_of(stock)] == [anchor.completion_ids for anchor in whole]


def test_work_is_ended_before_its_next_forward_pass(make_settings: Build, tmp_path: Path) -> None:
    resident, passes = Resident(make_settings()), []
    stock = AnchorStock(resident, tmp_path, 4)

    def check() -> None:
        passes.append(1)
        if len(passes) == 3:
            raise KeyError

    with pytest.raises(KeyError), resident.checked(check):
        stock.make_part()
    assert (len(passes), stock.made) == (3, [])
    stock.make_part()
    assert len(passes) == 3
    assert stock.is_complete

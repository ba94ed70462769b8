"""Folders of reward models: whose go with a person, and how many stay."""

import json
from pathlib import Path

from policy.reward_folders import (
    KEPT,
    next_reward_folder,
    remove_learned_rewards,
    remove_old_rewards,
    reward_folder,
    reward_numbers,
)


def made(data: Path, number: int, origin: str | None, upto_seq: int = 9) -> Path:
    folder = reward_folder(data, number)
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    (folder / "reward.json").write_text(
        json.dumps({"origin": origin, "upto_seq": upto_seq} if origin else {"format": 1})
    )
    return folder


def test_what_learned_from_the_store_goes_with_a_person_and_what_learned_from_a_file_stays(tmp_path: Path) -> None:
    for number, origin in enumerate(["learner", "store", "file", None], 1):
        made(tmp_path, number, origin)
    (tmp_path / "rewards" / ".000005.half").mkdir()
    made(tmp_path, 6, "learner", upto_seq=4)  # of before the person came
    assert remove_learned_rewards(tmp_path, 5) == [1, 2, 4]
    assert sorted(path.name for path in (tmp_path / "rewards").iterdir()) == ["000003", "000006"]
    assert remove_learned_rewards(tmp_path / "nowhere", 1) == []


def test_the_learner_s_newest_stay_and_those_of_commands_too(tmp_path: Path) -> None:
    made(tmp_path, 1, "store")
    for number in range(2, 2 + KEPT + 3):
        made(tmp_path, number, "learner")
    remove_old_rewards(tmp_path)
    assert reward_numbers(tmp_path, "learner") == list(range(5, 5 + KEPT))
    assert reward_numbers(tmp_path) == [1, *range(5, 5 + KEPT)]
    assert next_reward_folder(tmp_path).name == "000013"


def test_a_folder_without_a_manifest_is_half_written(tmp_path: Path) -> None:
    folder = made(tmp_path, 1, "learner")
    (folder / "manifest.json").unlink()
    assert reward_numbers(tmp_path) == []
    assert next_reward_folder(tmp_path).name == "000002"

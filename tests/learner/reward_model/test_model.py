"""A reward model comes back from disk as it was."""

from pathlib import Path

import torch

from learner.model.features import completion_features
from learner.model.resident import Resident
from learner.reward_model.model import RewardModel
from policy.versions import read_version
from tests.learner.reward_model.labeled import long_over_short, trained


def test_it_comes_back_from_disk_as_it_was(resident: Resident, tmp_path: Path) -> None:
    model = trained(resident, long_over_short(20))
    model.write(tmp_path / "000001", {}, base_model="tiny")
    assert read_version(tmp_path / "000001").base_model == "tiny"
    again = RewardModel.read(tmp_path / "000001")
    features = completion_features(resident, [((1, 4, 20, 2, 5), (50, 51, 2))], 4096)
    assert torch.equal(again.rewards(features, pessimism=1.0), model.rewards(features, pessimism=1.0))
    assert again.base_digest == resident.base_digest

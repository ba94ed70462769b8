"""The tiny model in memory, for the reward model's tests."""

from collections.abc import Callable

import pytest

from learner.model.resident import Resident
from learner.settings import LearnerSettings


@pytest.fixture
def resident(make_settings: Callable[..., LearnerSettings]) -> Resident:
    return Resident(make_settings())

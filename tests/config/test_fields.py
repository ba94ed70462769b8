"""Paths of settings, their spellings, and tables of values by path."""

from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field
from pydantic.fields import FieldInfo

from config.fields import as_flag, as_variable, fields_of, flat, groups_of, nested, range_of
from config.loader import Group
from config.names import Names
from tests.config.conftest import BOTH


class Inner(Group):
    """A group."""

    rate: float = Field(0.1, gt=0)
    count: int = Field(3, ge=0, le=9)


class Outer(Group):
    """Settings with a group among them."""

    first: str = "a"
    inner: Inner = Inner()
    last: Literal["x", "y"] = "x"


PATHS = st.sampled_from(["first", "inner.rate", "inner.count", "last"])
VALUES = st.one_of(st.integers(), st.none(), st.lists(st.integers(), max_size=3), st.sampled_from(["", "a.b"]))


def test_paths_follow_the_class_with_groups_where_they_stand() -> None:
    assert [path for path, _ in fields_of(Outer)] == ["first", "inner.rate", "inner.count", "last"]
    assert groups_of(Outer) == {"inner": Inner}


@given(st.dictionaries(PATHS, VALUES))
def test_values_by_path_come_back_from_tables(values: dict[str, Any]) -> None:
    assert flat(nested(values), groups_of(Outer)) == values


@given(st.dictionaries(PATHS, VALUES))
def test_tables_come_back_from_values_by_path(values: dict[str, Any]) -> None:
    tables = nested(values)
    assert nested(flat(tables, groups_of(Outer))) == tables


def test_a_table_that_is_no_group_stays_one_value() -> None:
    assert flat({"other": {"a": 1}, "inner": {"rate": 2}}, groups_of(Outer)) == {"other": {"a": 1}, "inner.rate": 2}
    assert flat({"inner": 3}, groups_of(Outer)) == {"inner": 3}


@pytest.mark.parametrize("names", BOTH)
def test_no_two_settings_share_a_flag_or_a_variable(names: Names) -> None:
    paths = names.paths
    assert (
        len({as_flag(path) for path in paths}) == len({as_variable(path, names.prefix) for path in paths}) == len(paths)
    )


def test_spellings_of_a_path() -> None:
    assert as_flag("optimizer.learning_rate") == "--optimizer.learning-rate"
    assert as_variable("optimizer.learning_rate", "ATTUNE_LEARNER__") == "ATTUNE_LEARNER__OPTIMIZER__LEARNING_RATE"


def test_ranges_as_people_read_them() -> None:
    ranges = {path: range_of(field) for path, field in fields_of(Outer)}
    assert ranges == {"first": "", "inner.rate": "> 0", "inner.count": "0 .. 9", "last": "x, y"}
    assert range_of(FieldInfo.from_annotated_attribute(float, Field(0.5, ge=0.5, lt=1))) == ">= 0.5, < 1"

"""The loader: every spelling of every setting, the order of sources, and frozen results."""

import json
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic_settings import SettingsConfigDict

from config.errors import ConfigError
from config.fields import as_flag, flat, groups_of
from config.flags import flags_of
from config.loader import Group, Settings, load
from config.names import Names
from tests.config.conftest import BOTH, EVERY_PATH, valid_value


class Inner(Group):
    """A group."""

    count: int = 1
    rate: float = 0.5


class Small(Settings):
    """Few settings, with two of the same name."""

    model_config = SettingsConfigDict(env_prefix="ATTUNE_SMALL__")

    data: str = "here"
    count: int = 1
    inner: Inner = Inner()


SMALL = Names(Small, command="the test", prefix="ATTUNE_SMALL__", table="small", shared=("data",))
PATHS = ("data", "count", "inner.count", "inner.rate")


def toml(names: Names, path: str, value: Any) -> str:
    """Return a TOML file with one setting."""
    group, _, name = path.rpartition(".")
    table = ".".join(part for part in (names.table, group) if part)
    return (f"[{table}]\n" if table else "") + f"{name} = {json.dumps(value)}\n"


def loaded(names: Names, flags: dict[str, Any], file: Path | None = None) -> Settings:
    return load(cast(type[Settings], names.kind), names, flags, file)


def by_path(found: Settings) -> dict[str, Any]:
    return flat(found.model_dump(), groups_of(type(found)))


@pytest.mark.parametrize(("names", "path"), [case for case in EVERY_PATH if case.id != "ATTUNE_CONFIG"])
def test_flag_variable_and_file_of_a_setting_agree(
    names: Names, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = valid_value(names, path)
    text = str(value).lower() if isinstance(value, bool) else str(value)
    by_flag = loaded(names, flags_of([as_flag(path), text], names))
    with monkeypatch.context() as patch:
        patch.setenv(names.variable(path), text)
        by_variable = loaded(names, {})
    file = tmp_path / "attune.toml"
    file.write_text(toml(names, path, value))
    by_file = loaded(names, {}, file)
    plain = by_path(loaded(names, {}))
    changed = by_path(by_flag)
    assert {name for name in changed if changed[name] != plain[name]} == {path}
    assert by_path(by_variable) == changed
    assert {**by_path(by_file), "config": None} == {**changed, "config": None}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(
    sources=st.dictionaries(
        st.sampled_from(PATHS), st.lists(st.sampled_from(["default", "file", "variable", "flag"]), max_size=4)
    )
)
def test_a_flag_wins_over_a_variable_over_the_file_over_the_defaults(
    sources: dict[str, list[str]], tmp_path: Path
) -> None:
    order = ["default", "file", "variable", "flag"]

    def given_by(source: str) -> dict[str, str]:
        return {path: str(order.index(source) + 2) for path, of in sources.items() if source in of}

    file = tmp_path / "small.toml"
    lines = [toml(SMALL, path, value if path == "data" else int(value)) for path, value in given_by("file").items()]
    tables: dict[str, list[str]] = {"[small]": [], "[small.inner]": []}
    for line in lines:
        head, rest = line.split("\n", 1)
        tables[head].append(rest)
    file.write_text("".join(f"{head}\n{''.join(rest)}" for head, rest in tables.items()))
    with pytest.MonkeyPatch.context() as patch:
        for path, value in given_by("variable").items():
            patch.setenv(SMALL.variable(path), value)
        found = by_path(load(Small, SMALL, given_by("flag"), file, given_by("default")))
    winners = {path: max((order.index(source) + 2 for source in of), default=0) for path, of in sources.items()}
    plain = by_path(Small())
    assert {path: float(value) for path, value in found.items() if winners.get(path)} == {
        path: float(winner) for path, winner in winners.items() if winner
    }
    assert {path: value for path, value in found.items() if not winners.get(path)} == {
        path: value for path, value in plain.items() if not winners.get(path)
    }


def test_a_shared_setting_comes_from_the_top_level_and_its_own_table_wins(tmp_path: Path) -> None:
    file = tmp_path / "small.toml"
    file.write_text('data = "top"\n[small]\ncount = 2\n')
    assert load(Small, SMALL, {}, file).data == "top"
    file.write_text('data = "top"\n[small]\ndata = "own"\n')
    assert load(Small, SMALL, {}, file).data == "own"


def test_the_environment_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "small.toml"
    file.write_text("[small]\ncount = 7\n")
    monkeypatch.setenv("ATTUNE_CONFIG", str(file))
    assert load(Small, SMALL, {}).count == 7
    monkeypatch.setenv("ATTUNE_CONFIG", "")
    assert load(Small, SMALL, {}).count == 1


@pytest.mark.parametrize("content", [None, "count = [\n", "\xff", "small = 3\n"])
def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "small.toml"
    if content is not None:
        file.write_bytes(content.encode("latin-1"))
    with pytest.raises(ConfigError) as refused:
        load(Small, SMALL, {}, file)
    assert str(file) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("flags", "variable", "toml_line", "source"),
    [
        ({"inner.count": "x"}, "", "", "--inner.count cannot be 'x'"),
        ({}, "x", "", "ATTUNE_SMALL__INNER__COUNT cannot be 'x'"),
        ({}, "", 'count = "x"', "small.inner.count in "),
    ],
)
def test_a_bad_value_is_named_with_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: dict[str, str], variable: str, toml_line: str, source: str
) -> None:
    file = tmp_path / "small.toml"
    file.write_text(f"[small.inner]\n{toml_line}\n")
    if variable:
        monkeypatch.setenv("ATTUNE_SMALL__INNER__COUNT", variable)
    with pytest.raises(ConfigError) as refused:
        load(Small, SMALL, flags, file)
    assert str(refused.value).startswith(source)
    assert "cannot be 'x': input should be a valid integer" in str(refused.value)


@pytest.mark.parametrize("names", BOTH)
def test_settings_and_groups_are_frozen_and_know_no_other_names(names: Names) -> None:
    found = loaded(names, {})
    for name, group in groups_of(names.kind).items():
        with pytest.raises(ValidationError, match="frozen"):
            setattr(getattr(found, name), next(iter(group.model_fields)), 1)
        with pytest.raises(ValidationError, match="extra_forbidden"):
            group(no_such_setting=1)
    with pytest.raises(ValidationError, match="frozen"):
        found.model = "other"  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="no setting of"):
        loaded(names, {"no_such_setting": 1})


@pytest.mark.parametrize("names", BOTH)
def test_a_dump_loads_again(names: Names) -> None:
    found = loaded(names, {path: valid_value(names, path) for path in names.paths if path != "config"})
    dumped = json.loads(found.model_dump_json())
    assert loaded(names, flat(dumped, groups_of(names.kind))) == found

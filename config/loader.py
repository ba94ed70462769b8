"""The loader of settings: flags over environment over a TOML file over defaults, into a frozen class."""

import os
import tomllib
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from config.errors import ConfigError
from config.fields import as_flag, fields_of, flat, groups_of, nested
from config.names import Names

_file_values: ContextVar[dict[str, Any]] = ContextVar("_file_values", default={})  # noqa: B039 -- never changed in place
_shared_names: ContextVar[tuple[str, ...]] = ContextVar("_shared_names", default=())


class Group(BaseModel):
    """Settings that belong together: one table of the TOML file."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class Settings(BaseSettings):
    """Base of a process's settings. A subclass names its `env_prefix`."""

    model_config = SettingsConfigDict(
        env_nested_delimiter="__",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _SharedEnvironment(settings_cls), _TomlValues(settings_cls)


class _TomlValues(PydanticBaseSettingsSource):
    """The values of the TOML file that `load` read, over the defaults that it was given."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        return _file_values.get()


class _SharedEnvironment(_TomlValues):
    """`ATTUNE_DATA` and the like, which more than one process reads."""

    def __call__(self) -> dict[str, Any]:
        environment = _environment()
        return {name: environment[_shared(name)] for name in _shared_names.get() if environment.get(_shared(name))}


S = TypeVar("S", bound=Settings)


def load(
    kind: type[S],
    names: Names,
    flags: Mapping[str, Any],
    config: Path | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> S:
    """Return the settings in force.

    `flags` are values by path, such as `gate.holdout`; None counts as not given. `config` is the TOML file. Without
    one, `ATTUNE_CONFIG` names it. `defaults` replace those of the class, below the file. Raises ConfigError with one
    line that names the value at fault.
    """
    given = {path: value for path, value in flags.items() if value is not None}
    names.check_environment(os.environ)
    named = _environment().get("ATTUNE_CONFIG")
    config = config or (Path(named) if named else None)
    values = flat(dict(defaults or {}), groups_of(kind))
    if config is not None:
        values |= flat(_table(config, names), groups_of(kind))
        if "config" in kind.model_fields:
            given["config"] = config
    _check_paths(kind, given, values)
    tokens = _file_values.set(nested(values)), _shared_names.set(names.shared)
    try:
        return kind(**nested(given))
    except ValidationError as error:
        raise ConfigError(_one_line(error, names, given, values, config)) from error
    finally:
        _file_values.reset(tokens[0])
        _shared_names.reset(tokens[1])


def _check_paths(kind: type[BaseModel], flags: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Raise ConfigError for an empty file or folder: as a path it would be the working folder."""
    for path, field in fields_of(kind):
        if field.annotation in (Path, Path | None) and flags.get(path, values.get(path)) == "":
            raise ConfigError(f"{as_flag(path) if path in flags else path} is empty; name a path, or leave it out")


def _table(path: Path, names: Names) -> dict[str, Any]:
    """Return one process's part of a TOML file. Raises ConfigError for names that no process reads."""
    try:
        whole = tomllib.loads(path.expanduser().read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(
            f"the settings file {path} cannot be read ({error.strerror}); name another with --config"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the settings file {path} is not TOML: {error}") from error
    table = whole if not names.table else whole.get(names.table, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{names.table!r} in {path} is not a table; write [{names.table}] above its settings")
    if names.table:
        _check_top_level(whole, path, names)
        table = {name: whole[name] for name in names.shared if name in whole} | table
    else:
        table = {name: value for name, value in table.items() if name not in names.other_tables}
    _check_table(table, path, names)
    return table


def _check_top_level(whole: dict[str, Any], path: Path, names: Names) -> None:
    """Raise ConfigError for a setting that belongs in the table, and for a table that no process reads."""
    for name, value in whole.items():
        if name in names.shared or name == names.table or name in names.other_tables:
            continue
        if name in names.kind.model_fields or (name in names.renamed and not isinstance(value, dict)):
            raise ConfigError(f"{name} belongs in the [{names.table}] table of {path}, and is outside it")
        if isinstance(value, dict):
            owner = f"the {names.table}'s table is [{names.table}]"
            raise ConfigError(f"nothing reads the table [{name}] in {path}; {owner}")


def _check_table(table: dict[str, Any], path: Path, names: Names) -> None:
    """Raise ConfigError for a name of the file that is no setting. The message has its table."""
    groups = groups_of(names.kind)
    for name, value in flat(table, groups).items():
        if name in names.paths:
            continue
        group, _, inner = name.rpartition(".")
        tables = [part for part in (names.table, group) if part]
        if name in groups:
            written = ".".join([*tables, name])
            raise ConfigError(f"{name!r} in {path} is a group of settings; write it as the table [{written}]")
        if isinstance(value, dict) and not group:
            raise ConfigError(
                f"the table {'.'.join([*tables, name])!r} in {path} is unknown; {names.table_advice(name)}"
            )
        where = f"in the [{'.'.join(tables)}] table of {path}" if tables else f"in {path}"
        raise ConfigError(f"the setting {inner!r} {where} is unknown; {names.advice(name)}")


def _shared(name: str) -> str:
    return f"ATTUNE_{name.upper()}"


def _environment() -> dict[str, str]:
    """Return the environment with names in upper case, as pydantic reads it."""
    return {name.upper(): value for name, value in os.environ.items()}


def _one_line(
    error: ValidationError, names: Names, flags: dict[str, Any], values: dict[str, Any], config: Path | None
) -> str:
    """Return the first error as one line: where the value comes from, the value, and what is wrong with it."""
    first = error.errors()[0]
    message = first["msg"].removeprefix("Value error, ")  # what pydantic puts before a validator's message
    location = [str(part) for part in first["loc"]]
    depth = 2 if location and location[0] in groups_of(names.kind) else 1
    path = ".".join(location[:depth])
    if first["type"] == "extra_forbidden":  # of a caller: other names are checked before
        return names.unknown_variable(names.variable(path), path)
    if path not in names.paths:  # settings that are right one by one, but not together
        return message
    if path in flags:
        source = as_flag(path)
    elif names.variable(path) in _environment():
        source = names.variable(path)
    elif path in names.shared and _environment().get(_shared(path)):
        source = _shared(path)
    elif path in values and config is not None:
        source = f"{names.table + '.' if names.table else ''}{path} in {config}"
    else:
        source = path
    return f"{source} cannot be {first['input']!r}: {message[0].lower() + message[1:]}"

"""A class's settings by path, such as `optimizer.learning_rate`, and the spellings of a path."""

from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo


def fields_of(kind: type[BaseModel], group: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield each setting's path and field in the order of the class, nested groups included."""
    for name, field in kind.model_fields.items():
        if is_group(field):
            yield from fields_of(field.annotation, f"{group}{name}.")  # type: ignore[arg-type]
        else:
            yield group + name, field


def groups_of(kind: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """Return the nested groups of a settings class, by name."""
    return {name: field.annotation for name, field in kind.model_fields.items() if is_group(field)}  # type: ignore[misc]


def is_group(field: FieldInfo) -> bool:
    """Whether a field holds a group of settings, not one setting."""
    return isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)


def as_flag(path: str) -> str:
    """Return a path as a command-line flag: `--optimizer.learning-rate`."""
    return "--" + path.replace("_", "-")


def as_variable(path: str, prefix: str) -> str:
    """Return a path as an environment variable: `ATTUNE_LEARNER__OPTIMIZER__LEARNING_RATE`."""
    return prefix + path.replace(".", "__").upper()


def nested(values: dict[str, Any]) -> dict[str, Any]:
    """Return values by path as nested tables: {"gate.holdout": 0.1} becomes {"gate": {"holdout": 0.1}}."""
    tables: dict[str, Any] = {}
    for path, value in values.items():
        *groups, name = path.split(".")
        table = tables
        for group in groups:
            table = table.setdefault(group, {})
        table[name] = value
    return tables


def flat(values: dict[str, Any], groups: dict[str, type[BaseModel]]) -> dict[str, Any]:
    """Return nested tables as values by path. A table that is no group stays one value."""
    by_path: dict[str, Any] = {}
    for name, value in values.items():
        if name in groups and isinstance(value, dict):
            by_path |= {f"{name}.{key}": inner for key, inner in value.items()}
        else:
            by_path[name] = value
    return by_path


def range_of(field: FieldInfo) -> str:
    """Return the values that a setting may have, as text: "0 .. 19", "> 0", "lora, full"."""
    if get_origin(field.annotation) is Literal:
        return ", ".join(map(str, get_args(field.annotation)))
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    bounds = {
        name: getattr(rule, name) for rule in field.metadata for name in signs if getattr(rule, name, None) is not None
    }
    shown = {name: str(bound) if isinstance(bound, int) else f"{bound:g}" for name, bound in bounds.items()}
    if "ge" in shown and "le" in shown:
        return f"{shown['ge']} .. {shown['le']}"
    return ", ".join(f"{sign} {shown[name]}" for name, sign in signs.items() if name in shown)

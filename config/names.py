"""The names that settings have, had, and do not have: what an unknown one is told."""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel

from config.errors import ConfigError
from config.fields import as_flag, as_variable, fields_of, groups_of

# Variables that Kubernetes and Docker set for a service called attune or attune-learner.
_SERVICE_LINK = re.compile(r"\w*_(SERVICE_(HOST|PORT)(_\w+)?|PORT_\d+_\w+)=.*|\w*_PORT=\w+://.*", re.DOTALL)
LISTED = "docs/settings.md lists them all"


@dataclass(frozen=True)
class Names:
    """Where one process's settings stand.

    `table` is their table of the TOML file, "" for its top level. `renamed` maps each earlier name to today's path, or
    to
    None where the setting is gone. `shared` are settings that another process reads too, from the top level and from
    `ATTUNE_*`. `others` are variables with our prefix that are no settings; a name that ends with _ is a prefix.
    `other_tables` are tables of the file that another process reads. `hint` says where another process's settings
    stand.
    """

    kind: type[BaseModel]
    command: str
    prefix: str = "ATTUNE_"
    table: str = ""
    renamed: Mapping[str, str | None] = field(default_factory=dict)
    shared: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    other_tables: tuple[str, ...] = ()
    hint: str = ""

    @property
    def paths(self) -> tuple[str, ...]:
        """All settings' paths."""
        return tuple(path for path, _ in fields_of(self.kind))

    def unknown_flag(self, flag: str, path: str) -> str:
        """Return what to tell about a flag that is no setting."""
        return f"{flag} is no flag of {self.command}; {self.advice(path, as_flag)}"

    def variable(self, path: str) -> str:
        """Return the environment variable of a setting."""
        return as_variable(path, self.prefix)

    def advice(self, path: str, spelled: Callable[[str], str] = str) -> str:
        """Return what to do about an unknown name: its new name, a near one, or where all are listed."""
        if path in self.renamed:
            new = self.renamed[path]
            return f"it is {spelled(new)} now" if new is not None else "it is a setting no more; leave it out"
        others = tuple(other.lower() for other in self.others if not other.endswith("_"))
        near = difflib.get_close_matches(path, self.paths + others, 1) or _same_ending(path, self.paths)
        return f"did you mean {spelled(near[0])}?" if near else LISTED + self.hint

    def table_advice(self, name: str) -> str:
        """Return what to do about an unknown table of the file."""
        tables = [f"{self.table}.{group}" if self.table else group for group in groups_of(self.kind)]
        near = difflib.get_close_matches(name, [*tables, *self.other_tables, *([self.table] if self.table else [])], 1)
        return f"did you mean [{near[0]}]?" if near else LISTED

    def check_environment(self, environment: Mapping[str, str]) -> None:
        """Raise ConfigError for a variable that looks like one of these settings and is none."""
        known = {self.variable(path) for path in self.paths} | {self.variable(group) for group in groups_of(self.kind)}
        for variable, value in sorted(environment.items()):
            name = variable.upper()
            self._check_shared_prefix(variable, name)
            if not self._is_ours(name) or name in known or _SERVICE_LINK.fullmatch(f"{name}={value}"):
                continue
            path = name.removeprefix(self.prefix).removeprefix(self._flat_prefix).lower().replace("__", ".")
            raise ConfigError(f"{variable} is no setting of {self.command}; {self.advice(path, self.variable)}")

    def _check_shared_prefix(self, variable: str, name: str) -> None:
        """Raise ConfigError for a setting of a table whose variable lacks the table's prefix."""
        path = name.removeprefix("ATTUNE_").lower().replace("__", ".")
        if self.table and name.startswith("ATTUNE_") and path in self.paths and path not in self.shared:
            owner = f"{path} is the {self.table}'s alone, in {self.variable(path)}"
            raise ConfigError(f"{variable} is read by nobody; {owner}")

    @property
    def _flat_prefix(self) -> str:
        """How the prefix was written before settings had groups: `ATTUNE_LEARNER_`."""
        return self.prefix.removesuffix("_") if self.table else self.prefix

    def _is_ours(self, name: str) -> bool:
        if not name.startswith(self._flat_prefix):
            return False
        return not any(
            name.startswith(self.prefix + other) if other.endswith("_") else name == self.prefix + other
            for other in self.others
        )


def _same_ending(path: str, paths: Iterable[str]) -> list[str]:
    return [known for known in paths if known.rpartition(".")[2] == path.rpartition(".")[2]][:1]

"""The names of settings: today's, earlier ones, and advice on unknown ones."""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel

from config.errors import ConfigError
from config.fields import as_flag, as_variable, fields_of, groups_of

# Variables that Kubernetes and Docker set for a service called attune or attune-learner.
_SERVICE_LINK = re.compile(r"\w*_(SERVICE_(HOST|PORT)(_\w+)?|PORT_\d+_\w+)=.*|\w*_PORT=\w+://.*", re.DOTALL)
LISTED = "docs/settings.md lists them all"


@dataclass(frozen=True)
class Names:
    """The names of one process's settings."""

    kind: type[BaseModel]
    command: str
    """The process, as error messages call it."""
    prefix: str = "ATTUNE_"
    """What its environment variables begin with."""
    table: str = ""
    """Its table of the TOML file; "" is the top level."""
    renamed: Mapping[str, str | None] = field(default_factory=dict)
    """Today's path by earlier name; None where the setting is retired."""
    shared: tuple[str, ...] = ()
    """Settings that another process reads too, from the top level and from `ATTUNE_*`."""
    others: tuple[str, ...] = ()
    """Variables with this prefix that are no settings. A name that ends with _ is a prefix."""
    other_tables: tuple[str, ...] = ()
    """Tables of the file that another process reads."""
    hint: str = ""
    """Where another process's settings are, as the end of a sentence."""

    @property
    def paths(self) -> tuple[str, ...]:
        """All settings' paths."""
        return tuple(path for path, _ in fields_of(self.kind))

    def variable(self, path: str) -> str:
        """Return the environment variable of a setting."""
        return as_variable(path, self.prefix)

    def unknown_flag(self, flag: str, path: str) -> str:
        """Return the message on a flag that is no setting."""
        return f"{flag} is no flag of {self.command}; {self.advice(path, as_flag)}"

    def unknown_variable(self, variable: str, path: str) -> str:
        """Return the message on an environment variable that is no setting."""
        others = tuple(other.lower() for other in self.others if not other.endswith("_"))
        return f"{variable} is no setting of {self.command}; {self.advice(path, self.variable, others)}"

    def advice(self, path: str, spelled: Callable[[str], str] = str, others: Sequence[str] = ()) -> str:
        """Return what to do about an unknown name: its new name, a similar one, or where all are listed.

        `spelled` writes a path as a flag or a variable. `others` are further names that may be meant.
        """
        table, _, ending = path.rpartition(".")
        in_group = (ending,) if table in groups_of(self.kind) and path not in self.paths else ()
        earlier = [name for name in (path, *in_group) if name in self.renamed]
        if earlier:
            new = self.renamed[earlier[0]]
            return f"it is {spelled(new)} now" if new is not None else "it is a setting no more; leave it out"
        group = [known for known in self.paths if known.startswith(f"{path}.")]
        if group:
            return f"it is a group of settings, such as {spelled(group[0])}"
        same_ending = [known for known in self.paths if known.rpartition(".")[2] == ending]
        beside = [known for known in self.paths if table and known.rpartition(".")[0] == table]
        similar = difflib.get_close_matches(ending, [known.rpartition(".")[2] for known in beside], 1)
        similar = [f"{table}.{name}" for name in similar] or same_ending
        similar = similar or difflib.get_close_matches(path, [*self.paths, *others], 1)
        return f"did you mean {spelled(similar[0])}?" if similar else LISTED + self.hint

    def table_advice(self, name: str) -> str:
        """Return what to do about an unknown table of the file."""
        tables = {group: f"{self.table}.{group}" if self.table else group for group in groups_of(self.kind)}
        tables |= {table: table for table in self.other_tables}
        similar = difflib.get_close_matches(name, tables, 1)
        return f"did you mean [{tables[similar[0]]}]?" if similar else LISTED + self.hint

    def check_environment(self, environment: Mapping[str, str]) -> None:
        """Raise ConfigError for a variable that looks like one of these settings and is none."""
        known = {self.variable(path) for path in self.paths}
        for variable, value in sorted(environment.items()):
            name = variable.upper()
            self._check_shared_prefix(variable, name)
            if not self._has_prefix(name) or name in known or _SERVICE_LINK.fullmatch(f"{name}={value}"):
                continue
            path = name.removeprefix(self.prefix).removeprefix(self._flat_prefix).lower().replace("__", ".")
            raise ConfigError(self.unknown_variable(variable, path))

    def _check_shared_prefix(self, variable: str, name: str) -> None:
        """Raise ConfigError for a setting of a table whose variable lacks the table's prefix."""
        path = name.removeprefix("ATTUNE_").lower().replace("__", ".")
        if self.table and name.startswith("ATTUNE_") and path in self.paths and path not in self.shared:
            advice = f"{path} is a setting of the {self.table}, in {self.variable(path)}"
            raise ConfigError(f"nothing reads {variable}; {advice}")

    @property
    def _flat_prefix(self) -> str:
        """The prefix of earlier releases, before settings had groups: `ATTUNE_LEARNER_`."""
        return self.prefix.removesuffix("_") if self.table else self.prefix

    def _has_prefix(self, name: str) -> bool:
        if not name.startswith(self._flat_prefix):
            return False
        return not any(
            name.startswith(self.prefix + other) if other.endswith("_") else name == self.prefix + other
            for other in self.others
        )

"""Settings as command-line flags: `--gate.holdout 0.1` or `--gate.holdout=0.1`."""

from collections.abc import Sequence

from config.errors import ConfigError
from config.names import Names


def flags_of(arguments: Sequence[str], names: Names) -> dict[str, str]:
    """Return the settings that command-line arguments give: text by path.

    Raises ConfigError for an argument that is no setting, and for a flag without a value.
    """
    values: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        flag, has_value, value = rest.pop(0).partition("=")
        path = flag.removeprefix("--").replace("-", "_")
        if not flag.startswith("--") or path not in names.paths:
            raise ConfigError(names.unknown_flag(flag, path))
        if not has_value and (not rest or rest[0].startswith("--")):
            raise ConfigError(f"{flag} needs a value")
        values[path] = value if has_value else rest.pop(0)
    return values

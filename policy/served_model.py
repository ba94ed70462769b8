"""The record in a data folder of the base model that it belongs to: its name, digest and chat template."""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

RECORD = "base.json"


@dataclass(frozen=True)
class ServedModel:
    """A data folder's base model.

    `chat_template` is the text of a template that was given to it; None is the model's own.
    """

    model: str
    digest: str
    chat_template: str | None = None


def record_served(data: Path, served: ServedModel) -> None:
    """Keep the base model of a data folder. Raises OSError."""
    if served_model(data) == served:
        return
    temporary = data / f".{RECORD}.{os.getpid()}"
    temporary.write_text(json.dumps(asdict(served), indent=1) + "\n")
    temporary.chmod(0o600)
    temporary.replace(data / RECORD)


def served_model(data: Path) -> ServedModel | None:
    """Return the base model of a data folder, None where no service has recorded one or the record is damaged."""
    try:
        return ServedModel(**json.loads((data / RECORD).read_text()))
    except (OSError, ValueError, TypeError):
        return None

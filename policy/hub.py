"""Models of the Hugging Face hub: an id, with a revision or without, and the commit that it stands for."""

import json
import os
import re
from pathlib import Path

from policy.errors import ModelNotFound, first_line

RECORD = "model.json"  # in a data folder: the hub id and the commit that it has learned on
_ID = re.compile(r"([A-Za-z0-9][\w.-]*/[\w.-]+)(?:@([\w./-]+))?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_WANTED = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]


def is_hub_id(name: str) -> bool:
    """Whether a name is owner/name, with @ and a branch, tag or commit or without."""
    return _ID.fullmatch(name) is not None


def fetch_from_hub(name: str) -> Path:
    """Return the folder of a hub id; what is not in the hub's cache is fetched. Raises ModelNotFound."""
    from huggingface_hub import snapshot_download

    repository, revision = _parts(name)
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=_WANTED, local_files_only=True))
    except Exception:  # not in the cache: ask the hub
        pass
    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=_WANTED))
    except Exception as error:
        raise ModelNotFound(
            f"the model {name!r} is no folder here and could not be fetched from the hub ({first_line(error)})"
        ) from error


def pinned(name: str, folder: Path) -> str:
    """Return a model's name with the commit that it stands for: owner/name@commit. Other names stay.

    `folder` is where the model lies: the hub's cache names a snapshot after its commit.
    """
    if not is_hub_id(name) or not (folder.parent.name == "snapshots" and _COMMIT.fullmatch(folder.name)):
        return name
    return f"{_parts(name)[0]}@{folder.name}"


def pinned_by(data: Path, name: str) -> str:
    """Return the name under which a data folder has learned on a hub id without a revision; any other name stays.

    So a service that starts again keeps its base model when the hub has a newer commit.
    """
    if not is_hub_id(name) or _parts(name)[1] is not None:
        return name
    try:
        record = json.loads((data / RECORD).read_text())
        known = f"{name}@{record['commit']}" if record["model"] == name else name
    except (OSError, ValueError, KeyError, TypeError):
        return name
    return known if is_hub_id(known) else name


def record_pin(data: Path, name: str) -> None:
    """Keep the commit of a pinned name with the data folder. Raises OSError."""
    repository, revision = _parts(name) if is_hub_id(name) else (name, None)
    if revision is None or not _COMMIT.fullmatch(revision):
        return
    temporary = data / f".{RECORD}.{os.getpid()}"
    temporary.write_text(json.dumps({"model": repository, "commit": revision}) + "\n")
    temporary.replace(data / RECORD)


def _parts(name: str) -> tuple[str, str | None]:
    found = _ID.fullmatch(name)
    assert found is not None
    return found[1], found[2]

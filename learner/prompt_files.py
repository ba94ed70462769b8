"""Files of prompts: JSON Lines with a `prompt` each, a string or a list of messages, and whatever else their reader looks for."""

import json
from pathlib import Path
from typing import Any

from learner.errors import BadData

Messages = list[dict[str, Any]]


def read_prompts(path: Path) -> list[tuple[Messages, dict[str, Any]]]:
    """Return each line's messages and the whole line as an object. Raises BadData, naming the line, for anything else, and for an empty file."""
    try:
        lines = path.expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadData(f"the file of prompts {path} cannot be read ({error})") from error
    found = [_row(line, f"{path}, line {number}") for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise BadData(f"{path} holds no prompts")
    return found


def _row(line: str, where: str) -> tuple[Messages, dict[str, Any]]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise BadData(f"{where}: not JSON ({error})") from error
    prompt: Any = row.get("prompt") if isinstance(row, dict) else None
    if isinstance(prompt, str) and prompt.strip():
        return [{"role": "user", "content": prompt}], row
    turns = prompt if isinstance(prompt, list) else []
    if not turns or not all(isinstance(turn, dict) and isinstance(turn.get("content"), str) and isinstance(turn.get("role"), str) for turn in turns):
        raise BadData(f"{where}: want an object with a prompt, a string or a list of messages with role and content")
    return turns, row

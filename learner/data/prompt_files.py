"""Prompt files: JSON Lines with a `prompt` each, a string or a list of messages, and further fields for the reader."""

from pathlib import Path
from typing import Any

from learner.data.json_lines import json_lines
from learner.errors import BadData

Messages = list[dict[str, Any]]


def read_prompts(path: Path) -> list[tuple[Messages, dict[str, Any]]]:
    """Return each line's messages, and the whole line as an object.

    Raises BadData for any other line, with its number, and for an empty file.
    """
    path = path.expanduser()
    found = [_prompt(row, f"{path}, line {number}") for number, row in json_lines(path, "file of prompts")]
    if not found:
        raise BadData(f"{path} holds no prompts")
    return found


def _prompt(row: Any, where: str) -> tuple[Messages, dict[str, Any]]:
    prompt: Any = row.get("prompt") if isinstance(row, dict) else None
    if isinstance(prompt, str) and prompt.strip():
        return [{"role": "user", "content": prompt}], row
    turns = prompt if isinstance(prompt, list) else []
    if not turns or not all(
        isinstance(turn, dict) and isinstance(turn.get("content"), str) and isinstance(turn.get("role"), str)
        for turn in turns
    ):
        raise BadData(f"{where}: want an object with a prompt, a string or a list of messages with role and content")
    return turns, row

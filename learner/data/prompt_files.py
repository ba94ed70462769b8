"""Prompt files: JSON Lines, or a JSON array, of objects with a `prompt` and further fields for the reader.

A prompt is a string or a list of messages.

`tools` in a line are functions on offer.
"""

from pathlib import Path
from typing import Any

from learner.data.json_lines import json_lines
from learner.errors import BadData
from policy.catalog import bundled_models
from policy.model import resolve_model

Messages = list[dict[str, Any]]


def model_file(model: str, name: str) -> Path | None:
    """Return a file that a model brings, None where it brings none.

    It lies in the model's folder, or beside the folders of bundled models.
    """
    folder = resolve_model(model).resolve()
    is_bundled = folder in [bundled.resolve() for bundled in bundled_models().values()]
    files = [folder / name, *([folder.parent / name] if is_bundled else [])]
    return next((file for file in files if file.is_file()), None)


def read_prompts(path: Path) -> list[tuple[Messages, dict[str, Any]]]:
    """Return each line's messages, and the whole line as an object.

    Raises BadData for any other line, with its number, and for an empty file.
    """
    path = path.expanduser()
    found = [_prompt(row, f"{path}, {at}") for at, row in json_lines(path, "file of prompts")]
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
    tools = row.get("tools", [])
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise BadData(f"{where}: tools are a list of functions in OpenAI's shape")
    return turns, row

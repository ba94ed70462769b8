"""JSON Lines, files with one JSON value per line, and files that are one JSON array of values."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from learner.errors import BadData


def json_lines(path: Path, what: str) -> Iterator[tuple[str, Any]]:
    """Yield where each value is (`line 3`, or `item 3` of an array) and the value, without blank lines.

    Only a line feed ends a line: strings may hold U+2028 and its like. Raises BadData for anything that is not JSON in
    UTF-8; it names the line, or the file with `what` it is.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise BadData(f"the {what} {path} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise BadData(f"the {what} {path} is not UTF-8 text ({error.reason} at byte {error.start})") from error
    if text.lstrip()[:1] == "[":
        for number, value in enumerate(_value(text, str(path)), 1):
            yield f"item {number}", value
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield f"line {number}", _value(line, f"{path}, line {number}")


def _value(line: str, where: str) -> Any:
    try:
        value = json.loads(line)
        if "\\u" in line:  # an escape may be half of a surrogate pair, which no tokenizer takes
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise BadData(f"{where}: lists or objects lie too deep in one another") from error
    except UnicodeEncodeError as error:
        raise BadData(f"{where}: {error.object[error.start]!a} is half of a surrogate pair and no character") from error
    except ValueError as error:
        raise BadData(f"{where}: not JSON ({error})") from error
    return value

"""For the documentation site: examples in docstrings (`>>> ...`) become code blocks, up to the next blank line."""

from typing import Any

import griffe


class DoctestBlocks(griffe.Extension):
    """Fences the examples of every docstring."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change one object's docstring, once it has been read."""
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)


def fenced(text: str) -> str:
    """Return a docstring with fences around its examples: from a line that begins with `>>>` to the next blank line."""
    lines, is_open = [], False
    for line in text.splitlines():
        begins = not is_open and line.lstrip().startswith(">>>")
        ends = is_open and not line.strip()
        indent = line[: len(line) - len(line.lstrip())]
        lines += [indent + "```pycon"] if begins else ["```"] if ends else []
        is_open = (is_open or begins) and not ends
        lines.append(line)
    return "\n".join([*lines, "```"] if is_open else lines)

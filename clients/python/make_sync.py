"""Write attune/_sync from attune/_async, so that the two clients cannot differ: `python make_sync.py [--check]`.

Only the async modules are written by hand. A list of replacements makes the sync ones, and a test checks that the
repository holds the result.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
SOURCE, TARGET = HERE / "attune" / "_async", HERE / "attune" / "_sync"
HEADER = """\
# Written by make_sync.py from attune/_async/{name}.
# Change that file, then run `python clients/python/make_sync.py`.
"""
REPLACEMENTS = [
    (r"\basync (def|for|with)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\basyncio\.sleep\b", "time.sleep"),
    (r"\bimport asyncio\b.*", "import time"),
    (r"attune\._async\b", "attune._sync"),
    (r"\bhttpx\.AsyncClient\b", "httpx.Client"),
    (r"\bAsync([A-Z][A-Za-z]*)\b", r"\1"),
    (r"__a(iter|next|enter|exit)__", r"__\1__"),
    (r"\b(a)(iter_bytes|read|close)\b", r"\2"),
    (r"\banext\(", "next("),
    (r"\bStopAsyncIteration\b", "StopIteration"),
]


def sync_text(name: str, text: str) -> str:
    """Return the sync twin of one async module, formatted by ruff."""
    for pattern, replacement in REPLACEMENTS:
        text = re.sub(pattern, replacement, text)
    ruff = [sys.executable, "-m", "ruff"]
    for command in (["check", "--quiet", "--select", "I", "--fix"], ["format", "--quiet"]):
        text = subprocess.run(
            [*ruff, *command, "--stdin-filename", TARGET / name, "-"],
            input=text,
            capture_output=True,
            check=True,
            text=True,
            encoding="utf-8",
        ).stdout
    return HEADER.format(name=name) + text


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a file would change")
    check = arguments.parse_args().check
    wanted = {TARGET / path.name: sync_text(path.name, path.read_text("utf-8")) for path in sorted(SOURCE.glob("*.py"))}
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text("utf-8") != text]
    stale += [path for path in TARGET.glob("*.py") if path not in wanted]
    for path in stale:
        print(path.relative_to(HERE))
    if check:
        return 1 if stale else 0
    TARGET.mkdir(exist_ok=True)
    for path in stale:
        path.write_text(wanted[path], "utf-8") if path in wanted else path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())

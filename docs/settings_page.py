"""Writes docs/settings.md from the settings' own docstrings: `python docs/settings_page.py`. A test holds the page to
them.
"""

from pathlib import Path

from pydantic_settings import BaseSettings

from learner.settings import LearnerSettings, range_of
from service.settings import ServeSettings

PAGE = Path(__file__).parent / "settings.md"
HEAD = """# Settings

Each setting is a flag (`attune serve --max-slots 6`), an environment variable (`ATTUNE_MAX_SLOTS=6`) and a line of a TOML file
(`--config attune.toml`); a flag wins over the environment, which wins over the file. The learner's settings stand in the file's `[learner]` table
and in `ATTUNE_LEARNER_*`. An unknown name or a value out of range is one line of error before any model loads.
This page is written from the code by `python docs/settings_page.py`.
"""


def table(settings: type[BaseSettings], prefix: str, skip: frozenset[str] = frozenset()) -> str:
    """Return one settings class as a Markdown table."""
    rows = ["| setting | default | range | what it is |", "| --- | --- | --- | --- |"]
    for name, field in settings.model_fields.items():
        if name not in skip:
            what = " ".join((field.description or "").split())
            rows.append(f"| `{name}`<br>`{prefix}{name.upper()}` | `{field.default}` | {range_of(field)} | {what} |")
    return "\n".join(rows)


def page() -> str:
    """Return the whole page."""
    learner = table(LearnerSettings, "ATTUNE_LEARNER_", frozenset({"data", "model", "device"}))
    return (
        f"{HEAD}\n## Serving\n\n{table(ServeSettings, 'ATTUNE_')}\n\n## Learning: the `[learner]` table\n\n{learner}\n"
    )


if __name__ == "__main__":
    PAGE.write_text(page())

"""Writes docs/settings.md from the settings' own docstrings: `python docs/settings_page.py`. A test compares them."""

from pathlib import Path

from config.fields import fields_of, groups_of, range_of
from config.names import Names
from learner.settings import NAMES as LEARNER
from service.settings import NAMES as SERVICE

PAGE = Path(__file__).parent / "settings.md"
HEAD = """# Settings

A setting has one path, and three spellings. Two examples:

| | a setting of the service | a setting of the learner |
| --- | --- | --- |
| path | `engine.max_slots` | `optimizer.learning_rate` |
| flag | `attune serve --engine.max-slots 6` | `attune learn --optimizer.learning-rate 1e-4` |
| environment | `ATTUNE_ENGINE__MAX_SLOTS=6` | `ATTUNE_LEARNER__OPTIMIZER__LEARNING_RATE=1e-4` |
| TOML table | `[engine]` | `[learner.optimizer]` |
| TOML line | `max_slots = 6` | `learning_rate = 1e-4` |

`--config attune.toml` or `ATTUNE_CONFIG` names the TOML file. A flag wins over the environment, and the environment
wins over the file. `attune serve --learner.optimizer.learning-rate 1e-4` passes a setting on to its learner.
An unknown name or a value out of range is one line of error, before any model loads. The error for
an earlier release's name gives today's name. The service and the learner share `data`, `model`,
`chat_template`, `chat_template_kwargs` and `device`.

`python docs/settings_page.py` writes this page from the code.
"""


def tables(names: Names, skip: tuple[str, ...] = ()) -> str:
    """Return one process's settings as Markdown, with a section for each group. `skip` leaves paths out."""
    groups = groups_of(names.kind)
    sections: dict[str, list[str]] = {"": []}
    for path, field in fields_of(names.kind):
        group = path.rpartition(".")[0]
        if path not in skip:
            what = " ".join((field.description or "").split())
            row = f"| `{path}` | `{field.default}` | {range_of(field)} | {what} |"
            sections.setdefault(group, []).append(row)
    parts = []
    for group, rows in sections.items():
        if group:
            title = ".".join(part for part in (names.table, group) if part)
            parts.append(f"### `[{title}]`\n\n{(groups[group].__doc__ or '').strip()}")
        parts.append("\n".join(["| setting | default | range | meaning |", "| --- | --- | --- | --- |", *rows]))
    return "\n\n".join(parts)


def page() -> str:
    """Return the whole page as Markdown."""
    learner = tables(LEARNER, LEARNER.shared)
    return f"{HEAD}\n## The service\n\n{tables(SERVICE)}\n\n## The learner: `[learner]`\n\n{learner}\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

"""Data folders as commands find them, and the one that was probably meant."""

from pathlib import Path

from store.database import FILE_NAME

MADE_BY_RUN = Path("data")  # where `make run` puts it, in the current folder


def is_data_folder(folder: Path) -> bool:
    """Whether a service was ever started on this folder."""
    return (folder / FILE_NAME).exists()


def hint_of_another_folder(folder: Path) -> str:
    """Return a hint at the data folder that was probably meant instead, "" when there is none."""
    is_other = is_data_folder(MADE_BY_RUN) and MADE_BY_RUN.resolve() != folder.resolve()
    return f"; there is one here, from `make run`: name it with --data {MADE_BY_RUN}" if is_other else ""

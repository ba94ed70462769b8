"""Data folders as commands find them, and the one that was probably meant."""

from pathlib import Path

from store.database import FILE_NAME

MADE_BY_RUN = Path("data")  # where `make run` puts it, in the current folder
OF_A_MODEL = "data-*"  # and with MODEL=name


def is_data_folder(folder: Path) -> bool:
    """Whether a service was ever started on this folder."""
    return (folder / FILE_NAME).exists()


def hint_of_another_folder(folder: Path) -> str:
    """Return a hint at the data folder that was probably meant instead, "" when there is none."""
    made = [path for path in (MADE_BY_RUN, *sorted(Path().glob(OF_A_MODEL))) if is_data_folder(path)]
    if not made or any(path.resolve() == folder.resolve() for path in made):
        return ""
    return f"; there is one here, from `make run`: name it with --data {made[0]}"

"""Writes the tables of docs/pocket.md from the bundled model's numbers: `python docs/pocket_page.py`.

Where the numbers are those of other weights it measures first, which takes a quarter of an hour. A test holds the page
to the numbers.
"""

import json
import re
from pathlib import Path

from pocket import weights_folder
from pocket.chats import tables
from pocket.evaluate import Row, overall
from pocket.model_folder import weights_digest
from pocket.report import NUMBERS, measure, write_report

PAGE = Path(__file__).parent / "pocket.md"
START, STOP = "<!-- tables: python docs/pocket_page.py -->", "<!-- end of the tables -->"


def written(page: str) -> str:
    """Return the page with the tables of today's numbers."""
    folder = weights_folder("pocket")
    numbers = json.loads((folder / NUMBERS).read_text(encoding="utf-8"))
    training = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    rows = [Row(**row) for row in numbers["rows"]]
    cost = f"{training['steps']} steps took {training['seconds'] / 3600:.1f} CPU-hours on {training['threads']} thread"
    text = (
        f"{START}\n{tables(numbers['chats'])}\n\n"
        f"Over all skills with feedback {overall(rows, 'greedy'):.0%} of the greedy answers are right, and "
        f"{overall(rows, 'sampled'):.0%} of the sampled ones.\n"
        f"The training of {cost}.\n{STOP}"
    )
    return re.sub(rf"{re.escape(START)}.*{re.escape(STOP)}", lambda _: text, page, flags=re.DOTALL)


def main() -> None:
    """Measure where that is due, and write the page."""
    folder = weights_folder("pocket")
    kept = folder / NUMBERS
    if not kept.exists() or json.loads(kept.read_text(encoding="utf-8"))["digest"] != weights_digest(folder):
        write_report(folder, measure(folder))
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()

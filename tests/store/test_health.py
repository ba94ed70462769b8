"""Looking at the store takes the same work however much is in it."""

from sqlite_utils import Database

from store.database import transaction
from store.events import add_event
from store.health import read_samples


def steps_of_a_look(db: Database) -> int:
    """Return how many times SQLite came to another 100 steps of its machine."""
    steps: list[int] = []
    db.conn.set_progress_handler(lambda: steps.append(1), 100)
    try:
        read_samples(db)
    finally:
        db.conn.set_progress_handler(None, 0)
    return len(steps)


def test_a_look_reads_no_whole_table(db: Database) -> None:
    add_event(db, "a", {})
    few = steps_of_a_look(db)
    with transaction(db):
        for _ in range(5_000):
            add_event(db, "a", {})
    assert steps_of_a_look(db) <= 2 * few + 10

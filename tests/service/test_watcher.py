"""The watcher acts on a change of the store soon after it, however long it may wait between polls."""

import asyncio
import contextlib
from pathlib import Path

from service.async_store import Records
from service.engine.watcher import Snapshot, Watcher
from store.database import changes_mark, connect, open_store
from store.events import add_event
from store.versions import ensure_base_version


def test_a_write_of_another_process_is_seen_without_waiting_for_the_next_poll(tmp_path: Path) -> None:
    with contextlib.closing(open_store(tmp_path)) as db:
        ensure_base_version(db, "0" * 64)
        db.conn.commit()
    seen: list[int] = []

    async def watch() -> None:
        records, came = Records(tmp_path), asyncio.Event()

        async def act(snapshot: Snapshot) -> None:
            seen.append(snapshot.seq)
            came.set()

        watcher = Watcher(records, act, poll_s=3600.0)
        watcher.start()
        try:
            for number in range(3):
                await asyncio.wait_for(came.wait(), 60)
                came.clear()
                with contextlib.closing(connect(tmp_path)) as other:
                    add_event(other, "after", {"number": number})
                    other.conn.commit()
            await asyncio.wait_for(came.wait(), 60)
        finally:
            await watcher.stop()
            records.close()

    asyncio.run(watch())
    assert seen == sorted(set(seen))
    assert len(seen) >= 4


def test_every_commit_changes_the_mark(tmp_path: Path) -> None:
    with contextlib.closing(open_store(tmp_path)) as db:
        marks = [changes_mark(tmp_path)]
        for number in range(3):
            add_event(db, "one", {"number": number})
            db.conn.commit()
            marks.append(changes_mark(tmp_path))
    assert len(set(marks)) == 4
    assert changes_mark(tmp_path / "nothing") == (0, 0)

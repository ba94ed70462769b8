"""/readyz: a row is written and read, and whatever the store cannot do is a 503 that says so."""

from collections.abc import Generator
from pathlib import Path

import httpx
import pytest

from store.database import FILE_NAME
from tests.service.running import Running, running


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.readiness.FRESH_S", 0.0)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Generator[Running, None, None]:
    with running(tmp_path_factory.mktemp("served") / "data") as service:
        yield service


def ready(served: Running) -> httpx.Response:
    return served.http.get("/readyz")


def refused(served: Running) -> str:
    answer = ready(served)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert (answer.json()["status"], answer.json()["store"]) == ("not ready", False)
    return str(answer.json()["reason"])


def test_it_writes_and_reads_a_row(served: Running) -> None:
    marks = []
    for _ in range(2):
        state = {"status": "ready", "model": "parrot", "store": True, "version": 0}
        assert ready(served).json() == {**state, "runner": "parrot", "runner_reason": "it is a parrot"}
        with served.db() as db:
            marks.append(db.execute("SELECT mark FROM readiness").fetchone()[0])
    assert marks[0] < marks[1]


def test_askers_within_a_second_share_one_look(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.readiness.FRESH_S", 600.0)
    marks = set()
    for _ in range(5):
        assert ready(served).status_code == 200
        with served.db() as db:
            marks.add(db.execute("SELECT mark FROM readiness").fetchone()[0])
    assert len(marks) == 1


def test_a_store_that_takes_no_rows_is_not_ready(tmp_path: Path) -> None:
    with running(tmp_path / "data") as served:
        served.service.records.submit(lambda db: db.execute("PRAGMA query_only = ON")).result(5)
        assert "readonly" in refused(served)


def test_a_full_disk_is_not_ready(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as full:
        full.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 3 * 2**20})())
        assert refused(served) == "only 3.0 MiB are free on the data folder's disk"
    assert ready(served).status_code == 200


def test_a_row_that_is_not_given_back_is_not_ready(served: Running) -> None:
    with served.db() as db:
        db.execute("CREATE TRIGGER lost AFTER UPDATE ON readiness BEGIN DELETE FROM readiness; END")
    assert refused(served) == "the store does not give back what was written"
    with served.db() as db:
        db.execute("DROP TRIGGER lost")


def test_a_store_that_hangs_is_not_ready(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.readiness.LIMIT_S", 0.2)
    with served.db():  # holds the write lock, as a hung process would
        assert refused(served) == "the store did not answer within 0.2 s"
    monkeypatch.setattr("service.readiness.LIMIT_S", 20.0)
    assert ready(served).status_code == 200


def test_a_malformed_database_is_not_ready_and_stays_so_until_the_next_start(tmp_path: Path) -> None:
    with running(tmp_path / "data") as served:
        served.chat()
        with served.db() as db:
            (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'completions'").fetchone()
        served.service.records.submit(lambda db: None).result(5)
        with served.db() as db:
            db.conn.rollback()
            assert db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
            db.conn.execute("BEGIN")
        with (tmp_path / "data" / FILE_NAME).open("r+b") as file:
            file.seek((root - 1) * 4096)
            sound = file.read(4096)
            file.seek((root - 1) * 4096)
            file.write(b"\xa5" * 4096)
        assert "malformed" in refused(served)
        assert served.http.get("/healthz").status_code == 200
        with (tmp_path / "data" / FILE_NAME).open("r+b") as file:
            file.seek((root - 1) * 4096)
            file.write(sound)
        assert refused(served).startswith("the database is damaged: ")  # other pages may be too

"""Imports are read as they come: cut into records, on threads, in little memory, and a bad record is one record."""

import asyncio
import json
import threading
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import service.feedback_import as feedback_import
from service.async_store import Records
from service.feedback_import import Import, ImportReport
from service.record_splitter import RecordSplitter
from store.database import open_store
from store.versions import ensure_base_version
from tests.service.parrot import ParrotModel
from tests.service.running import Running, running

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text('ab"\\,[]{}\n é', max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('k"]\\', max_size=2), inner, max_size=3),
    max_leaves=8,
)
GOOD = {"prompt": "Hi", "completion": "Hello!", "label": True}

LINES = {"Content-Type": "application/x-ndjson"}


def split(body: bytes, cuts: Iterable[int], max_bytes: int = 10_000) -> list[tuple[int, bytes | ValueError]]:
    splitter, found, last = RecordSplitter(max_bytes), [], 0
    for cut in [*sorted(cuts), len(body)]:
        found += splitter.feed(body[last:cut])
        last = cut
    return [*found, *splitter.finish()]


@settings(max_examples=80, deadline=None)
@given(st.lists(VALUES, max_size=5), st.booleans(), st.sampled_from([None, 2]), st.data())
def test_an_array_is_cut_alike_wherever_its_blocks_end(
    values: list[Any], escaped: bool, indent: int | None, data: st.DataObject
) -> None:
    body = json.dumps(values, ensure_ascii=escaped, indent=indent).encode()
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=8))
    found = split(body, cuts)
    assert [number for number, _ in found] == list(range(1, len(values) + 1))
    assert [json.loads(text) for _, text in found] == values  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(st.lists(VALUES, max_size=5), st.data())
def test_lines_are_cut_alike_wherever_their_blocks_end(values: list[Any], data: st.DataObject) -> None:
    body = "".join(json.dumps({"a": value}) + "\r\n\n" for value in values).encode()
    found = split(body, data.draw(st.lists(st.integers(0, len(body)), max_size=8)))
    assert [number for number, _ in found] == list(range(1, 2 * len(values), 2))
    assert [json.loads(text)["a"] for _, text in found] == values  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("body", "numbers", "faults"),
    [
        (b'{"a":\n 1,\n "b": [2]}', [1], {}),  # one object on several lines
        (b'[1,{"a":"x', [1], {2: "the array ends"}),
        (b"[1] 2", [1], {2: "more after the end"}),
        (b"[1,2,]", [1, 2], {}),
        (b'["' + b"x" * 100 + b'",{"a":' + b"[" * 90 + b"]" * 90 + b"},3]", [3], {1: "102 bytes", 2: "186 bytes"}),
        (b'{"a": "' + b"x" * 100 + b'"}\n{"b": 1}', [2], {1: "109 bytes"}),
        (b"\xef\xbb\xbf [1]", [1], {}),
        (b'{nope\n{"b": 1}', [1, 2], {}),  # parsing finds the fault of the first
        (b"", [], {}),
        (b" [ ] ", [], {}),
    ],
    ids=range(10),
)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_record_at_fault_is_one_record(body: bytes, numbers: list[int], faults: dict[int, str], size: int) -> None:
    found = split(body, range(0, len(body), size), max_bytes=64)
    assert [number for number, text in found if isinstance(text, bytes)] == numbers
    wrong = {number: str(text) for number, text in found if isinstance(text, ValueError)}
    assert wrong.keys() == faults.keys()
    assert all(faults[number] in wrong[number] for number in wrong)


def test_a_first_record_of_endless_depth_takes_no_other_with_it() -> None:
    deep = b'{"prompt":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    found = split(deep + b"\n" + json.dumps(GOOD).encode(), [], max_bytes=2**20)
    assert [number for number, _ in found] == [1, 2]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_blank_lines_are_counted_and_are_no_records(size: int) -> None:
    body = b"\n\n \n" * 20 + b'{"a": 1}\n\r\n\n{"b": 2}\n\n'
    found = split(body, range(0, len(body), size), max_bytes=30)
    assert found == [(61, b'{"a": 1}'), (64, b'{"b": 2}')]


def test_a_conversation_far_too_long_is_not_tokenized(read: Callable[..., ImportReport]) -> None:
    tokenized: list[str] = []

    class Counting(ParrotModel):
        def completion_ids(self, messages: Any, text: str) -> tuple[list[int], list[int]]:
            tokenized.append(text)
            return super().completion_ids(messages, text)

    records = [{**GOOD, "prompt": "x" * 500_000}, {**GOOD, "completion": "yes"}]
    report = read("\n".join(map(json.dumps, records)).encode(), Counting(), max_record_bytes=2**20)
    assert (report.added, tokenized) == (1, ["yes"])
    assert report.errors == ["record 1: its conversation has 500006 characters; one may have 500000"]


BAD_RECORDS = [
    r'{"prompt": "Hi", "completion": "a\ud800", "label": true}',
    r'{"prompt": "Hi", "completion": "a\u0000", "label": true}',
    '{"prompt": "Hi", "completion": "Hello", "label": true, "x": NaN}',
    '{"prompt": "Hi", "completion": "Hello", "label": true, "x": 1e999}',
    '{"prompt": "Hi", "completion": "Hello", "label": true, "x": 9223372036854775808}',
    '{"prompt": "Hi", "completion": "Hello", "label": true, "x": ' + "[" * 65 + "]" * 65 + "}",
    '{"data": {"rating": 1}, "snapshot": {"chat": 7}}',
    '{"data": 3, "snapshot": {}}',
    '{"nope": }',
    "[]",
    "7",
]


@pytest.mark.parametrize("form", ["array", "lines"])
def test_bad_values_in_an_import_cost_that_record_alone(served: Running, form: str) -> None:
    records = [json.dumps(GOOD), *BAD_RECORDS, json.dumps({**GOOD, "prompt": "Ho"})]
    body = "[" + ",\n".join(records) + "]" if form == "array" else "\n".join(records)
    report = served.http.post("/v1/import", content=body, headers=LINES).json()
    assert (report["imported"], report["skipped"]) == (2, len(BAD_RECORDS)), report
    assert [error.split(":")[0] for error in report["errors"]] == [f"record {2 + at}" for at in range(len(BAD_RECORDS))]
    for path in ("/v1/feedback", "/v1/export?format=raw", "/v1/export?format=unpaired", "/v1/raters"):
        assert served.http.get(path).status_code == 200
    assert served.http.get("/v1/learner").json()["waiting"] == 2


def raw_record(served: Running) -> dict[str, Any]:
    """Return a raw record as this service exports it, under ids that are not here yet."""
    answer = served.chat()
    served.http.post("/v1/feedback", json={"completion_id": answer["id"], "thumb": "up"}).raise_for_status()
    record: dict[str, Any] = json.loads(served.http.get("/v1/export?format=raw").text.splitlines()[-1])
    record["feedback"].update(id="fb-other", completion_id="chatcmpl-other")
    record["completion"]["id"] = "chatcmpl-other"
    return record


@pytest.mark.parametrize(
    ("side", "name", "value", "reason"),
    [
        ("feedback", "created_at", "garbage", "feedback.created_at: must be a time"),
        ("feedback", "created_at", "2026-01-01T00:00:00", "with its offset"),
        ("completion", "created_at", "", "completion.created_at"),
        ("completion", "completion_ids", [65, 70_000], "token id 70000 is past this model's vocabulary of 261"),
        ("completion", "prompt_ids", [-1], "completion.prompt_ids[0]: must be at least 0"),
        ("completion", "completion_ids", ["a"], "completion.completion_ids[0]: must be an integer"),
        ("completion", "messages", "Hi", "completion.messages: must be a list"),
        ("completion", "messages", [{"role": "user"}], "completion.messages[0].content"),
        ("completion", "id", "another", "it is not the completion"),
        ("completion", "propensity", 7.0, "completion.propensity: must be at most 1"),
        ("feedback", "value", 0.5, "a thumb is 1.0 (up) or 0.0 (down)"),
        ("feedback", "value", None, "a thumb needs its value"),
        ("feedback", "kind", "shrug", "feedback.kind: must be"),
        ("feedback", "rater_id", "a\nb", "feedback.rater_id"),
        ("feedback", "metadata", [], "feedback.metadata: must be an object"),
        ("feedback", "mood", 1, "feedback.mood: this field is unknown"),
        ("feedback", "other_completion_id", "x", "it is not the completion 'x'"),
    ],
)
def test_a_raw_record_is_checked_field_by_field(shared: Running, side: str, name: str, value: Any, reason: str) -> None:
    wrong = raw_record(shared)
    wrong[side] = {**wrong[side], name: value}
    report = shared.http.post("/v1/import", content=json.dumps(wrong), headers=LINES).json()
    assert report["imported"] == 0
    assert reason in report["errors"][0], report


def test_a_row_that_the_store_refuses_takes_no_other_with_it(served: Running) -> None:
    first = raw_record(served)
    first["feedback"]["idempotency_key"] = "k"
    second = json.loads(json.dumps(first))
    second["feedback"].update(id="fb-second", body_digest="another")
    third = json.loads(json.dumps(first))
    third["feedback"].update(id="fb-third", idempotency_key=None)
    report = served.http.post("/v1/import", json=[first, second, third]).json()
    assert report["imported"] == 2
    assert len(report["errors"]) == 1
    assert "record 2: the Idempotency-Key 'k'" in report["errors"][0]


async def chunks_of(body: bytes, size: int = 4096) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., ImportReport]:
    """Import a body into a fresh store, without HTTP."""

    def read_body(body: bytes, model: ParrotModel | None = None, max_record_bytes: int = 2**18) -> ImportReport:
        db = open_store(tmp_path)
        ensure_base_version(db, "parrot")
        db.close()
        records = Records(tmp_path)
        try:
            chosen = model or ParrotModel()
            return asyncio.run(Import(records, chosen, None, max_record_bytes).read(chunks_of(body)))
        finally:
            records.close()

    return read_body


def test_parsing_and_rendering_never_run_on_the_event_loop(
    read: Callable[..., ImportReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, seen = threading.current_thread(), set()
    parse = feedback_import.json_value

    class Watched(ParrotModel):
        def completion_ids(self, messages: Any, text: str) -> tuple[list[int], list[int]]:
            seen.add(("render", threading.current_thread() is here))
            return super().completion_ids(messages, text)

    def watched(text: bytes) -> Any:
        seen.add(("parse", threading.current_thread() is here))
        return parse(text)

    monkeypatch.setattr(feedback_import, "json_value", watched)
    body = json.dumps([{**GOOD, "completion": f"number {at}"} for at in range(1200)]).encode()
    assert read(body, Watched()).added == 1200
    assert seen == {("parse", False), ("render", False)}


@pytest.mark.parametrize("form", ["array", "lines"])
def test_memory_does_not_grow_with_the_import(
    read: Callable[..., ImportReport], form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback_import, "BLOCK_BYTES", 2**13)

    def peak_of(count: int) -> int:
        records = [json.dumps({**GOOD, "completion": f"{at} {count} " + "x" * 500}) for at in range(count)]
        body = ("[" + ",".join(records) + "]" if form == "array" else "\n".join(records)).encode()
        tracemalloc.start()
        try:
            assert read(body, max_record_bytes=2**13).added == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak_of(20)  # what is made once
    assert peak_of(200) < 1.8 * peak_of(50)


def test_a_body_of_empty_lists_is_given_up(read: Callable[..., ImportReport]) -> None:
    report = read(b"[" + b"[]," * 300_000 + b"[]]")
    assert (report.added, report.faults, len(report.errors)) == (0, 10_000, 101)
    assert "the rest of the body was not read" in report.errors[-1]


def test_an_import_over_its_limit_is_413_and_what_came_before_stays(tmp_path: Path) -> None:
    lines = "\n".join(json.dumps({**GOOD, "completion": f"{at} " + "x" * 5000}) for at in range(1200))
    with running(tmp_path / "data", limits__body_mb=0.01, limits__import_mb=4.0) as served:
        over = served.http.post("/v1/import", content=lines, headers=LINES)
        assert (over.status_code, over.json()["error"]["code"]) == (413, "body_too_large")
        unannounced = served.http.post(
            "/v1/import", content=iter([lines.encode()[:3_000_000], lines.encode()[:3_000_000]]), headers=LINES
        )
        assert unannounced.status_code == 413
        assert 0 < len(served.http.get("/v1/feedback", params={"limit": 500}).json()["data"]) <= 500
        inside = served.http.post("/v1/import", content=lines[:3_000_000], headers=LINES)
        assert inside.status_code == 200

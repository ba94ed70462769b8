"""Feedback out to TRL's forms and in again, and Open WebUI's export."""

import json
from typing import Any

import pytest

from service.feedback_import_formats import parse_record
from tests.service.running import Running, running

ASK = {"messages": [{"role": "user", "content": "Hello!"}]}
JSON_LINES = {"Content-Type": "application/x-ndjson"}


def export(served: Running, form: str) -> list[dict[str, Any]]:
    text = served.http.get("/v1/export", params={"format": form}).text
    return [json.loads(line) for line in text.splitlines()]


def say_something(served: Running) -> None:
    """A thumb, a correction, a choice, a tie, and a thumb that was taken back."""
    up, corrected, back = (served.chat(f"say: {text}") for text in ("good", "rnog", "gone"))
    served.http.post("/v1/feedback", json={"completion_id": up["id"], "thumb": "up"}).raise_for_status()
    served.http.post("/v1/feedback", json={"completion_id": corrected["id"], "correction": "wrong"}).raise_for_status()
    response = served.http.post("/v1/feedback", json={"completion_id": back["id"], "thumb": "up"}).json()
    served.http.delete(f"/v1/feedback/{response['id']}").raise_for_status()
    for winner in ("B", "tie", "both_bad"):
        asked = served.http.post("/v1/comparisons", json=ASK).json()
        served.http.post(f"/v1/comparisons/{asked['id']}/choice", json={"winner": winner}).raise_for_status()


def test_the_forms_are_those_that_trl_reads(served: Running) -> None:
    say_something(served)
    pairs = export(served, "preference")
    assert pairs[0] == {
        "prompt": [{"role": "user", "content": "say: rnog"}],
        "chosen": [{"role": "assistant", "content": "wrong"}],
        "rejected": [{"role": "assistant", "content": "rnog"}],
    }
    assert len(pairs) == 2
    unpaired = export(served, "unpaired")
    assert unpaired[0] == {
        "prompt": [{"role": "user", "content": "say: good"}],
        "completion": [{"role": "assistant", "content": "good"}],
        "label": True,
    }
    assert [line["label"] for line in unpaired] == [True, False, False]
    sft = export(served, "sft")
    assert [line["messages"][-1]["content"] for line in sft[:2]] == ["good", "wrong"]
    assert all(line["messages"][-1]["role"] == "assistant" for line in sft)
    raw = export(served, "raw")
    assert len(raw) == 6
    assert [line["feedback"]["seq"] for line in raw] == [1, 2, 3, 4, 5, 6]
    assert raw[2]["feedback"]["retracted_at"] is not None
    assert served.http.get("/v1/export", params={"format": "csv"}).status_code == 400


@pytest.mark.parametrize("form", ["preference", "unpaired", "sft", "raw"])
def test_what_goes_out_comes_in_again_once(
    served: Running, tmp_path_factory: pytest.TempPathFactory, form: str
) -> None:
    say_something(served)
    text = served.http.get("/v1/export", params={"format": form}).content
    with running(tmp_path_factory.mktemp("other") / "data") as other:
        first = other.http.post("/v1/import", content=text, headers=JSON_LINES).json()
        again = other.http.post("/v1/import", content=text, headers=JSON_LINES, params={"format": form}).json()
        assert first == {"imported": len(text.splitlines()), "skipped": 0, "already_here": 0, "errors": []}
        assert again == {"imported": 0, "skipped": first["imported"], "already_here": first["imported"], "errors": []}
        if form != "raw":
            assert export(other, form) == export(served, form)
        else:
            assert [line["feedback"]["kind"] for line in export(other, "raw")] == [
                line["feedback"]["kind"] for line in export(served, "raw")
            ]
        waiting = other.http.get("/v1/learner").json()["waiting"]
        assert waiting == {"preference": 2, "unpaired": 3, "sft": 3, "raw": 4}[form]
        assert other.versions()[0]["answers"] == 0  # nobody here gave these answers


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


ASKED, GOOD, BAD = turn("user", "Hi there"), turn("assistant", "Hello!"), turn("assistant", "What?")
ULTRA = {"prompt": "Hi there", "prompt_id": "x", "messages": [ASKED, GOOD], "score_chosen": 8.5, "score_rejected": 7.0}
DATA_SETS = [
    {**ULTRA, "chosen": [ASKED, GOOD], "rejected": [ASKED, BAD]},
    {"chosen": [turn("user", "Ho"), GOOD], "rejected": [turn("user", "Ho"), turn("assistant", "")], "score_chosen": 1},
    {"chosen": [ASKED, GOOD, ASKED, GOOD], "rejected": [ASKED, GOOD, ASKED, BAD]},
    {"chosen": "The sky is blue.", "rejected": "The sky is green."},
    {"chosen": "Q: a?\n\nA: yes", "rejected": "Q: a?\n\nA: no"},
    {"prompt": [turn("system", ""), ASKED], "chosen": [GOOD], "rejected": [BAD]},
    {"prompt": "", "completion": "It was a dark night.", "label": True},
    {"prompt": "Hi", "completion": "", "label": False},
    {"prompt": "Hi", "completion": " \n", "label": True},
]


def rate_at_the_edges(served: Running) -> None:
    """Feedback on answers to empty turns, on an empty answer, and by several kinds on one answer."""
    for messages in ([turn("system", ""), turn("user", "say: a")], [turn("system", "Be"), turn("user", "")]):
        body = {"model": "attune", "messages": messages}
        answer = served.http.post("/v1/chat/completions", json=body).json()["id"]
        for given in ({"thumb": "up"}, {"correction": "no"}):
            served.http.post("/v1/feedback", json={"completion_id": answer, **given}).raise_for_status()
    text = served.http.post("/v1/completions", json={"model": "attune", "prompt": ""}).json()["id"]
    served.http.post("/v1/feedback", json={"completion_id": text, "thumb": "down"}).raise_for_status()


@pytest.mark.parametrize("form", ["preference", "unpaired", "sft"])
def test_export_then_import_is_the_identity(
    served: Running, tmp_path_factory: pytest.TempPathFactory, form: str
) -> None:
    say_something(served)
    rate_at_the_edges(served)
    lines = "\n".join(map(json.dumps, DATA_SETS))
    report = served.http.post("/v1/import", content=lines, headers=JSON_LINES).json()
    assert (report["imported"], report["errors"]) == (len(DATA_SETS), [])
    text = served.http.get("/v1/export", params={"format": form}).content
    before = {other: export(served, other) for other in ("preference", "unpaired", "sft", "raw")}
    report = served.http.post("/v1/import", content=text, headers=JSON_LINES).json()
    with running(tmp_path_factory.mktemp("other") / "data") as other:
        elsewhere = other.http.post("/v1/import", content=text, headers=JSON_LINES).json()
        assert (elsewhere["imported"], elsewhere["errors"]) == (len(before[form]), [])
        assert other.http.get("/v1/export", params={"format": form}).content == text
    if form != "sft":  # where data sets of other forms came in, their demonstrations are new
        assert (report["imported"], report["already_here"]) == (0, len(before[form]))
        assert {other: export(served, other) for other in before} == before


@pytest.mark.parametrize("form", ["preference", "unpaired", "sft"])
def test_a_service_adds_nothing_of_what_it_exports_itself(served: Running, form: str) -> None:
    say_something(served)
    rate_at_the_edges(served)
    text = served.http.get("/v1/export", params={"format": form}).content
    report = served.http.post("/v1/import", content=text + text, headers=JSON_LINES).json()
    num_lines = len(text.splitlines())
    assert report == {"imported": 0, "skipped": 2 * num_lines, "already_here": 2 * num_lines, "errors": []}


def test_a_raw_export_with_the_former_name_of_the_token_ids_is_read(
    served: Running, tmp_path_factory: pytest.TempPathFactory
) -> None:
    say_something(served)
    text = served.http.get("/v1/export", params={"format": "raw"}).content
    assert b'"completion_ids"' in text
    former = text.replace(b'"completion_ids"', b'"reply_ids"')
    with running(tmp_path_factory.mktemp("other") / "data") as other:
        assert other.http.post("/v1/import", content=former, headers=JSON_LINES).json()["errors"] == []
        kept = [line["completion"]["completion_ids"] for line in export(other, "raw")]
    assert kept == [line["completion"]["completion_ids"] for line in export(served, "raw")]


@pytest.mark.parametrize("form", ["preference", "raw"])
def test_characters_that_end_lines_elsewhere_come_through(
    served: Running, tmp_path_factory: pytest.TempPathFactory, form: str
) -> None:
    correction = "one\u2028two\u2029three\u0085four\x0bfive\x1csix"
    for question in ("say: a\u2028b", "say: c\u0085d"):
        answer = served.chat(question)
        served.http.post(
            "/v1/feedback", json={"completion_id": answer["id"], "correction": correction}
        ).raise_for_status()
    text = served.http.get("/v1/export", params={"format": form}).content
    with running(tmp_path_factory.mktemp("other") / "data") as other:
        assert other.http.post("/v1/import", content=text, headers=JSON_LINES).json() == {
            "imported": 2,
            "skipped": 0,
            "already_here": 0,
            "errors": [],
        }
        pairs = other.http.get("/v1/export", params={"format": "preference"}).content
        assert pairs == served.http.get("/v1/export", params={"format": "preference"}).content
        assert [json.loads(line)["chosen"][0]["content"] for line in pairs.decode().removesuffix("\n").split("\n")] == [
            correction,
            correction,
        ]


def test_lines_at_fault_are_named_and_the_others_taken(served: Running) -> None:
    lines = [
        '{"prompt": "Hi", "chosen": "Hello!", "rejected": "What?"}',
        "{nope",
        '{"prompt": "Hi", "completion": "Hello!", "label": "yes"}',
        "[1]",
        '{"what": 1}',
        '{"prompt": "Hi", "chosen": "same", "rejected": "same"}',
        '{"messages": [{"role": "user", "content": "Hi"}]}',
        '{"prompt": "Hi", "completion": "Hello there!", "label": true}',
    ]
    response = served.http.post("/v1/import", content="\n".join(lines), headers=JSON_LINES).json()
    assert (response["imported"], response["skipped"], response["already_here"]) == (2, 6, 0)
    again = served.http.post("/v1/import", content="\n".join(lines), headers=JSON_LINES).json()
    assert (again["imported"], again["skipped"], again["already_here"], len(again["errors"])) == (0, 8, 2, 6)
    assert [error.split(":")[0] for error in response["errors"]] == [
        f"record {number}" for number in (2, 3, 4, 5, 6, 7)
    ]
    assert served.http.post("/v1/import", content=b"\xff\xfe\x00", headers=JSON_LINES).status_code == 400


def test_open_webuis_export_is_read(served: Running) -> None:
    messages = {
        "m1": {"id": "m1", "role": "user", "content": "What is 2+2?", "parentId": None, "childrenIds": ["m2", "m3"]},
        "m2": {"id": "m2", "role": "assistant", "content": "5", "parentId": "m1"},
        "m3": {"id": "m3", "role": "assistant", "content": "4", "parentId": "m1"},
    }
    record = {
        "id": "x",
        "user_id": "u7",
        "type": "rating",
        "data": {"rating": -1, "model_id": "a", "reason": "Not factually correct", "comment": "it is 4"},
        "meta": {"message_id": "m2", "arena": True},
        "snapshot": {"chat": {"chat": {"history": {"messages": messages, "currentId": "m3"}}}},
    }
    wrong = {**record, "meta": {"message_id": "m9"}}
    response = served.http.post("/v1/import", json=[record, wrong]).json()
    assert response["imported"] == 1
    assert "m9" in response["errors"][0]
    line = export(served, "raw")[0]
    assert (line["completion"]["text"], line["feedback"]["value"], line["feedback"]["rater_id"]) == (
        "5",
        0.0,
        "openwebui:u7",
    )
    assert line["feedback"]["comment"] == "Not factually correct: it is 4"
    assert line["completion"]["messages"] == [{"role": "user", "content": "What is 2+2?"}]


def test_trls_implicit_prompt_and_one_json_object_are_read() -> None:
    hello = {"role": "user", "content": "Hi"}
    record = {
        "chosen": [hello, {"role": "assistant", "content": "Hello!"}],
        "rejected": [hello, {"role": "assistant", "content": "What?"}],
    }
    imported = parse_record(record, None)
    assert (imported.messages, imported.completions) == ([hello], ("Hello!", "What?"))
    with pytest.raises(ValueError, match="same messages"):
        parse_record(
            {**record, "rejected": [{"role": "user", "content": "Ho"}, {"role": "assistant", "content": "What?"}]}, None
        )


def test_an_import_takes_the_prompt_that_chosen_and_rejected_begin_with(served: Running) -> None:
    """TRL's implicit prompt: two texts that begin alike, or conversations beside a prompt as text."""
    hello = {"role": "user", "content": "Hi"}
    yes, no = {"role": "assistant", "content": "Hello!"}, {"role": "assistant", "content": "What?"}
    lines = [
        {"chosen": "The sky is blue.", "rejected": "The sky is green."},
        {"prompt": "Hi", "chosen": [hello, yes], "rejected": [hello, no]},
        {"chosen": "nothing", "rejected": "in common"},
        {"messages": [hello, {**yes, "tool_calls": [{"type": "function"}]}]},
    ]
    report = served.http.post("/v1/import", content="\n".join(map(json.dumps, lines)), headers=JSON_LINES).json()
    assert (report["imported"], report["skipped"]) == (2, 2)
    assert "record 3: without a prompt, chosen and rejected begin with the same text" in report["errors"][0]
    assert "record 4: tool calls are not supported" in report["errors"][1]
    pairs = export(served, "preference")
    assert [(pair["prompt"][0]["content"], pair["chosen"][0]["content"]) for pair in pairs] == [
        ("The sky is", " blue."),
        ("Hi", "Hello!"),
    ]

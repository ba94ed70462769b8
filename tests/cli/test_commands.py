"""The commands that talk to a service, run in this process: tables, JSON and errors."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from attune.cli import app as command
from attune.cli.app import run
from tests.sdk.fake_service import FakeService

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the client's own commands."""
    monkeypatch.setattr(command, "entry_points", lambda group: ())


def printed(capsys: Capture, *arguments: str) -> str:
    """Run one command that must succeed; return its output."""
    status = run(arguments)
    out, err = capsys.readouterr()
    assert status == 0, err
    return out


def as_json(capsys: Capture, *arguments: str) -> Any:
    """Run one command with --json; return the value that it prints."""
    return json.loads(printed(capsys, *arguments, "--json"))


def refused(capsys: Capture, *arguments: str) -> str:
    """Run one command that must fail with status 1, nothing on stdout and one line on stderr; return the line."""
    status = run(arguments)
    out, err = capsys.readouterr()
    assert (status, out, err.count("\n")) == (1, "", 1), (status, out, err)
    return err


def test_versions_for_people_and_for_machines(capsys: Capture) -> None:
    lines = printed(capsys, "versions").splitlines()
    assert lines[0].split() == [
        "version",
        "state",
        "from",
        "feedback",
        "answers",
        "thumbs",
        "win",
        "rate",
        "95",
        "%",
        "interval",
        "made",
    ]
    assert lines[2].split()[:5] == ["1", "live", "0", "16", "10"]
    assert "0.688" in lines[2]
    assert "0.36 to 0.90" in lines[2]
    assert [version["state"] for version in as_json(capsys, "versions")] == ["retired", "live", "rejected"]


def test_one_version_with_its_gate(capsys: Capture) -> None:
    shown = printed(capsys, "versions", "show", "2")
    assert "The gate rejected it.\n  held_out_gain is -0.41, wanted >= 0\n" in shown
    assert "The gate let it pass." in printed(capsys, "versions", "show", "1")
    assert as_json(capsys, "versions", "show", "2")["gate"]["checks"][0]["limit"] == ">= 0"
    assert "fb-v1     choice" in printed(capsys, "versions", "show", "1", "--feedback")
    assert [one["kind"] for one in as_json(capsys, "versions", "show", "1", "--feedback")["feedback"]] == [
        "thumb",
        "choice",
    ]
    assert refused(capsys, "versions", "show", "9") == "attune: There is no version 9.\n"


def test_options_before_and_after_show_mean_the_same(
    capsys: Capture, fake: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ATTUNE_BASE_URL")
    assert as_json(capsys, "versions", "--url", fake.url, "show", "1")["version"] == 1
    assert as_json(capsys, "versions", "show", "1", "--url", fake.url)["version"] == 1


def test_promote_roll_back_and_update(capsys: Capture, fake: FakeService) -> None:
    assert printed(capsys, "promote", "0") == "version 0 is live\n"
    assert printed(capsys, "rollback", "1") == "version 1 is live\n"
    assert as_json(capsys, "rollback")["version"] == 0
    assert "5 pieces of feedback waiting" in printed(capsys, "update")
    fake.learner_state, fake.is_obeyed = "preparing", False
    assert printed(capsys, "update").startswith("the learner is preparing, 16 of 64; 5 pieces")
    assert refused(capsys, "promote", "2") == "attune: Version 2 is rejected and cannot go live.\n"
    assert fake.requests("rollback")[-1].body == {}


def test_a_chat_that_is_piped_prints_just_the_answer(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, fake: FakeService
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("Hello!\n"))
    assert printed(capsys, "chat") == "Hello to you!\n"
    assert (
        printed(capsys, "chat", "Show", "me", "code.")
        == "Here you are:\n\n```python\nprint('hi')\n```\n\n- one\n- two\n"
    )
    assert fake.seen[-1].body["messages"] == [{"role": "user", "content": "Show me code."}]


def test_a_chat_takes_its_options(capsys: Capture, fake: FakeService) -> None:
    answer = as_json(
        capsys,
        "chat",
        "Hello!",
        "--model",
        "attune@0",
        "--system",
        "Be kind.",
        "--temperature",
        "0",
        "--max-tokens",
        "9",
    )
    assert (answer["version"], answer["text"]) == (0, "Well, hello to you, my dear friend!")
    body = fake.seen[-1].body
    assert body["messages"][0] == {"role": "system", "content": "Be kind."}
    assert (body["temperature"], body["max_tokens"]) == (0.0, 9)


def test_nothing_to_ask_is_an_error(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("  \n"))
    assert "nothing to ask" in refused(capsys, "chat")


def test_the_last_answer_can_be_rated_by_that_name(capsys: Capture, fake: FakeService) -> None:
    assert "no last answer" in refused(capsys, "rate", "last", "up")
    printed(capsys, "chat", "Hello!")
    assert printed(capsys, "rate", "last", "up", "--reason", "clear") == "fb-1: thank you\n"
    assert as_json(capsys, "rate", "chatcmpl-0", "--score", "0.5", "--comment", "So so.")["score"] == 0.5
    assert as_json(capsys, "rate", "chatcmpl-0", "--correction", "Hi.")["kind"] == "correction"
    assert [row["kind"] for row in fake.feedback] == ["thumb", "score", "correction"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rate", "x"), "exactly one thing"),
        (("rate", "x", "up", "--score", "1"), "exactly one thing"),
        (("rate", "x", "upp"), "did you mean up?"),
        (("rate", "x", "up", "--reason", "nice"), "choose from correct, helpful"),
        (("rate", "nothing", "up"), "There is no completion 'nothing'."),
        (("export", "--format", "preferences"), "did you mean preference?"),
        (("promote",), "number"),
        (("promote", "-1"), "-1"),
        (("frobnicate",), "No such command 'frobnicate'"),
        (("chat", "--frob"), "--frob"),
        (("import", "no-such-file.jsonl"), "attune: no-such-file.jsonl: No such file or directory\n"),
        (("erase", "alice"), "--yes"),
        (("withdraw", "alice"), "--yes"),
        (("versions", "--url", "ftp://x"), "http://"),
        (("versions", "--url", "http://127.0.0.1:9"), "attune serve"),
        (("versions", "--key", "at-unknown"), "unknown or revoked"),
        (("chat", "Hi", "--model", "attune@77"), "attune@77"),
        (("chat", "Please fail in the middle", "--json"), None),
    ],
)
def test_an_error_is_one_line_and_status_1(capsys: Capture, arguments: tuple[str, ...], message: str | None) -> None:
    if message is None:
        assert json.loads(printed(capsys, *arguments))["text"].endswith("fail in the middle")
    else:
        assert message in refused(capsys, *arguments)


def test_an_answer_that_breaks_off_ends_in_status_1(capsys: Capture, fake: FakeService) -> None:
    fake.cut_stream_after = 2
    assert run(["chat", "Hello!"]) == 1
    out, err = capsys.readouterr()
    assert out == "Hello to\n"
    assert "broke in the middle" in err


def test_a_fault_of_the_service_is_reported_with_the_id_of_the_request(capsys: Capture, fake: FakeService) -> None:
    fake.fault("/v1/learner/update", status=500)
    assert refused(capsys, "update") == "attune: Fault 500. (request req-7)\n"


def test_raters_and_erasing(capsys: Capture) -> None:
    lines = printed(capsys, "raters").splitlines()
    assert lines[1].split()[:2] == ["alice", "3"]
    assert lines[2].endswith("quarantined")
    assert lines[3] == (
        "spammer is not trusted (0.90), and versions 2 learned from that feedback: "
        "`attune withdraw spammer` makes version 1 live"
    )
    assert (
        printed(capsys, "withdraw", "spammer", "--yes", "--reason", "spam")
        == "withdrawn versions: 2; version 1 is live, and spammer is in quarantine\n"
    )
    assert as_json(capsys, "withdraw", "spammer", "--yes")["live"] == 1
    assert (
        printed(capsys, "erase", "spammer", "--yes")
        == "erased spammer: 3 feedback, 4 answers, 1 conversations; withdrawn versions: 2\n"
    )
    assert as_json(capsys, "erase", "alice", "--yes")["versions"] == [2]


def test_what_went_out_comes_in_again(capfd: Capture, tmp_path: Path, fake: FakeService) -> None:
    file = tmp_path / "pairs.jsonl"
    assert run(["export", "--format", "sft", "--out", str(file)]) == 0
    assert capfd.readouterr() == ("", f"2 lines in {file}\n")
    assert run(["export"]) == 0
    assert capfd.readouterr().out == file.read_text()
    assert printed(capfd, "import", str(file)) == "took in 2, left out 0\n"
    assert as_json(capfd, "import", str(file), "--format", "preference")["imported"] == 2
    fake.imported_before = True
    assert printed(capfd, "import", str(file)) == "took in 0, left out 2, of which 2 were here already\n"
    assert as_json(capfd, "import", str(file)) == {"imported": 0, "skipped": 2, "errors": [], "already_here": 2}


def test_events_as_lines_and_as_json(capsys: Capture) -> None:
    lines = printed(capsys, "events", "--after", "0", "--count", "3").splitlines()
    assert lines[2].split() == ["3", "version.live", "version=1", "previous=0", "reason=gate"]
    rows = [
        json.loads(line) for line in printed(capsys, "events", "--after", "1", "--count", "2", "--json").splitlines()
    ]
    assert [row["kind"] for row in rows] == ["run.started", "version.live"]


def test_a_key_is_taken_from_the_option_or_the_environment(
    capsys: Capture, fake: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATTUNE_API_KEY", "at-env")
    printed(capsys, "versions")
    assert fake.seen[-1].headers["authorization"] == "Bearer at-env"
    printed(capsys, "versions", "--key", "at-flag")
    assert fake.seen[-1].headers["authorization"] == "Bearer at-flag"

"""`attune chat` at a pseudo-terminal: answers, feedback on them, and every way to end."""

from pathlib import Path

import pytest

from tests.cli.terminal import terminal
from tests.sdk.fake_service import FakeService


def test_a_conversation_with_feedback_on_its_answers(fake: FakeService, home: Path) -> None:
    with terminal("chat", home=home, url=fake.url) as screen:
        screen.expect("attune@1> ")
        screen.type("/up")
        screen.expect("no answer yet")
        screen.type("Hello!")
        screen.expect("Hello to you!")
        screen.type("/up helpful So brief.")
        screen.expect("Thumb up saved.")
        screen.type("/down that was a slip")
        screen.expect("/fix")
        screen.type("/fix Hi.")
        screen.expect("Correction saved.")
        screen.type("And then?")
        screen.expect("[1] And then?")
        screen.type("/retry")
        screen.expect("[1] And then?")
        screen.type("/versions")
        screen.expect("wins 69% of comparisons")
        screen.type("/nonsense")
        screen.expect("There is no /nonsense")
        screen.type("/help")
        screen.expect("/compare")
        screen.type("/quit")
        assert screen.status() == 0
    thumbs = [(row.get("thumb"), row.get("reason"), row.get("comment"), row.get("correction")) for row in fake.feedback]
    assert thumbs == [
        ("up", "helpful", "So brief.", None),
        ("down", None, "that was a slip", None),
        (None, None, None, "Hi."),
    ]
    second, third = (seen.body for seen in fake.requests("/v1/chat")[1:])
    assert [turn["content"] for turn in second["messages"]] == ["Hello!", "Hi.", "And then?"]
    assert second["conversation_id"] == "c1"
    assert third["messages"] == second["messages"]
    assert third["metadata"] == {"regenerated_from": "chatcmpl-1"}


def test_two_answers_side_by_side(fake: FakeService, home: Path) -> None:
    with terminal("chat", home=home, url=fake.url) as screen:
        screen.expect("> ")
        screen.type("/compare Tell me a joke.")
        between = screen.expect("Which is better?")
        assert "Knock, knock." in between
        assert "goose" in between
        assert "attune@0" not in between
        screen.type("2")
        screen.expect("1 was attune@1, 2 was attune@0")
        screen.type("/compare")
        screen.expect("no answer yet")
        screen.type("Go on.")
        screen.expect("[1] Go on.")
        screen.type("/compare")
        screen.expect("Which is better?")
        screen.type("")
        screen.expect("Skipped.")
        screen.expect("attune@1> ")
        screen.press("d")
        assert screen.status() == 0
    assert fake.requests("/choice")[0].body == {"winner": "B"}
    turns = [turn["content"] for turn in fake.requests("/v1/chat")[0].body["messages"]]
    assert turns == ["Tell me a joke.", "There once was a goose who could not stop talking, and nor can I.", "Go on."]


def test_markdown_is_shown_as_such(fake: FakeService, home: Path) -> None:
    with terminal("chat", "Show me code.", home=home, url=fake.url) as screen:
        assert screen.status() == 0
        assert "```" not in screen.shown
        assert "print('hi')" in screen.shown
        assert "• two" in screen.shown
    with terminal("chat", "Show me code.", home=home, url=fake.url, term="dumb") as screen:
        assert screen.status() == 0
        assert "```python" in screen.shown


def test_ctrl_c_stops_an_answer_and_at_the_prompt_the_command(fake: FakeService, home: Path) -> None:
    with terminal("chat", home=home, url=fake.url) as screen:
        screen.expect("attune@1> ")
        screen.type("Talk on and on")
        screen.expect("[1] Talk on")  # the answer and not the echo of the question, so that Ctrl-C stops the answer
        screen.press("c")
        screen.expect("(stopped)")
        screen.expect("attune@1> ")
        screen.type("Hello!")
        screen.expect("Hello to you!")
        screen.expect("attune@1> ")
        screen.rest()
        screen.press("c")
        assert screen.status() == 130
        assert "Traceback" not in screen.shown


@pytest.mark.parametrize("arguments", [("chat", "Talk on and on"), ("events", "--after", "0")])
def test_ctrl_c_ends_any_command_with_130(fake: FakeService, home: Path, arguments: tuple[str, ...]) -> None:
    with terminal(*arguments, home=home, url=fake.url) as screen:
        screen.expect("Talk" if arguments[0] == "chat" else "version.live")
        screen.press("c")
        assert screen.status() == 130
        assert "Traceback" not in screen.shown


def test_a_new_version_is_announced_at_the_prompt(fake: FakeService, home: Path) -> None:
    with terminal("chat", home=home, url=fake.url) as screen:
        screen.expect("attune@1> ")
        fake.live = 0
        screen.type("Hello!")
        screen.expect("my dear friend!")
        screen.expect("Version 0 is live now.")
        screen.expect("attune@0> ")
        screen.type("/quit")
        assert screen.status() == 0


def test_a_service_that_goes_away_does_not_end_the_conversation(fake: FakeService, home: Path) -> None:
    with terminal("chat", home=home, url=fake.url) as screen:
        screen.expect("attune@1> ")
        fake.fault("/v1/", breaks="before", times=4)
        screen.type("Hello!")
        screen.expect("broke")
        screen.expect("attune (offline)> ")
        fake.faults.clear()
        screen.type("Hello!")
        screen.expect("Hello to you!")
        screen.expect("attune@1> ")
        screen.type("/quit")
        assert screen.status() == 0


def test_what_was_typed_is_there_the_next_time(fake: FakeService, home: Path) -> None:
    for _ in range(2):
        with terminal("chat", home=home, url=fake.url) as screen:
            screen.expect("attune@1> ")
            screen.type("Hello!")
            screen.expect("Hello to you!")
            screen.expect("attune@1> ")
            screen.type("/quit")
            assert screen.status() == 0
    history = home / "state" / "attune" / "chat-history"
    assert history.read_text().count("Hello!") == 2
    assert history.stat().st_mode & 0o077 == 0

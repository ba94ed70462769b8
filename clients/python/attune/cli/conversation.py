"""A conversation in the terminal, with words about the answers: /up, /down, /fix, /compare and the rest."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, get_args

import attune
from attune._types import Reason, Winner
from attune.cli import last
from attune.cli.options import console
from attune.cli.rendering import speech

HELP = """\
/up [why]        a thumb up for the last answer      /down [why]      a thumb down; "why" may begin with a reason:
/fix [text]      what it should have been                             wrong, unhelpful, unsafe, too_long, too_short, style, ...
/retry           answer the last question again      /compare [text]  two answers side by side, and you choose
/versions        the versions of the model           /new             begin a new conversation
/help            this                                /quit            leave (or Ctrl-D)"""
SIDES: dict[str, Winner] = {
    "1": "A",
    "a": "A",
    "2": "B",
    "b": "B",
    "t": "tie",
    "=": "tie",
    "x": "both_bad",
    "n": "both_bad",
}
REASONS = set(get_args(Reason))


class Conversation:
    """One person at one terminal."""

    def __init__(
        self,
        client: attune.Client,
        model: str,
        sampling: attune.Sampling,
        begin: list[dict[str, Any]],
        *,
        is_plain: bool,
    ) -> None:
        self._client, self._model, self._sampling, self._begin, self._is_plain = (
            client,
            model,
            sampling,
            begin,
            is_plain,
        )
        self._messages = list(begin)
        self._conversation_id: str | None = None
        self._reply: attune.Answer | None = None
        self._live: int | None = None
        self._acts: dict[str, Callable[[str], None]] = {
            "up": lambda why: self._rate("up", why),
            "down": lambda why: self._rate("down", why),
            "fix": self._fix,
            "retry": self._retry,
            "compare": self._compare,
            "versions": self._versions,
            "new": self._new,
            "help": self._help,
        }

    def run(self) -> None:
        """Talk until /quit or Ctrl-D. Ctrl-C stops an answer, and at the prompt it ends the command (status 130)."""
        with _line_editing([f"/{name}" for name in (*self._acts, "quit")]):
            self._print("Say something, or /help. Your thumbs teach it: /up, /down, /fix, /compare.")
            while True:
                try:
                    line = input(self._prompt()).strip()
                except EOFError:
                    print()
                    return
                if line in ("/quit", "/exit", "/q"):
                    return
                if line:
                    self._hear(line)

    def _hear(self, line: str) -> None:
        """Do what one line says. What goes wrong is told, and the conversation goes on."""
        try:
            if line.startswith("/"):
                name, _, rest = line[1:].partition(" ")
                act = self._acts.get(name)
                act(rest.strip()) if act else self._print(f"There is no /{name}; /help lists what there is.")
            else:
                self._ask([*self._messages, {"role": "user", "content": line}])
        except attune.AttuneError as error:
            self._print(str(error), "red")
        except KeyboardInterrupt:
            self._print("\n(stopped)")

    def _prompt(self) -> str:
        """The live version, which may have changed since the last answer."""
        if self._model != "attune":
            return f"{self._model}> "
        try:
            live = self._client.learner().live
        except attune.AttuneError:
            return "attune (offline)> "
        if self._live is not None and live is not None and live != self._live:
            self._print(f"Version {live} is live now.", "green")
        self._live = live
        return f"attune@{live}> "

    def _ask(self, messages: list[dict[str, Any]], metadata: dict[str, Any] | None = None) -> None:
        sampling: attune.Sampling = {**self._sampling, "metadata": metadata} if metadata else self._sampling
        stream = self._client.chat(
            messages, model=self._model, stream=True, conversation_id=self._conversation_id, **sampling
        )
        with stream, speech(self._is_plain) as out:
            for piece in stream:
                out.say(piece)
            self._reply = stream.reply
        self._messages = list(self._reply.messages)
        self._conversation_id = self._reply.conversation_id
        last.remember(self._reply)

    def _answered(self) -> attune.Answer:
        if self._reply is None:
            raise attune.AttuneError("There is no answer yet: say something first.")
        return self._reply

    def _rate(self, thumb: Any, why: str) -> None:
        word, _, rest = why.partition(" ")
        reason: Any = word if word in REASONS else None
        comment = (rest if reason else why).strip() or None
        self._answered().rate(thumb, reason=reason, comment=comment)
        self._print(
            "Noted: that was good."
            if thumb == "up"
            else "Noted: that was not good. /fix says what it should have been."
        )

    def _fix(self, text: str) -> None:
        reply = self._answered()
        text = text or input("It should have been: ").strip()
        if not text:
            self._print("Nothing changed.")
            return
        reply.correct(text)
        self._messages[-1] = {"role": "assistant", "content": text}
        self._print("Noted, and the conversation goes on as if it had said that.")

    def _retry(self, _: str) -> None:
        reply = self._answered()
        self._ask(list(reply.messages[:-1]), {"regenerated_from": reply.id})

    def _compare(self, text: str) -> None:
        """Two answers to a new question, or to the last one again."""
        asked = [*self._messages, {"role": "user", "content": text}] if text else list(self._answered().messages[:-1])
        comparison = self._client.compare(asked, conversation_id=self._conversation_id)
        self._show(comparison)
        answer = input("Which is better? 1, 2, t (tie), n (neither), Enter to skip: ").strip().lower()[:1]
        if answer not in SIDES:
            self._print("Skipped.")
            return
        choice = comparison.choose(SIDES[answer])
        self._print(f"Noted. 1 was {choice.model_of('A')}, 2 was {choice.model_of('B')}.")
        taken = {"A": comparison.a, "B": comparison.b}.get(choice.winner)
        if taken is not None:
            self._messages = [*asked, {"role": "assistant", "content": taken.content}]

    def _show(self, comparison: attune.Comparison) -> None:
        if self._is_plain or not sys.stdout.isatty():
            for number, side in enumerate(comparison.candidates, 1):
                print(f"--- {number} ---\n{side.content}")
            return
        from rich.markdown import Markdown
        from rich.panel import Panel
        from rich.table import Table

        screen = console()
        panels = [
            Panel(Markdown(side.content), title=str(number)) for number, side in enumerate(comparison.candidates, 1)
        ]
        if screen.width >= 80:
            grid = Table.grid(expand=True)
            grid.add_column(ratio=1)
            grid.add_column(ratio=1)
            grid.add_row(*panels)
            screen.print(grid)
        else:
            screen.print(*panels, sep="\n")

    def _versions(self, _: str) -> None:
        for version in self._client.versions():
            rate = f"  wins {version.win_rate:.0%} of comparisons" if version.win_rate is not None else ""
            thumbs = f"{version.thumbs.up} up, {version.thumbs.down} down"
            print(
                f"{version.version:>4}  {version.state:10} of {version.items} items; {version.answers} answers, {thumbs}{rate}"
            )

    def _new(self, _: str) -> None:
        self._messages, self._conversation_id, self._reply = list(self._begin), None, None
        self._print("A new conversation.")

    def _help(self, _: str) -> None:
        self._print(HELP)

    def _print(self, text: str, style: str = "dim") -> None:
        console().print(text, style=style, markup=False)


@contextlib.contextmanager
def _line_editing(words: list[str]) -> Iterator[None]:
    """Editing, history over sessions and completion of commands, where Python has readline."""
    try:
        import readline
    except ImportError:
        yield
        return
    file = last.state_folder() / "chat-history"
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        readline.read_history_file(file)
    readline.set_history_length(1000)
    readline.set_completer_delims(" ")
    readline.set_completer(
        lambda text, state: next(iter([word for word in words if text and word.startswith(text)][state:]), None)
    )
    readline.parse_and_bind("tab: complete")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            readline.write_history_file(file)
            os.chmod(file, 0o600)  # people's words

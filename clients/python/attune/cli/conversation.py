"""A conversation in the terminal, with commands for feedback: /up, /down, /fix, /compare and the rest."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, get_args

import attune
from attune._types.comparisons import Winner
from attune._types.feedback import Reason
from attune.cli import last_answer
from attune.cli.printing import console, feedback_count
from attune.cli.rendering import rendering_for

HELP = """\
/up [why]        a thumb up for the last answer      /down [why]      a thumb down; "why" may begin with a reason:
/fix [text]      a correction of the last answer                      wrong, unhelpful, unsafe, too_long, style, ...
/retry           answer the last question again      /compare [text]  two answers side by side, and you choose
/versions        the versions of the model           /new             begin a new conversation
/help            this list                           /quit            leave (or Ctrl-D)"""
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
    """The conversation of one person at one terminal."""

    def __init__(
        self,
        client: attune.Client,
        model: str,
        sampling: attune.Sampling,
        begin: list[dict[str, Any]],
        *,
        is_plain: bool,
    ) -> None:
        self._client, self._model, self._sampling = client, model, sampling
        self._begin, self._is_plain = begin, is_plain
        self._messages = list(begin)
        self._conversation_id: str | None = None
        self._answer: attune.Answer | None = None
        self._live: int | None = None
        self._commands: dict[str, Callable[[str], None]] = {
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
        """Chat until /quit or Ctrl-D. Ctrl-C stops an answer; at the prompt it ends the command (status 130)."""
        with _line_editing([f"/{name}" for name in (*self._commands, "quit")]):
            self._print("Ask something, or type /help. Attune learns from your feedback: /up, /down, /fix, /compare.")
            while True:
                try:
                    line = input(self._prompt()).strip()
                except EOFError:
                    print()
                    return
                if line in ("/quit", "/exit", "/q"):
                    return
                if line:
                    self._run_line(line)

    def _run_line(self, line: str) -> None:
        """Run one line. After an error the conversation goes on."""
        try:
            if line.startswith("/"):
                name, _, rest = line[1:].partition(" ")
                command = self._commands.get(name)
                command(rest.strip()) if command else self._print(f"There is no /{name}; /help lists the commands.")
            else:
                self._ask([*self._messages, {"role": "user", "content": line}])
        except attune.AttuneError as error:
            self._print(str(error), "red")
        except KeyboardInterrupt:
            self._print("\n(stopped)")

    def _prompt(self) -> str:
        """Return the prompt with the live version; announce a new one."""
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
        with stream, rendering_for(self._is_plain) as out:
            for delta in stream:
                out.add(delta)
            self._answer = stream.answer
        self._messages = list(self._answer.messages)
        self._conversation_id = self._answer.conversation_id
        last_answer.remember(self._answer)

    def _last_answer(self) -> attune.Answer:
        if self._answer is None:
            raise attune.AttuneError("There is no answer yet: ask something first.")
        return self._answer

    def _rate(self, thumb: Any, why: str) -> None:
        first, _, rest = why.partition(" ")
        reason: Any = first if first in REASONS else None
        comment = (rest if reason else why).strip() or None
        self._last_answer().rate(thumb, reason=reason, comment=comment)
        self._print("Thumb up saved." if thumb == "up" else "Thumb down saved. /fix gives a correction.")

    def _fix(self, text: str) -> None:
        answer = self._last_answer()
        text = text or input("Your correction: ").strip()
        if not text:
            self._print("Nothing changed.")
            return
        answer.correct(text)
        self._messages[-1] = {"role": "assistant", "content": text}
        self._print("Correction saved. The conversation goes on from it.")

    def _retry(self, _: str) -> None:
        answer = self._last_answer()
        self._ask(list(answer.messages[:-1]), {"regenerated_from": answer.id})

    def _compare(self, text: str) -> None:
        """Show two answers to a new question, or to the last one, and ask for a choice."""
        last_prompt = [] if text else list(self._last_answer().messages[:-1])
        asked = [*self._messages, {"role": "user", "content": text}] if text else last_prompt
        comparison = self._client.compare(asked, conversation_id=self._conversation_id)
        self._show(comparison)
        key = input("Which is better? 1, 2, t (tie), n (neither), Enter to skip: ").strip().lower()[:1]
        if key not in SIDES:
            self._print("Skipped.")
            return
        choice = comparison.choose(SIDES[key])
        self._print(f"Choice saved. 1 was {choice.model_of('A')}, 2 was {choice.model_of('B')}.")
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
            counts = f"{version.answers} answers, {version.thumbs.up} up, {version.thumbs.down} down"
            print(f"{version.version:>4}  {version.state:10} of {feedback_count(version.items)}; {counts}{rate}")

    def _new(self, _: str) -> None:
        self._messages, self._conversation_id, self._answer = list(self._begin), None, None
        self._print("A new conversation.")

    def _help(self, _: str) -> None:
        self._print(HELP)

    def _print(self, text: str, style: str = "dim") -> None:
        console().print(text, style=style, markup=False)


@contextlib.contextmanager
def _line_editing(commands: list[str]) -> Iterator[None]:
    """Turn on line editing, a history over sessions and completion of commands, if Python has readline."""
    try:
        import readline
    except ImportError:
        yield
        return
    file = last_answer.state_folder() / "chat-history"
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        readline.read_history_file(file)
    readline.set_history_length(1000)
    readline.set_completer_delims(" ")
    readline.set_completer(
        lambda text, state: next(iter([name for name in commands if text and name.startswith(text)][state:]), None)
    )
    readline.parse_and_bind("tab: complete")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            readline.write_history_file(file)
            os.chmod(file, 0o600)  # it holds people's messages

"""`attune chat` at a pseudo-terminal, and piped, against a real service with the small bundled model."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.cli.terminal import terminal
from tests.served import serve


def test_a_person_talks_to_a_real_service(tmp_path: Path) -> None:
    with serve(tmp_path / "data", "--no-learner") as served:
        with terminal("chat", "--plain", home=tmp_path, url=served.url) as screen:
            screen.expect("attune@0> ")
            screen.type("Hello!")
            screen.expect("attune@0> ")
            screen.type("/up")
            screen.expect("Thumb up saved.")
            screen.type("/retry")
            screen.expect("attune@0> ")
            screen.expect("attune@0> ")
            screen.type("/compare What is 7 + 5?")
            screen.expect("Which is better?")
            screen.type("1")
            screen.expect("1 was attune@0, 2 was attune@0")
            screen.type("/quit")
            assert screen.status() == 0
        environment = {**os.environ, "ATTUNE_BASE_URL": served.url, "XDG_STATE_HOME": str(tmp_path / "state")}

        def attune(*arguments: str, stdin: str = "") -> str:
            command = [sys.executable, "-m", "attune", *arguments]
            return subprocess.run(
                command, input=stdin, capture_output=True, text=True, check=True, env=environment, cwd=tmp_path
            ).stdout

        assert attune("chat", stdin="Hello!").strip()
        assert json.loads(attune("rate", "last", "down", "--json"))["thumb"] == "down"
        (version,) = json.loads(attune("versions", "--json"))
        assert (version["state"], version["thumbs"]) == ("live", {"up": 1, "down": 1})
        first = attune("events", "--after", "0", "--count", "1", "--json")
        assert json.loads(first)["kind"] == "completion"

"""The command `attune`. Its own commands talk to a service; installed servers add theirs.

Nothing heavy is imported here, and typer and rich only when the command runs: they come with `pip install
'attune[cli]'`.
"""

import sys
from importlib.util import find_spec


def main() -> None:
    """Run the command and end the process with its status."""
    if find_spec("typer") is None or find_spec("rich") is None:
        print(
            "attune: the command needs two more packages; install them with: pip install 'attune[cli]'", file=sys.stderr
        )
        sys.exit(1)
    from attune.cli.app import run

    sys.exit(run(sys.argv[1:]))

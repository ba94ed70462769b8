"""The command `attune`. Its own commands talk to a service; an installed server adds its own.

Typer and rich come with `pip install 'attune-client[cli]'`; they are imported only when the command runs.
"""

import sys
from importlib.util import find_spec


def main() -> None:
    """Run the command and end the process with its exit status."""
    if find_spec("typer") is None or find_spec("rich") is None:
        message = "the command needs two more packages; install them with: pip install 'attune-client[cli]'"
        print(f"attune: {message}", file=sys.stderr)
        sys.exit(1)
    from attune.cli.app import run

    sys.exit(run(sys.argv[1:]))

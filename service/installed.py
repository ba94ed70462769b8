"""The release that is installed."""

from importlib.metadata import PackageNotFoundError, version

DISTRIBUTION = "attune-server"


def installed_release() -> str:
    """Return the installed release, "0" where the code runs without being installed."""
    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "0"

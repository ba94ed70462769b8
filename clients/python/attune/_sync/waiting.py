# Written by make_sync.py from attune/_async/waiting.py.
# Change that file, then run `python clients/python/make_sync.py`.
"""Waiting, which the two clients do by different means."""


def pause(seconds: float) -> None:
    """Wait."""
    import time

    time.sleep(seconds)

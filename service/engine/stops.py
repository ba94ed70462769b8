"""Stop strings in a stream of text: found across delta borders, and never shown, not even in part."""

from collections.abc import Sequence


class StopFilter:
    """Passes text on until one of `stops` appears; holds back an end that may become one. Pure."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.found = False

    def feed(self, text: str) -> str:
        """Return what may be shown now. Once `found`, everything that comes is dropped."""
        if self.found:
            return ""
        if not self._stops:
            return text
        self._held += text
        at = min((start for stop in self._stops if (start := self._held.find(stop)) >= 0), default=-1)
        if at >= 0:
            self.found = True
            shown, self._held = self._held[:at], ""
            return shown
        keep = self._longest_beginning()
        cut = len(self._held) - keep
        shown, self._held = self._held[:cut], self._held[cut:]
        return shown

    def finish(self) -> str:
        """Return what was held back, since no more text comes."""
        shown, self._held = self._held, ""
        return "" if self.found else shown

    def _longest_beginning(self) -> int:
        """Return the length of the longest end of the held text with which a stop string begins."""
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        for length in range(min(longest, len(self._held)), 0, -1):
            end = self._held[-length:]
            if any(len(stop) > length and stop.startswith(end) for stop in self._stops):
                return length
        return 0

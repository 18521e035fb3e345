"""What the guest prints, kept out of the way until somebody asks for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

KEPT = 20
"""Lines that are shown when the console is turned on: those that came before."""

LONGEST = 4096
"""Bytes after which a line without an end is shown as one."""


class QuietConsole:
    """Takes the console's bytes, and tells whole lines to `say` while it is `shown`."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self.say = say
        self.shown = False
        self._last: deque[str] = deque(maxlen=KEPT)
        self._open = b""

    def printed(self, data: bytes) -> None:
        """Take what the guest has printed."""
        *lines, self._open = (self._open + data).split(b"\n")
        if len(self._open) > LONGEST:
            lines.append(self._open)
            self._open = b""
        for line in lines:
            self._take(line.decode("utf-8", "replace").rstrip("\r"))

    def toggle(self) -> None:
        """Show what comes, and the last lines before it; or show nothing any more."""
        self.shown = not self.shown
        if self.shown:
            for line in self._last:
                self.say(f"| {line}")

    def _take(self, line: str) -> None:
        self._last.append(line)
        if self.shown:
            self.say(f"| {line}")

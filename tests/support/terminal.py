"""A terminal with a command on it, and somebody who reads and types."""

from __future__ import annotations

import os
import pty
import re
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fcntl import ioctl
from pathlib import Path

from tests.support.waits import readable

_ESCAPES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][0-9A-B]|[=>78])"
)
_WHERE = b"\x1b[6n"
"""A program's question where the cursor is; a terminal answers."""


class Typist:
    """Reads what is on the terminal, in the order in which it came, and types."""

    def __init__(self, fd: int, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.all = ""
        """Everything that was printed, without colours and moves of the cursor."""
        self._fd, self._raw, self._seen = fd, b"", 0

    def type(self, text: str) -> None:
        """Press the keys of `text`; "\\r" is the return key, "\\x03" Ctrl-C."""
        os.write(self._fd, text.encode())

    def reads(self, text: str, seconds: float = 60.0) -> str:
        """Read on until `text` comes; what stood before it."""
        deadline = time.monotonic() + seconds
        while (at := self.all.find(text, self._seen)) < 0:
            left = deadline - time.monotonic()
            assert left > 0, f"no {text!r} within {seconds:g} s after {self.all[self._seen:]!r}"
            if not self._read(left):
                at = self.all.find(text, self._seen)
                assert at >= 0, f"the command ended without {text!r}: {self.all[self._seen:]!r}"
                break
        before = self.all[self._seen : at]
        self._seen = at + len(text)
        return before

    def reads_until(self, holds: Callable[[], bool], seconds: float = 60.0) -> None:
        """Read what comes until `holds` does: who does not read holds up who prints."""
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, f"not within {seconds:g} s: {self.all[-2000:]!r}"
            self._read(0.05)
        self._seen = len(self.all)

    def does(self, line: str, then: str) -> str:
        """Type a line, and read on until `then` comes."""
        self.type(f"{line}\r")
        return self.reads(then)

    def ends(self, seconds: float = 60.0) -> int:
        """Read to the end of it; the exit code."""
        while self._read(seconds):
            pass
        return self.process.wait(seconds)

    def _read(self, seconds: float) -> bool:
        if not readable(self._fd, seconds):
            return True
        try:
            data = os.read(self._fd, 1 << 16)
        except OSError:  # how Linux tells that the other side is closed
            return False
        if _WHERE in data:
            os.write(self._fd, b"\x1b[1;1R" * data.count(_WHERE))
        self._raw += data
        self.all = _ESCAPES.sub("", self._raw.decode("utf-8", "replace"))
        return bool(data)


@contextmanager
def on_a_terminal(
    command: Sequence[str | Path], cwd: Path, size: tuple[int, int] = (40, 120)
) -> Iterator[Typist]:
    """`command` on a terminal of its own, `size` rows and columns; killed if it is still there."""
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
    process = subprocess.Popen(
        ["setsid", "--ctty", *command], stdin=theirs, stdout=theirs, stderr=theirs, cwd=cwd,
        env={**os.environ, "TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    try:
        yield Typist(ours, process)
    finally:
        process.kill()
        process.wait()
        os.close(ours)

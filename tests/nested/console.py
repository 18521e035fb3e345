"""What L1 says on its serial line: the kernel's words, the command's output, its results."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import tarfile
from collections.abc import Callable
from enum import Enum
from pathlib import Path

from tests.nested.errors import NestedError

KEPT = 1 << 20
"""Bytes of output that are kept for whoever asks for it; the older ones go."""

Hear = Callable[[str], None]
"""Told what the command prints, as it comes."""


class Stage(Enum):
    """How far L1 is."""

    BOOTING = "booting"
    RUNNING = "running the command"
    SENDING = "sending the files"
    DONE = "done"


class Console:
    """Reads the line as it comes; `nonce` tells L1's own marks from output.

    `hear` is told of the output, `report` of each report that `tests.nested.reporting` sends.
    """

    def __init__(self, nonce: str, hear: Hear, report: Hear) -> None:
        self._mark = b"\x1f" + nonce.encode() + b" "
        self._hear, self._report = hear, report
        self._rest = b""
        self._digest = ""
        self.stage = Stage.BOOTING
        self.booting = bytearray()
        self.output = bytearray()
        self.sent = bytearray()
        self.kernel = ""
        self.status: int | None = None

    def feed(self, data: bytes) -> None:
        """Take what has come."""
        self._rest += data
        while self._rest:
            before, mark, after = self._rest.partition(self._mark)
            if not mark:
                held = _beginning(self._rest, self._mark)
                self._take(self._rest[: len(self._rest) - held])
                self._rest = self._rest[len(self._rest) - held :]
                return
            line, newline, rest = after.partition(b"\n")
            if not newline:  # the mark's line is not complete
                self._take(before)
                self._rest = mark + after
                return
            self._take(before)
            self._turn(line.decode())
            self._rest = rest

    def unpack(self, directory: Path) -> list[Path]:
        """Write the files that were sent below `directory`, and list them.

        Raises NestedError where they are damaged.
        """
        try:
            packed = base64.b64decode(bytes(self.sent), validate=False)
            if hashlib.sha256(packed).hexdigest() != self._digest:
                raise NestedError("the files from L1 are damaged: their checksum differs")
            with tarfile.open(fileobj=io.BytesIO(packed)) as files:
                files.extractall(directory, filter="data")
                return [directory / file.name for file in files if file.isfile()]
        except (binascii.Error, tarfile.TarError) as error:
            raise NestedError(f"the files from L1 are damaged: {error}") from error

    @property
    def last_words(self) -> str:
        """The end of what L1 said, for an error."""
        said = self.booting if self.stage is Stage.BOOTING else self.output
        return said.decode(errors="replace")[-3000:].strip() or "it said nothing"

    def _turn(self, line: str) -> None:
        match line.split(" ", 1 if line.startswith("report ") else -1):
            case ["begin", kernel]:
                self.stage, self.kernel = Stage.RUNNING, kernel
            case ["report", report]:
                self._report(report)
            case ["status", status, digest]:
                self.stage, self.status, self._digest = Stage.SENDING, int(status), digest
            case ["end"]:
                self.stage = Stage.DONE

    def _take(self, data: bytes) -> None:
        if not data:
            return
        match self.stage:
            case Stage.BOOTING:
                self.booting += data
            case Stage.RUNNING:
                self.output += data
                del self.output[:-KEPT]
                self._hear(data.decode(errors="replace"))
            case Stage.SENDING:
                self.sent += data


def _beginning(data: bytes, mark: bytes) -> int:
    """How many of the last bytes of `data` may be the beginning of `mark`."""
    for size in range(min(len(data), len(mark) - 1), 0, -1):
        if data.endswith(mark[:size]):
            return size
    return 0

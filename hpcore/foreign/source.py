"""Files as lines, whatever they are packed in, in memory that does not grow with them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from hpcore.errors import HpcoreError
from hpcore.foreign import simple_trace
from hpcore.log.packed import PackedDamaged, unpacked

LONGEST_LINE = 8 << 20
"""Bytes: the answer to a big query has a few megabytes. What is longer is cut, and said."""

_ENCODINGS = ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"))


class SourceError(HpcoreError):
    """A file that cannot be read at all: which, why, and what to do."""


class Lines:
    """The lines of one file, numbered from 1. `said` is what could not be read, and why.

    `place` is where the file of the name `path` can be opened, where that is elsewhere.
    """

    def __init__(self, path: str, place: str | None = None) -> None:
        self.path = path
        self._place = path if place is None else place
        self.name = Path(path).name
        self.said: list[str] = []
        self.number = 0
        self.ended_whole = True
        """Whether the last line ended; a file that was cut, or is written still, has a torn one."""
        self.packed: str | None = None
        self.size = 0
        self.binary = False

    def __iter__(self) -> Iterator[str]:
        self.said, self.number = [], 0
        try:
            with _opened(self._place, self.path) as raw:
                self.size = _size(raw)
                yield from self._unpacked(raw)
        except OSError as error:
            raise SourceError(f"{self.path}: {error.strerror or error}") from error

    def _unpacked(self, raw: io.BufferedReader) -> Iterator[str]:
        buffered, self.packed = unpacked(raw)
        try:
            beginning = buffered.peek(16)[:16]
            if beginning.startswith(simple_trace.BEGINNING):
                self.binary = True
                yield from self._records(buffered)
            else:
                yield from self._text(buffered, beginning)
        except PackedDamaged as error:
            self._damaged(error)

    def _damaged(self, error: Exception) -> None:
        self.ended_whole = False
        self.said.append(
            f"{self.path}:{self.number}: the {self.packed} stream is damaged or cut after this "
            f"line: {error}"
        )

    def _records(self, stream: IO[bytes]) -> Iterator[str]:
        try:
            for line in simple_trace.records(stream):
                self.number += 1
                if line is not None:
                    yield line
        except simple_trace.Damaged as error:
            self.ended_whole = False
            self.said.append(f"{self.path}: {error}; what comes after is left out")

    def _text(self, stream: io.BufferedReader, beginning: bytes) -> Iterator[str]:
        for mark, encoding in _ENCODINGS:
            if beginning.startswith(mark):
                yield from self._decoded(stream, encoding)
                return
        cut = False
        while line := stream.readline(LONGEST_LINE):
            ended = line.endswith(b"\n")
            if not ended and len(line) >= LONGEST_LINE:
                if not cut:
                    self.number += 1
                    self.said.append(f"{self.path}:{self.number}: the line is longer than "
                                     f"{LONGEST_LINE >> 20} MiB; it is left out")
                cut = True
                continue
            if cut:
                cut = False
                continue
            self.number += 1
            self.ended_whole = ended
            if self.number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            yield line.decode(errors="replace").rstrip("\r\n\0")

    def _decoded(self, stream: IO[bytes], encoding: str) -> Iterator[str]:
        stream.read(2)
        for line in io.TextIOWrapper(stream, encoding=encoding, errors="replace"):
            self.number += 1
            self.ended_whole = line.endswith("\n")
            yield line.rstrip("\r\n\0")


@contextmanager
def _opened(place: str, path: str) -> Iterator[io.BufferedReader]:
    where = Path(place)
    if where.is_dir():
        raise SourceError(f"{path}: Is a directory; name the files in it")
    with where.open("rb") as file:
        yield file


def _size(file: IO[bytes]) -> int:
    try:
        return file.seek(0, 2) if file.seekable() else 0
    finally:
        if file.seekable():
            file.seek(0)

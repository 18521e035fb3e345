"""A log that comes as a stream: in pieces, without end, or not at all."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from hpcore.log import FORMATS, EventRefused, LogDamaged, LogUnreadable, NotALog, read
from hpcore.log import header as headers
from hpcore.log.framing import MAX_BATCH, MAX_LINE, NO_SUM, seal
from hpcore.log.scan import CHUNK
from hpcore.model.events import Noted
from tests.log.samples import HEADER, SOME, flat, write


class Pieces(io.RawIOBase):
    """A stream that gives what it is given, a piece a read, and counts its bytes."""

    name = "pipe"

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.given = 0
        self._pieces = pieces

    def read(self, size: int = -1, /) -> bytes:
        piece = next(self._pieces, b"")
        self.given += len(piece)
        return piece


def test_a_log_may_come_byte_by_byte(tmp_path: Path) -> None:
    data = b"".join(write(tmp_path / "log"))
    stream = Pieces(bytes([byte]) for byte in data)
    _, records = read(stream)  # type: ignore[arg-type]
    assert [record.event for record in records] == flat(SOME)


def test_the_longest_line_may_come_without_its_newline_first(tmp_path: Path) -> None:
    (_, short) = write(tmp_path / "log", [[Noted("")]])
    longest = Noted("x" * (MAX_LINE - len(short.rstrip())))
    header, line = write(tmp_path / "log", [[longest]])
    assert len(line.rstrip()) == MAX_LINE
    _, records = read(Pieces(iter([header, line[:-1], b"\n"])))  # type: ignore[arg-type]
    assert [record.event for record in records] == [longest]
    with pytest.raises(EventRefused, match=f"its line has {MAX_LINE + 1} bytes"):
        write(tmp_path / "log", [[Noted(longest.text + "x")]])


def header_of(size: int) -> bytes:
    """A header's line of `size` bytes, with its newline: who wrote it was verbose."""

    def saying(words: str) -> bytes:
        header = attrs.evolve(HEADER, versions={"qemu": words}, format=FORMATS.current)
        return seal(headers.encode(header), NO_SUM)[0] + b"\n"

    line = saying("x" * (size - len(saying(""))))
    assert len(line) == size
    return line


def test_the_longest_header_may_come_without_its_newline_first() -> None:
    line = header_of(MAX_LINE + 1)
    header, _ = read(Pieces(iter([line[:-1], b"\n"])))  # type: ignore[arg-type]
    assert len(header.versions["qemu"]) > MAX_LINE // 2


def test_a_header_without_end_is_given_up_after_the_longest_line() -> None:
    def endless() -> Iterator[bytes]:
        yield header_of(2 * CHUNK)[:-1]
        while True:
            yield b"x" * CHUNK

    with pytest.raises(NotALog):
        read(stream := Pieces(endless()))  # type: ignore[arg-type]
    assert stream.given <= MAX_LINE + CHUNK


@pytest.mark.parametrize("fill", [b"x", b"\0"])
def test_a_line_without_end_is_given_up_after_the_longest_append(
    tmp_path: Path, fill: bytes
) -> None:
    def endless() -> Iterator[bytes]:
        yield from lines
        while True:
            yield fill * CHUNK

    lines = write(tmp_path / "log")
    _, records = read(stream := Pieces(endless()))  # type: ignore[arg-type]
    with pytest.raises(LogDamaged) as error:
        list(records)
    assert error.value.line == len(lines) + 1
    assert stream.given < MAX_LINE + MAX_BATCH + 4 * CHUNK


@pytest.mark.parametrize(
    ("error", "says"), [(OSError(errno.EIO, "it broke"), "it broke"), (OSError("odd"), "odd")]
)
def test_an_error_without_a_number_is_shown_in_its_own_words(error: OSError, says: str) -> None:
    def failing() -> Iterator[bytes]:
        raise error
        yield b""

    with pytest.raises(LogUnreadable, match=f"pipe: cannot be opened or read as a log: {says}$"):
        read(Pieces(failing()))  # type: ignore[arg-type]


def test_a_stream_that_fails_is_named_with_its_error(tmp_path: Path) -> None:
    def failing(good: int) -> Iterator[bytes]:
        yield from lines[:good]
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    lines = write(tmp_path / "log")
    with pytest.raises(LogUnreadable, match=r"pipe: .*Input/output error"):
        read(Pieces(failing(0)))  # type: ignore[arg-type]
    _, records = read(Pieces(failing(3)))  # type: ignore[arg-type]
    assert [next(records).event for _ in range(2)] == flat(SOME)[:2]
    with pytest.raises(LogUnreadable, match=r"pipe: .*Input/output error"):
        next(records)

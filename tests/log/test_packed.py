"""Logs that are packed, or that an editor or a transfer has changed: read, and never written."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hpcore.log import (
    LogDamaged,
    LogUnreadable,
    LogWriter,
    NotALog,
    Record,
    is_log,
    read,
)
from hpcore.log.foreign import BOM
from hpcore.log.framing import MAGIC
from hpcore.log.packed import BUFFER, PACKINGS, PackedDamaged, unpacked
from tests.log.samples import write

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Change = Callable[[bytes], bytes]

PACKED: dict[str, Change] = {
    "gzip": gzip.compress, "zstd": zstd.compress, "xz": lzma.compress, "bzip2": bz2.compress,
}  # fmt: skip
MARK, CRLF = "begins with a byte order mark (BOM)", "has lines that end in CRLF"


def crlf(data: bytes) -> bytes:
    return data.replace(b"\n", b"\r\n")


def records(path: Path) -> tuple[list[Record], tuple[str, ...]]:
    header, found = read(path)
    return list(found), header.wrapping


@pytest.fixture
def log(tmp_path: Path) -> Path:
    write(tmp_path / "log")
    return tmp_path / "log"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        *((pack, (f"is packed with {name}",)) for name, pack in PACKED.items()),
        (lambda log: BOM + log, (MARK,)),
        (crlf, (CRLF,)),
        (lambda log: BOM + crlf(log), (MARK, CRLF)),
        (lambda log: gzip.compress(BOM + crlf(log)), ("is packed with gzip", MARK, CRLF)),
        (lambda log: zstd.compress(log[:500]) + zstd.compress(log[500:]), ("is packed with zstd",)),
        (lambda log: gzip.compress(log[:500]) + gzip.compress(log[500:]), ("is packed with gzip",)),
    ],
    ids=[*PACKED, "BOM", "CRLF", "both", "all", "two of zstd", "two of gzip"],
)
def test_a_log_in_another_form_is_read_like_any_other_and_the_form_is_named(
    log: Path, change: Change, says: tuple[str, ...]
) -> None:
    before, plain = records(log)
    assert before
    assert plain == ()
    log.write_bytes(change(log.read_bytes()))
    assert is_log(log)
    assert records(log) == (before, says)
    assert read(log)[0] == read(log)[0]


def test_a_cr_at_the_end_of_a_chunk_belongs_to_the_line_feed_after_it(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, _ = records(log)
    log.write_bytes(crlf(log.read_bytes()))
    for size in (1, 2, 3, 7):
        monkeypatch.setattr("hpcore.log.scan.CHUNK", size)
        assert records(log) == (before, (CRLF,))


@pytest.mark.parametrize("change", [*PACKED.values(), crlf, lambda log: BOM + log])
def test_a_log_in_another_form_is_not_gone_on_with_and_left_as_it_is(
    log: Path, change: Change
) -> None:
    data = change(log.read_bytes())
    log.write_bytes(data)
    with pytest.raises(NotALog, match=r"unpack it with|takes it away|takes the CR away"):
        LogWriter.resume(log)
    with pytest.raises(NotALog, match=r"unpack it with|takes it away|takes the CR away"):
        read(log, as_written=True)
    assert log.read_bytes() == data


def test_a_packed_log_is_not_followed(log: Path) -> None:
    log.write_bytes(gzip.compress(log.read_bytes()))
    with pytest.raises(LogUnreadable, match="it is packed with gzip, so nobody goes on with it"):
        read(log, more=lambda: True)


@pytest.mark.parametrize("name", PACKED)
def test_of_a_packed_log_that_is_cut_what_is_before_is_read_and_the_cut_is_named(
    log: Path, name: str
) -> None:
    before, _ = records(log)
    log.write_bytes(PACKED[name](log.read_bytes())[:-9])
    given: list[Record] = []
    with pytest.raises(LogDamaged, match=r", unpacked: line \d+ .* is damaged or cut: "):
        given.extend(read(log)[1])
    assert given == before[: len(given)]


def test_what_is_packed_and_no_log_is_none(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(gzip.compress(b"hello\n"))
    assert not is_log(path)
    with pytest.raises(NotALog, match="file, unpacked: this is not a log of hpcore: line 1 does"):
        read(path)


@pytest.mark.parametrize("name", PACKED)
def test_noise_in_a_packed_stream_is_damage_and_nothing_else(tmp_path: Path, name: str) -> None:
    path = tmp_path / "file"
    (begins,) = (packing.begins for packing in PACKINGS if packing.name == name)
    path.write_bytes(begins + os.urandom(5000))
    assert not is_log(path)
    with pytest.raises((LogDamaged, NotALog)):
        list(read(path)[1])


@pytest.mark.parametrize(
    ("name", "begins"),
    [*((name, b"") for name in PACKED), ("gzip", MAGIC), ("zstd", b"\n")],
)
def test_what_unpacks_to_much_more_than_there_is_takes_no_memory(
    tmp_path: Path, name: str, begins: bytes
) -> None:
    """20 MB of one character; what is read of it is at most what a crash could have torn."""
    path = tmp_path / "file"
    path.write_bytes(PACKED[name](begins + b" " * (20 << 20)))
    tracemalloc.start()
    try:
        assert is_log(path) == (begins == MAGIC)
        with pytest.raises(NotALog):
            read(path)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 16 << 20


def test_a_log_that_goes_on_as_one_line_without_end_takes_no_memory_either(log: Path) -> None:
    path = log.with_suffix(".gz")
    path.write_bytes(gzip.compress(log.read_bytes() + b" " * (64 << 20)))
    tracemalloc.start()
    try:
        with pytest.raises(LogDamaged, match="longer than any append"):
            list(read(path)[1])
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 48 << 20


def test_an_error_of_the_disk_is_none_of_the_packing(tmp_path: Path) -> None:
    class Broken(io.RawIOBase):
        def __init__(self) -> None:
            self.given = [gzip.compress(os.urandom(100_000))[:50_000]]

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            if not self.given:
                raise OSError(5, "Input/output error")
            data = self.given.pop()[: len(buffer)]
            buffer[: len(data)] = data
            return len(data)

    stream, name = unpacked(io.BufferedReader(Broken(), 60_000))
    assert name == "gzip"
    with pytest.raises(OSError, match="Input/output error"):
        while stream.read1(BUFFER):
            pass


def test_damage_of_a_packed_stream_is_said_in_the_words_of_who_unpacks_it() -> None:
    stream, _ = unpacked(io.BufferedReader(io.BytesIO(gzip.compress(b"x" * 100)[:-4])))
    with pytest.raises(PackedDamaged, match="end-of-stream marker"):
        stream.read()

"""The log's file by itself: what becomes of it when the disk says no."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from hpcore.log import LogUnreadable, LogWriteError, LogWriter, Sync
from hpcore.log.disk import LogFile
from hpcore.model.events import Noted
from tests.log.samples import HEADER, events_in


def failing(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def test_a_write_that_writes_nothing_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = LogFile.open(str(tmp_path / "log"), create=True)
    file.append(b"whole\n", durable=False)
    monkeypatch.setattr(os, "pwrite", lambda *_: 0)
    with pytest.raises(LogWriteError, match="nothing could be written") as error:
        file.append(b"lost\n", durable=False)
    assert error.value.cut_back
    with pytest.raises(LogWriteError, match="an earlier write failed: nothing could be written"):
        file.check()
    file.close()
    assert (tmp_path / "log").read_bytes() == b"whole\n"


@pytest.mark.parametrize(
    ("keep_lines", "left"), [(False, b"before\n"), (True, b"before\none\ntwo\n")]
)
def test_a_failed_append_leaves_no_part_of_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep_lines: bool, left: bytes
) -> None:
    file = LogFile.open(str(tmp_path / "log"), create=True)
    file.append(b"before\n", durable=False)
    pwrite = os.pwrite

    def short_then_full(fd: int, data: bytes, at: int) -> int:
        if at > len(b"before\n"):
            raise failing(errno.ENOSPC)
        return pwrite(fd, data[: len(b"one\ntwo\nthr")], at)

    monkeypatch.setattr(os, "pwrite", short_then_full)
    with pytest.raises(LogWriteError, match="No space left"):
        file.append(b"one\ntwo\nthree\n", durable=False, keep_lines=keep_lines)
    assert (tmp_path / "log").read_bytes() == left
    assert file.size == len(left)
    file.close()


def test_a_short_write_goes_on_where_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = LogFile.open(str(tmp_path / "log"), create=True)
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: pwrite(fd, data[:3], at))
    file.append(b"one two three\n", durable=False)
    file.append(b"four\n", durable=True)
    assert (tmp_path / "log").read_bytes() == b"one two three\nfour\n"
    assert file.size == len(b"one two three\nfour\n")
    file.close()
    with pytest.raises(LogWriteError, match="it is closed"):
        file.check()


def test_a_filesystem_without_locks_is_refused_and_let_go_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(fd: int, _operation: int) -> None:
        opened.append(fd)
        raise failing(errno.ENOLCK)

    opened: list[int] = []
    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(LogUnreadable, match="No locks available"):
        LogFile.open(str(tmp_path / "log"), create=True)
    (fd,) = opened
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_a_file_is_read_from_its_beginning_whatever_was_read_before(tmp_path: Path) -> None:
    file = LogFile.open(str(tmp_path / "log"), create=True)
    file.append(b"one\n", durable=False)
    for _ in range(2):
        with file.stream() as stream:
            assert stream.read() == b"one\n"
    file.append(b"two\n", durable=False)  # closing the stream has not closed the file
    file.close()
    assert (tmp_path / "log").read_bytes() == b"one\ntwo\n"


def test_a_buffered_writer_keeps_each_whole_line_of_a_flush_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "log"
    log = LogWriter.create(path, HEADER, sync=Sync.BUFFERED)
    for text in ("one", "two"):
        log.append([Noted(text)], 0)
    pwrite, begins = os.pwrite, path.stat().st_size

    def all_but_a_byte_then_full(fd: int, data: bytes, at: int) -> int:
        if at > begins:
            raise failing(errno.ENOSPC)
        return pwrite(fd, data[:-1], at)

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", all_but_a_byte_then_full)
        with pytest.raises(LogWriteError, match="No space left"):
            log.close()
    assert events_in(path) == [Noted("one")]


def test_a_flush_hands_over_what_is_held_back_once_and_does_not_wait_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    with LogWriter.create(tmp_path / "log", HEADER, sync=Sync.BUFFERED) as log:
        log.append([Noted("one")], 0)
        assert events_in(tmp_path / "log") == []
        monkeypatch.setattr(os, "fdatasync", synced.append)
        log.flush()
        log.flush()
        assert events_in(tmp_path / "log") == [Noted("one")]
        assert not synced

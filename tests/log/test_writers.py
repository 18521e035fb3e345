"""Who may write a log, when, and what each policy does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hpcore.log import LogExists, LogLocked, LogUnreadable, LogWriteError, LogWriter, Sync
from hpcore.model.events import Noted
from tests.log.samples import HEADER, SOME, events_in, flat, write

RESUME = "import sys; from hpcore.log import LogWriter; LogWriter.resume(sys.argv[1])"


def test_a_second_writer_is_refused_in_this_process_and_in_another(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    with LogWriter.create(path, HEADER) as log:
        with pytest.raises(LogLocked, match="another writer has this log open"):
            LogWriter.resume(path)
        with pytest.raises(LogLocked, match="another writer has this log open"):
            LogWriter.create(path, HEADER, overwrite=True)
        other = subprocess.run(
            [sys.executable, "-c", RESUME, str(path)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert "LogLocked" in other.stderr
        log.append([Noted("still here")], t=0)
    assert events_in(path) == [Noted("still here")]


def test_a_log_that_is_there_is_not_overwritten_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    lines = write(path)
    for data in (b"".join(lines), b"a letter to my mother", b"\0 binary"):
        path.write_bytes(data)
        with pytest.raises(LogExists, match=str(path)):
            LogWriter.create(path, HEADER)
        assert path.read_bytes() == data
    LogWriter.create(path, HEADER, overwrite=True).close()
    assert events_in(path) == []


def test_a_log_can_be_read_while_it_is_written(tmp_path: Path) -> None:
    write(tmp_path / "run.log")
    with LogWriter.resume(tmp_path / "run.log"):
        assert events_in(tmp_path / "run.log") == flat(SOME)


def test_a_closed_writer_refuses(tmp_path: Path) -> None:
    log = LogWriter.create(tmp_path / "run.log", HEADER)
    log.close()
    log.close()
    for use in (lambda: log.append([Noted("late")], t=0), log.sync):
        with pytest.raises(LogWriteError, match="it is closed"):
            use()


def test_a_place_that_cannot_be_written_is_refused_in_words(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "none" / "run.log", Path("/dev/full")):
        with pytest.raises(LogUnreadable, match=str(place)):
            LogWriter.create(place, HEADER)


# ------------------------------------------------------------------- the policies


@pytest.mark.parametrize(
    ("sync", "writes", "syncs"),
    [(Sync.DURABLE, 3, 3), (Sync.OS, 3, 0), (Sync.BUFFERED, 0, 0)],
)
def test_each_policy_writes_and_syncs_as_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync: Sync, writes: int, syncs: int
) -> None:
    calls: list[str] = []
    pwrite, fdatasync = os.pwrite, os.fdatasync

    def spy_pwrite(fd: int, data: bytes, offset: int) -> int:
        calls.append("write")
        return pwrite(fd, data, offset)

    def spy_fdatasync(fd: int) -> None:
        calls.append("sync")
        fdatasync(fd)

    with LogWriter.create(tmp_path / "run.log", HEADER, sync=sync) as log:
        monkeypatch.setattr(os, "pwrite", spy_pwrite)
        monkeypatch.setattr(os, "fdatasync", spy_fdatasync)
        for t in range(3):
            log.append([Noted("one"), Noted("two")], t)
        assert (calls.count("write"), calls.count("sync")) == (writes, syncs)
        if syncs:
            assert calls == ["write", "sync"] * 3


def test_create_puts_the_header_and_the_name_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    for name in ("fsync", "fdatasync"):
        real = getattr(os, name)

        def spy(fd: int, real: Callable[[int], None] = real) -> None:
            synced.append(str(Path(f"/proc/self/fd/{fd}").readlink()))
            real(fd)

        monkeypatch.setattr(os, name, spy)
    LogWriter.create(tmp_path / "run.log", HEADER, sync=Sync.BUFFERED).close()
    assert synced == [str(tmp_path / "run.log"), str(tmp_path)]

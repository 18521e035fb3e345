"""Full disks, killed writers, second writers: real ones."""

from __future__ import annotations

import errno
import os
import random
import resource
import select
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpcore.log import (
    LogLocked,
    LogUnreadable,
    LogWriteError,
    LogWriter,
    Sync,
    read,
)
from hpcore.model.events import Noted
from tests.log.samples import HEADER, events_in


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A filesystem of 64 KiB."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("a small filesystem cannot be mounted here; this takes root")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(log: LogWriter, batch: int) -> tuple[int, LogWriteError]:
    """Append until it fails; how many events were acknowledged, and the error."""
    for i in range(10_000):
        try:
            log.append([Noted(f"event {i * batch + j}") for j in range(batch)], t=i)
        except LogWriteError as error:
            return i * batch, error
    raise AssertionError("the disk does not fill up")


@pytest.mark.parametrize("sync", [Sync.DURABLE, Sync.OS])
@pytest.mark.parametrize("batch", [1, 100])
def test_a_full_disk_kills_the_writer_and_loses_no_acknowledged_event(
    small_disk: Path, sync: Sync, batch: int
) -> None:
    path = small_disk / "run.log"
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(16384))
    log = LogWriter.create(path, HEADER, sync=sync)
    count, error = fill(log, batch)
    assert str(path) in str(error)
    assert "No space left on device" in str(error)
    assert error.cut_back
    assert "whole up to the event before" in str(error)
    ballast.unlink()
    for _ in range(2):  # there is room again, but nobody knows what else went wrong
        with pytest.raises(LogWriteError, match="an earlier write failed: No space left"):
            log.append([Noted("late")], t=10_000)
    with pytest.raises(LogLocked):
        LogWriter.resume(path)
    log.close()

    _, records = read(path)
    assert [r.event for r in records] == [Noted(f"event {i}") for i in range(count)]
    assert records.torn is None
    with LogWriter.resume(path) as log:
        assert (log.recovered, log.next_seq) == (None, count + 1)
        log.append([Noted("after")], t=10_000)
    assert events_in(path)[-1] == Noted("after")


def test_a_full_disk_leaves_whole_lines_of_what_was_buffered(small_disk: Path) -> None:
    path = small_disk / "run.log"
    log = LogWriter.create(path, HEADER, sync=Sync.BUFFERED)
    _, error = fill(log, 10)
    assert error.cut_back
    log.close()
    _, records = read(path)
    texts = [record.event for record in records]
    assert len(texts) > 300
    assert texts == [Noted(f"event {i}") for i in range(len(texts))]
    assert records.torn is None


def test_a_full_disk_at_close_is_an_error(small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(bytes(48 * 1024))
    log = LogWriter.create(small_disk / "run.log", HEADER, sync=Sync.BUFFERED)
    log.append([Noted("x" * 1000)] * 100, t=0)
    with pytest.raises(LogWriteError, match="No space left"):
        log.close()
    log.close()
    LogWriter.resume(small_disk / "run.log").close()  # the lock is free


def test_a_log_that_has_no_room_for_its_header_is_an_empty_log(small_disk: Path) -> None:
    (small_disk / "ballast").write_bytes(bytes(64 * 1024))
    with pytest.raises(LogWriteError, match="No space left"):
        LogWriter.create(small_disk / "run.log", HEADER)
    assert (small_disk / "run.log").stat().st_size == 0
    (small_disk / "ballast").unlink()
    LogWriter.create(small_disk / "run.log", HEADER).close()


def test_a_file_at_its_size_limit_is_cut_back(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    with LogWriter.create(path, HEADER, sync=Sync.OS) as log:
        log.append([Noted("acknowledged")], t=0)
        size = path.stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 777, limit[1]))
        try:
            with pytest.raises(LogWriteError, match="File too large") as error:
                log.append([Noted("too much")] * 20, t=1)  # a short write, and then none
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert error.value.cut_back
    assert path.stat().st_size == size
    assert events_in(path) == [Noted("acknowledged")]


def test_an_interrupted_append_kills_the_writer_and_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    path = tmp_path / "run.log"
    # A shell that starts something in the background may have it ignore interrupts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    with LogWriter.create(path, HEADER) as log:
        log.append([Noted("acknowledged")], t=0)
        sync = os.fdatasync

        def interrupted_once(fd: int) -> None:  # cutting back syncs as well
            monkeypatch.setattr(os, "fdatasync", sync)
            signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(os, "fdatasync", interrupted_once)
        with pytest.raises(KeyboardInterrupt):
            log.append([Noted("interrupted")], t=1)
        with pytest.raises(LogWriteError, match="an append was interrupted"):
            log.append([Noted("late")], t=2)
    assert events_in(path) == [Noted("acknowledged")]


def test_a_file_that_cannot_be_cut_back_after_a_failed_write_is_said_to_be_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with LogWriter.create(tmp_path / "run.log", HEADER) as log:
        monkeypatch.setattr(os, "pwrite", fails)
        monkeypatch.setattr(os, "ftruncate", fails)
        with pytest.raises(LogWriteError, match="Input/output error") as error:
            log.append([Noted("lost")], t=0)
    assert not error.value.cut_back


@pytest.mark.parametrize("call", ["ftruncate", "fsync"])
def test_a_log_whose_header_cannot_be_put_on_the_disk_is_not_said_to_be_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, call, fails)
    with pytest.raises(LogWriteError, match="Input/output error") as error:
        LogWriter.create(tmp_path / "run.log", HEADER)
    assert not error.value.cut_back
    assert "may end in a torn line" in str(error.value)


def test_a_refused_log_is_let_go_of(tmp_path: Path) -> None:
    def is_open(path: Path) -> int:
        open_files = (link for link in Path("/proc/self/fd").iterdir() if link.is_symlink())
        return sum(link.readlink() == path for link in open_files if link.exists())

    path = tmp_path / "run.log"
    with LogWriter.create(path, HEADER):
        with pytest.raises(LogLocked):
            LogWriter.resume(path)
        assert is_open(path) == 1
    assert is_open(path) == 0
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(LogUnreadable, match="only a regular file"):
        LogWriter.resume(pipe)
    assert is_open(pipe) == 0


def test_a_log_may_be_read_by_all_and_written_by_its_owner(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        LogWriter.create(tmp_path / "run.log", HEADER).close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "run.log").stat().st_mode) == 0o644


# ------------------------------------------------------------------- kill -9

WRITER = """
import os, random, sys
from hpcore.log import LogWriter
from hpcore.model.events import Noted

log = LogWriter.resume(sys.argv[1])
dice = random.Random(int(sys.argv[2]))
os.write(1, b"0\\n")
while True:
    n = dice.choice([1, 1, 2, 3, 40, 3000])
    first = log.append([Noted(f"event {log.next_seq + i}") for i in range(n)], log.last_t)
    os.write(1, b"%d\\n" % (first + n - 1))
"""


def kill_writer(path: Path, seed: int, after: float) -> int:
    """Run WRITER, kill it `after` seconds of appends; the last seq that it acknowledged."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(seed)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    said = os.read(process.stdout.fileno(), 2)
    assert said == b"0\n", said
    poller = select.poll()
    poller.register(process.stdout, select.POLLHUP)
    poller.poll(after * 1000)
    process.kill()
    said += process.stdout.read()
    process.stdout.close()
    assert process.wait() == -signal.SIGKILL
    whole_lines = said.rpartition(b"\n")[0].split(b"\n")
    return int(whole_lines[-1])


@pytest.mark.parametrize("sync", [Sync.OS, Sync.DURABLE])
def test_no_acknowledged_event_is_lost_by_kill_9(tmp_path: Path, sync: Sync) -> None:
    path = tmp_path / "run.log"
    dice = random.Random(1)
    total = torn = 0
    for seed in range(25):
        if seed % 5 == 0:  # the log grows by several runs, and not without end
            LogWriter.create(path, HEADER, sync=sync, overwrite=True).close()
            total = 0
        acknowledged = kill_writer(path, seed, dice.uniform(0, 0.06))
        _, records = read(path)
        events = [record.event for record in records]
        assert len(events) >= max(acknowledged, total)
        assert events == [Noted(f"event {i}") for i in range(1, len(events) + 1)]
        with LogWriter.resume(path) as log:
            torn += log.recovered is not None
            assert log.next_seq == len(events) + 1
            assert (log.recovered is None) == (records.torn is None)
        total = len(events)
    print(f"{torn} of 25 kills tore a line")


def test_a_killed_writer_leaves_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    LogWriter.create(path, HEADER, sync=Sync.OS).close()
    kill_writer(path, 1, 0)
    LogWriter.resume(path).close()

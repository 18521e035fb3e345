"""What recovery says of what it cut or could not cut, and of a last line that is wrong."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from hpcore.log import LogDamaged, LogWriteError, LogWriter
from hpcore.log.framing import seal, sum_of
from tests.log.samples import write


def torn(path: Path) -> tuple[bytes, int]:
    """Make a log that breaks off within its last line; its bytes, and how many are torn."""
    *whole, last = write(path)
    path.write_bytes(b"".join(whole) + last[:40])
    return path.read_bytes(), 40


def test_what_was_cut_is_said_with_its_bytes_its_line_and_why(tmp_path: Path) -> None:
    path = tmp_path / "log"
    data, size = torn(path)
    line = data.count(b"\n") + 1
    with LogWriter.resume(path) as log:
        assert str(log.recovered) == f"cut {size} bytes at line {line}: it breaks off"


@pytest.mark.parametrize("call", ["ftruncate", "fsync"])
def test_a_torn_end_that_cannot_be_cut_is_an_error_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "log"
    data, size = torn(path)

    def fails(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr(os, call, fails)
        with pytest.raises(LogWriteError) as found:
            LogWriter.resume(path)
    assert str(found.value) == (
        f"{path}: cannot write the log: its torn end cannot be cut: Input/output error; the log "
        "may end in a torn line, which the next open for append cuts"
    )
    assert not found.value.cut_back
    assert path.read_bytes() in (data, data[:-size])
    with LogWriter.resume(path):
        assert path.read_bytes() == data[:-size]


@pytest.mark.parametrize(
    ("last", "why"),
    [
        (b'{"seq":99,"t":9.0,"event":"scan_begun"}', "it is sealed, but has seq 99"),
        (b'{"seq":"10","t":9.0,"event":"scan_begun"}', "it is sealed, but has seq '10'"),
        (b'{"t":9.0,"event":"scan_begun"}', "it is sealed, but is no event"),
        (b'{"seq":10,"event":"scan_begun"}', "it is sealed, but is no event"),
        (b'{"seq":10,"t":null,"event":"scan_begun"}', "it is sealed, but is no event"),
        (b'{"seq":10,"t":1.2.3}', "it is sealed, but is no event"),
    ],
)
def test_no_line_is_appended_after_one_that_is_no_event(
    tmp_path: Path, last: bytes, why: str
) -> None:
    path = tmp_path / "log"
    lines = write(path)
    sealed, _ = seal(last, sum_of(lines[-1].rstrip(b"\n")))
    path.write_bytes(b"".join(lines) + sealed + b"\n")
    line = len(lines) + 1
    with pytest.raises(LogDamaged) as found:
        LogWriter.resume(path)
    assert (found.value.line, found.value.why) == (line, why)
    assert f"{path}: line {line} (seq {line - 1}) is damaged: {why}; " in str(found.value)

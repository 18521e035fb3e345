"""Whatever differs from what was written is found, and the line is named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hpcore.log import (
    LogDamaged,
    LogEmpty,
    LogError,
    LogTooNew,
    LogUnreadable,
    LogWriter,
    NotALog,
    is_log,
    read,
)
from hpcore.log.framing import MAGIC, MAX_BATCH, MAX_LINE, seal, sum_of
from tests.log.samples import SOME, events_in, flat, write


def refused(path: Path, data: bytes) -> LogError:
    """The error that `data` gives, the same one for readers and for writers."""
    path.write_bytes(data)
    with pytest.raises(LogError) as reading:
        events_in(path)
    with pytest.raises(LogError) as resuming:
        LogWriter.resume(path)
    assert str(reading.value) == str(resuming.value)
    assert str(path) in str(reading.value)
    assert path.read_bytes() == data
    return reading.value


def damaged(path: Path, lines: list[bytes]) -> LogDamaged:
    error = refused(path, b"".join(lines))
    assert isinstance(error, LogDamaged)
    return error


@pytest.mark.parametrize("mask", [0x01, 0x20, 0x80])
def test_a_flipped_bit_of_any_byte_is_found_in_its_line(tmp_path: Path, mask: int) -> None:
    path = tmp_path / "run.log"
    lines = write(path)
    data = b"".join(lines)
    for offset in range(len(data)):
        spoilt = bytearray(data)
        spoilt[offset] ^= mask
        line = data[:offset].count(b"\n") + 1
        error = refused(path, bytes(spoilt))
        if line > 1:
            assert isinstance(error, LogDamaged)
            assert (error.line, error.seq) == (line, line - 1), offset
        else:
            assert isinstance(error, LogDamaged | NotALog | LogTooNew)
            assert "line 1" in str(error) or "version" in str(error) or "header" in str(error)


def test_any_byte_made_nul_or_newline_is_found_in_its_line(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    lines = write(path)
    data = b"".join(lines)
    for offset in range(len(lines[0]), len(data)):
        for byte in b"\0\n":
            if data[offset] == byte:
                continue
            spoilt = bytearray(data)
            spoilt[offset] = byte
            error = refused(path, bytes(spoilt))
            assert isinstance(error, LogDamaged)
            assert error.line == data[:offset].count(b"\n") + 1


def test_a_line_that_is_gone_or_there_twice_is_found(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    lines = write(path)
    for i in range(1, len(lines) - 1):
        error = damaged(path, lines[:i] + lines[i + 1 :])
        assert (error.line, error.seq) == (i + 1, i)
        assert f"has seq {i + 1} where {i} belongs" in str(error)
    for i in range(1, len(lines)):
        error = damaged(path, lines[: i + 1] + lines[i:])
        assert error.line == i + 2
        assert f"has seq {i} where {i + 1} belongs" in str(error)


def test_lines_that_changed_places_are_found_at_the_first(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    lines = write(path)
    for i in range(1, len(lines)):
        for j in range(i + 1, len(lines)):
            swapped = lines.copy()
            swapped[i], swapped[j] = lines[j], lines[i]
            assert damaged(path, swapped).line == i + 1


def test_an_edit_that_seals_its_own_line_is_found_in_the_next(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    lines = write(path)
    fields = lines[1].rpartition(b',"sum"')[0].replace(b"cpu1", b"cpu2") + b"}"
    forged, _ = seal(fields, sum_of(lines[0].rstrip()))
    error = damaged(path, [lines[0], forged + b"\n", *lines[2:]])
    assert error.line == 3
    assert "checksum" in str(error)


def test_a_line_of_another_log_is_found(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    lines = write(path)
    others = write(path, list(reversed(SOME)))
    assert damaged(path, [*lines[:5], others[5], *lines[6:]]).line == 6


def test_the_message_says_what_differs_and_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    lines = write(path)
    text = str(damaged(path, [*lines[:3], lines[3].replace(b"realize", b"release"), *lines[4:]]))
    assert f"{path}: line 4 (seq 3) is damaged: its checksum is " in text
    assert "the lines before it are good: head -n 3 keeps them" in text
    assert "not JSON" in str(damaged(path, [*lines[:3], b"hello\n", *lines[4:]]))
    assert "does not end in a checksum" in str(damaged(path, [*lines[:3], b"{}\n", *lines[4:]]))


def test_the_checksum_that_a_message_names_is_the_one_that_would_be_right(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    lines = write(path)
    wrong = lines[3].replace(b"realize", b"release")
    error = str(damaged(path, [*lines[:3], wrong, *lines[4:]]))
    is_now, must_be = re.findall(r"[0-9a-f]{16}", error)
    assert is_now.encode() == sum_of(wrong.rstrip())
    right = wrong.replace(is_now.encode(), must_be.encode())
    assert damaged(path, [*lines[:3], right, *lines[4:]]).line == 5


def test_good_events_come_out_before_the_damage(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    lines = write(path)
    path.write_bytes(b"".join([*lines[:5], b"?", *lines[5:]]))
    _, records = read(path)
    assert [next(records).event for _ in range(4)] == flat(SOME)[:4]
    with pytest.raises(LogDamaged, match="line 6"):
        next(records)


@pytest.mark.parametrize(
    ("end", "why"),
    [
        (b"x" * (MAX_LINE + 1), "as no line is"),
        (b"x" * (MAX_LINE + 1) + b"\n", "no line is longer"),
        (b"x" * (MAX_BATCH + 1), "longer than any append"),
        (b"\0" * (MAX_BATCH + 1), "longer than any append"),
    ],
)
def test_absurdly_long_lines_are_refused(tmp_path: Path, end: bytes, why: str) -> None:
    lines = write(tmp_path / "run.log")
    error = damaged(tmp_path / "run.log", [*lines[:4], end])
    assert error.line == 5
    assert why in str(error)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", LogEmpty),
        (b"\0" * 600, LogEmpty),
        (b"hello\n", NotALog),
        (b"hello", NotALog),
        (b"\n", NotALog),
        (b"{}\n", NotALog),
        (bytes(range(256)) * 9, NotALog),
        (b"\x7fELF\2\1\1" + b"\0" * 5000, NotALog),
        (b"x" * (MAX_LINE * 3), NotALog),
        (MAGIC + b"x" * (MAX_LINE * 3), NotALog),
        (MAGIC, LogEmpty),
        (MAGIC + b"\n", LogDamaged),
        (MAGIC + b'one"}\n', LogDamaged),
        (MAGIC + b'1.0"}\n', LogDamaged),
        (MAGIC + b'1.0","machine":7}\n', LogDamaged),
    ],
)
def test_what_is_no_log_is_refused_in_words(
    tmp_path: Path, data: bytes, kind: type[LogError]
) -> None:
    assert type(refused(tmp_path / "run.log", data)) is kind


@pytest.mark.parametrize(
    ("rest", "why"),
    [
        (b"", "it is not JSON"),
        (b'one"}', "its version, 'one', is no version"),
        (b'1.0"}', "its checksum does not fit its bytes"),
    ],
)
def test_a_damaged_header_is_line_1_and_says_why(tmp_path: Path, rest: bytes, why: str) -> None:
    error = damaged(tmp_path / "run.log", [MAGIC + rest + b"\n"])
    assert (error.line, error.seq) == (1, None)
    assert f"line 1 (the header) is damaged: {why}" in str(error)


def test_a_sealed_header_of_something_else_is_refused_in_words(tmp_path: Path) -> None:
    line, _ = seal(MAGIC + b'1.0","machine":{"topology":{"cpus":"1"}},"accelerator":1}', b"")
    error = refused(tmp_path / "run.log", line + b"\n")
    assert isinstance(error, LogDamaged)
    assert (error.line, error.seq) == (1, None)
    text = str(error)
    faults = text.partition("it is sealed, but ")[2].rpartition("; ")[0].split("; ")
    assert len(faults) > 1
    assert all(re.search(r"@ header(\.\w+)*$", fault) for fault in faults)
    assert "line 1 (the header) is damaged: it is sealed, but" in text
    assert "header.accelerator" in text
    assert text.endswith("; nothing in it can be trusted")


def test_a_line_that_ends_in_crlf_is_said_to(tmp_path: Path) -> None:
    lines = write(tmp_path / "run.log")
    error = damaged(tmp_path / "run.log", [*lines[:3], lines[3][:-1] + b"\r\n", *lines[4:]])
    assert error.line == 4
    assert "it ends in CRLF, and a log's lines in LF" in str(error)


def test_what_cannot_be_read_is_no_log(tmp_path: Path) -> None:
    write(tmp_path / "run.log")
    (tmp_path / "letter").write_text("to my mother")
    (tmp_path / "short").write_bytes(MAGIC[:-1])
    found = {path: is_log(tmp_path / path) for path in ("run.log", "letter", "short", ".", "none")}
    assert found == {"run.log": True, "letter": False, "short": False, ".": False, "none": False}


def is_open(path: Path) -> bool:
    """Whether this process has the file open."""
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return path in [link.readlink() for link in links if link.exists()]


def test_a_file_that_is_no_log_is_let_go_of(tmp_path: Path) -> None:
    path = tmp_path / "letter"
    path.write_text("to my mother\n")
    with pytest.raises(NotALog) as error:
        read(path)
    assert error.value.__traceback__ is not None  # which keeps the stream alive
    assert not is_open(path)


def test_a_log_is_let_go_of_at_its_end_and_when_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    write(path)
    _, whole = read(path)
    assert is_open(path)
    assert len(list(whole)) == len(flat(SOME))
    assert not is_open(path)
    _, begun = read(path)
    next(begun)
    begun.close()
    assert not is_open(path)
    _, never = read(path)
    never.close()
    assert not is_open(path)
    with read(path)[1] as records:
        assert next(records).event == SOME[0][0]
    assert not is_open(path)


def test_what_cannot_be_opened_is_refused_in_words(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.log", tmp_path / "none" / "run.log"):
        with pytest.raises(LogUnreadable, match=str(path)):
            read(path)
        with pytest.raises(LogUnreadable, match=str(path)):
            LogWriter.resume(path)
    with pytest.raises(LogUnreadable, match="regular file"):
        LogWriter.resume("/dev/null")

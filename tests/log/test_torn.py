"""What a crash leaves at the end of a log is cut and reported, and nothing else is."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path

import pytest

from hpcore.log import LogDamaged, LogEmpty, LogWriter, Recovered, Sync, read
from hpcore.log.framing import MAX_LINE
from hpcore.log.tail import SECTOR, Place, Torn, explain, judge
from hpcore.model.events import Noted
from tests.log.samples import HEADER, SOME, events_in, flat, write


def test_a_log_cut_anywhere_recovers_to_the_whole_lines_before(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    data = b"".join(lines := write(path))
    ends = list(accumulate(map(len, lines)))
    for size in range(len(data) + 1):
        path.write_bytes(data[:size])
        if size < ends[0]:
            for opening in (LogWriter.resume, read):
                with pytest.raises(LogEmpty):
                    opening(path)
            continue
        whole = sum(end <= size for end in ends) - 1
        good = ends[whole]

        _, records = read(path)
        assert [r.event for r in records] == flat(SOME)[:whole]
        if size == good:
            assert records.torn is None
        else:
            assert records.torn is not None
            assert (records.torn.line, records.torn.offset) == (whole + 2, good)
            assert records.torn.bytes == size - good
        assert path.stat().st_size == size  # readers change nothing

        with LogWriter.resume(path) as log:
            cut = Recovered(size - good, whole + 2, "it breaks off") if size > good else None
            assert (log.recovered, log.next_seq) == (cut, whole + 1)
            assert path.stat().st_size == good
            assert log.append([Noted("after")], t=9) == whole + 1
        assert events_in(path) == [*flat(SOME)[:whole], Noted("after")]


def test_a_log_with_a_torn_header_may_be_created_again(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    path.write_bytes(write(path)[0][:99])
    with pytest.raises(LogEmpty, match="header breaks off"):
        read(path)
    LogWriter.create(path, HEADER).close()
    assert events_in(path) == []


def survivors(before: bytes, after: bytes) -> set[bytes]:
    """Every file that a loss of power may leave while `before` grows to `after`.

    Any of the sectors that were written may be missing, in which case what was there
    before is there, and NUL bytes beyond; and the file may have any whole number of them.
    """
    first, last = len(before) // SECTOR, (len(after) - 1) // SECTOR
    old = before.ljust(len(after), b"\0")
    found = set()
    for lost in range(1 << (last - first + 1)):
        data = bytearray(after)
        for i in range(first, last + 1):
            if lost >> (i - first) & 1:
                data[i * SECTOR : (i + 1) * SECTOR] = old[i * SECTOR : (i + 1) * SECTOR]
        sizes = [len(before), len(after), *range(first * SECTOR, len(after), SECTOR)]
        found |= {bytes(data[:size]) for size in sizes if size >= len(before)}
    return found


@pytest.mark.parametrize("acknowledged", [0, 1, 3, 8])
@pytest.mark.parametrize("lines", [1, 5, 16])
def test_lost_sectors_of_the_last_append_cost_no_acknowledged_event(
    tmp_path: Path, acknowledged: int, lines: int
) -> None:
    path = tmp_path / "run.log"
    old = [Noted(f"old {i}") for i in range(acknowledged)]
    new = [Noted(f"new {i}" + "." * (i % 3) * 40) for i in range(lines)]
    with LogWriter.create(path, HEADER) as log:
        for event in old:
            log.append([event], t=1)
        before = path.read_bytes()
        log.append(new, t=2)
    after = path.read_bytes()
    torn = 0
    for data in survivors(before, after):
        path.write_bytes(data)
        read_back = events_in(path)
        assert read_back[:acknowledged] == old
        assert read_back == (old + new)[: len(read_back)]
        with LogWriter.resume(path) as log:
            assert log.next_seq == len(read_back) + 1
            torn += log.recovered is not None
        assert events_in(path) == read_back
    assert torn


def test_a_hole_that_a_later_append_follows_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    data = b"".join(lines := write(path, [[Noted(f"event {i}")] for i in range(40)]))
    for sector in range(2, len(data) // SECTOR - 1):
        spoilt = bytearray(data)
        spoilt[sector * SECTOR : (sector + 1) * SECTOR] = bytes(SECTOR)
        path.write_bytes(spoilt)
        whole = data[: sector * SECTOR].count(b"\n")
        for opening in (LogWriter.resume, lambda path: list(read(path)[1])):
            with pytest.raises(LogDamaged, match="appended after it") as error:
                opening(path)
            assert error.value.line == whole + 1
    assert len(lines) == 41


def test_a_hole_in_an_acknowledged_append_is_damage_once_another_is_whole(
    tmp_path: Path,
) -> None:
    path = tmp_path / "run.log"
    big = [Noted("x" * 50)] * 30
    data = bytearray(b"".join(write(path, [big, [Noted("last")]])))
    data[1024:2048] = bytes(1024)
    path.write_bytes(data)
    with pytest.raises(LogDamaged, match="seq 31 was appended after it"):
        LogWriter.resume(path)
    last = data.rindex(b'{"seq":31')
    path.write_bytes(data[:last])  # without it, the big one may have been cut by a crash
    with LogWriter.resume(path) as log:
        assert log.recovered is not None
        assert log.recovered.why == "sectors were lost"


@pytest.mark.parametrize(("size", "is_torn"), [(MAX_LINE, True), (MAX_LINE + 1, False)])
def test_as_much_as_the_longest_line_may_be_torn_and_no_more(size: int, is_torn: bool) -> None:
    assert isinstance(judge(b"x" * size, Place(3, SECTOR, b"")), Torn) is is_torn


@pytest.mark.parametrize(
    ("size", "why"), [(MAX_LINE, "it is not JSON"), (MAX_LINE + 1, "bytes long")]
)
def test_a_wrong_line_is_too_long_from_one_byte_more_than_the_longest(size: int, why: str) -> None:
    assert why in explain(b"x" * size, Place(3, SECTOR, b""))


@pytest.mark.parametrize(
    ("hole", "is_torn"),
    [
        ((SECTOR, 2 * SECTOR), True),
        ((0, 2 * SECTOR), True),
        ((SECTOR, 3 * SECTOR), True),
        ((0, 1), False),
        ((SECTOR, 2 * SECTOR - 1), False),
        ((SECTOR + 1, 2 * SECTOR), False),
        ((3 * SECTOR - 1, 3 * SECTOR), False),
    ],
)
def test_a_hole_is_torn_where_whole_sectors_are_missing(
    hole: tuple[int, int], is_torn: bool
) -> None:
    rest = bytearray(b"x" * 3 * SECTOR)
    begins, ends = hole
    rest[begins:ends] = bytes(ends - begins)
    verdict = judge(bytes(rest), Place(3, 7 * SECTOR, b""))
    assert isinstance(verdict, Torn) is is_torn
    assert is_torn or f"a NUL byte at offset {7 * SECTOR + begins}, " in str(verdict)


def test_a_later_append_is_seen_behind_several_holes(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    data = bytearray(b"".join(write(path, [[Noted("x" * 1400)]] * 4 + [[Noted("last")]])))
    good = data[: data.index(b'{"seq":2')].count(b"\n")
    first = data.index(b'{"seq":2') // SECTOR + 1
    for sector in (first, first + 2, first + 5):  # no line between them is whole
        data[sector * SECTOR : (sector + 1) * SECTOR] = bytes(SECTOR)
    path.write_bytes(data)
    with pytest.raises(LogDamaged, match="seq 5 was appended after it") as error:
        LogWriter.resume(path)
    assert error.value.line == good + 1


@pytest.mark.parametrize("behind", [b'{"seq":"9","batch":9}', b'{"seq":9,"batch":"9"}', b"[9]"])
def test_what_is_no_line_of_a_log_behind_a_hole_is_no_later_append(behind: bytes) -> None:
    torn = judge(bytes(SECTOR) + b"\n" + behind, Place(3, SECTOR, b""))
    assert isinstance(torn, Torn)
    assert torn.why == "sectors were lost"


@pytest.mark.parametrize("between", [b"[9]", b"no JSON", b"", b"{}"])
def test_a_later_append_is_seen_behind_what_is_no_line(between: bytes) -> None:
    rest = bytes(SECTOR) + b"\n" + between + b'\n{"seq":9}\n'
    assert "seq 9 was appended after it" in str(judge(rest, Place(3, SECTOR, b"")))
    assert isinstance(judge(rest, Place(9, SECTOR, b"")), Torn)


def test_a_wrong_last_line_that_is_whole_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    lines = write(path)
    path.write_bytes(b"".join(lines).replace(b"scan_begun", b"scan_ended"))
    with pytest.raises(LogDamaged, match=f"line {len(lines)} "):
        LogWriter.resume(path)


def test_a_last_line_whose_newline_was_changed_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    lines = write(path)
    path.write_bytes(b"".join(lines)[:-1] + b" ")
    with pytest.raises(LogDamaged, match="it is whole, but b' ' is where it must end"):
        LogWriter.resume(path)


@pytest.mark.parametrize("sync", Sync)
def test_recovery_keeps_the_policy(tmp_path: Path, sync: Sync) -> None:
    path = tmp_path / "run.log"
    data = b"".join(write(path, sync=sync))
    path.write_bytes(data[:-1])
    with LogWriter.resume(path) as log:
        assert log.header.sync is sync

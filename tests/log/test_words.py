"""What is said of a line or a stream that is wrong, to the last word."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import orjson
import pytest
from attrs import field, frozen

from hpcore.log import Codec, LogDamaged, LogEmpty, LogTooNew, NotALog, read
from hpcore.log.forms import WrongFields
from hpcore.log.framing import MAX_LINE, NO_SUM, seal, sum_of
from hpcore.log.tail import SECTOR, Place, Torn, judge
from tests.log.samples import write


def refuse_in_words(_event: object, _attribute: object, value: int) -> None:
    if value == 1:
        raise ValueError("one is too few")
    if value == 2:
        raise ValueError


@frozen
class Counted:
    """An event with a validator of its own, which may say nothing."""

    number: int = field(validator=refuse_in_words)


CODEC = Codec({"counted": Counted})


@pytest.mark.parametrize(
    ("number", "says"), [(1, "one is too few"), (2, "its fields make no value")]
)
def test_a_validators_own_words_are_said_if_it_has_any(number: int, says: str) -> None:
    fields = {"event": "counted", "seq": 1, "t": 0.0, "sum": "", "number": number}
    with pytest.raises(WrongFields) as error:
        CODEC.decoders()["counted"](fields)
    assert str(error.value) == f"event counted: {says}"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"number": "x"}, "field 'number' is 'x'; it must be an integer"),
        ({"extra": 1}, "field 'extra' is unknown"),
        ({"number": ...}, "field 'number' is missing"),
        ({"number": ..., "extra": 1}, "field 'number' is missing; field 'extra' is unknown"),
    ],
)
def test_a_fault_that_is_found_is_all_that_is_said(changes: dict[str, Any], says: str) -> None:
    fields = {"event": "counted", "seq": 1, "t": 0.0, "sum": "", "number": 5, **changes}
    given = {name: value for name, value in fields.items() if value is not ...}
    with pytest.raises(WrongFields) as error:
        CODEC.decoders()["counted"](given)
    assert str(error.value) == f"event counted: {says}"


ENCODED = b'{"format":"hpcore-log"'.decode()


@pytest.mark.parametrize(
    ("begins", "says"),
    [
        (b"\x1f\x8b\x08", "it is compressed with gzip; unpack it with gunzip"),
        (b"\x28\xb5\x2f\xfd", "it is compressed with zstd; unpack it with unzstd"),
        (b"\xfd7zXZ\0", "it is compressed with xz; unpack it with unxz"),
        (b"BZh9", "it is compressed with bzip2; unpack it with bunzip2"),
        (b"PK\x03\x04", "it is a zip archive; unpack it with unzip"),
        (ENCODED.encode("utf-8-sig"), "it begins with a byte order mark (BOM), which some editor "
         "put there; tail -c +4 takes it away"),
        (b"\xff\xfe" + ENCODED.encode("utf-16-le"),
         "it is UTF-16; iconv -f UTF-16 -t UTF-8 makes UTF-8 of it"),
        (b"\xfe\xff" + ENCODED.encode("utf-16-be"),
         "it is UTF-16; iconv -f UTF-16 -t UTF-8 makes UTF-8 of it"),
        (ENCODED.encode("utf-16-le"), "it is UTF-16; iconv -f UTF-16LE -t UTF-8 makes UTF-8 of it"),
        (ENCODED.encode("utf-16-be"), "it is UTF-16; iconv -f UTF-16BE -t UTF-8 makes UTF-8 of it"),
        (b"hello", 'line 1 does not start with {"format":"hpcore-log","version":"'),
    ],
)  # fmt: skip
def test_what_a_file_is_that_is_no_log_is_said_with_what_makes_one_of_it(
    begins: bytes, says: str
) -> None:
    with pytest.raises(NotALog) as error:
        read(io.BytesIO(begins + b"\n"))
    assert str(error.value) == f"stream: this is not a log of hpcore: {says}"


def test_a_line_without_its_own_fields_makes_no_value() -> None:
    with pytest.raises(WrongFields, match=r"^event counted: its fields make no value$"):
        CODEC.decoders()["counted"]({"number": 3})


def test_a_log_with_crlf_from_its_first_line_on_is_said_to_be_so(tmp_path: Path) -> None:
    data = b"".join(write(tmp_path / "log")).replace(b"\n", b"\r\n")
    with pytest.raises(NotALog, match="CRLF"):
        read(io.BytesIO(data))


def test_a_stream_without_a_name_is_called_one() -> None:
    with pytest.raises(LogEmpty, match=r"^stream: the log is empty: nothing was ever written"):
        read(io.BytesIO(b""))


def test_who_wrote_an_event_of_a_later_version_may_be_unknown(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [orjson.loads(line) for line in write(tmp_path / "log")]
    lines[0] |= {"version": "1.7", "versions": {}}
    lines[1]["event"] = "slot_painted"
    data, before = b"", NO_SUM
    for fields in lines:
        del fields["sum"]
        line, before = seal(orjson.dumps(fields), before)
        data += line + b"\n"
    with pytest.raises(LogTooNew, match="Install hpcore unknown or later"):
        list(read(io.BytesIO(data))[1])


def test_lost_sectors_may_be_more_than_a_line_is_long() -> None:
    rest = b"x" * SECTOR + bytes(MAX_LINE)
    assert isinstance(judge(rest, Place(3, SECTOR, b"")), Torn)


def test_a_wrong_seq_and_a_wrong_checksum_are_both_said(tmp_path: Path) -> None:
    lines = write(tmp_path / "log")
    wrong = [*lines[:2], lines[3].replace(b"realize", b"release"), *lines[4:]]
    with pytest.raises(LogDamaged) as error:
        list(read(io.BytesIO(b"".join(wrong)))[1])
    assert "damaged: it has seq 3 where 2 belongs and its checksum is " in str(error.value)


@frozen
class Two:
    """An event with two fields, the second of which is made anew for each."""

    first: int
    second: tuple[int, ...] = field(factory=tuple)


def test_every_field_that_is_wrong_is_named() -> None:
    decode = Codec({"two": Two}).decoders()["two"]
    with pytest.raises(WrongFields) as error:
        decode({"event": "two", "seq": 1, "t": 0.0, "sum": "", "second": 5})
    assert str(error.value) == (
        "event two: field 'first' is missing; "
        "field 'second' is 5; it must be a list, each of it an integer"
    )


def test_a_default_that_is_made_anew_is_filled_into_no_older_log() -> None:
    decode = Codec({"two": Two}).decoders(fill=True)["two"]
    fields: dict[str, Any] = {"event": "two", "seq": 1, "t": 0.0, "sum": "", "first": 5}
    assert decode({**fields, "second": [1]}) == Two(5, (1,))
    with pytest.raises(WrongFields, match="field 'second' is missing"):
        decode(fields)


@pytest.mark.parametrize("t", [0, 3, 2.5])
def test_a_time_of_whole_seconds_is_a_number_like_any(tmp_path: Path, t: float) -> None:
    header = write(tmp_path / "log", [])[0]
    fields = {"seq": 1, "t": t, "event": "scan_begun"}
    line, _ = seal(orjson.dumps(fields), sum_of(header.rstrip()))
    (record,) = read(io.BytesIO(header + line + b"\n"))[1]
    assert record.t == t
    assert type(record.t) is float

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
from hpcore.log.framing import MAX_LINE, NO_SUM, seal
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

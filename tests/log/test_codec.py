from __future__ import annotations

import re
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve, field, frozen, validators

from hpcore.log import Codec, EventRefused, LogDamaged, LogWriter, Sync, read
from hpcore.log.forms import WrongFields
from hpcore.log.framing import MAX_BATCH, MAX_LINE, seal, sum_of
from hpcore.model.effects import Step
from hpcore.model.events import EVENTS, Noted, OstReceived, ScanBegun, StepBegun, event_name
from tests.log.samples import HEADER, OWN, Bare, Colour, Everything, write


@frozen
class Judged:
    """An event with a validator of its own."""

    slot: int = field(validator=validators.ge(0))


CODEC = Codec({**OWN, "judged": Judged})
FIELDS: dict[str, Any] = {
    "number": 1, "text": "t", "flag": True, "colour": "red", "maybe": None,
    "maybe_colour": None, "numbers": [1, 2], "pairs": [["a", 1]], "either": "x",
    "_private": 0, "keyword": 2,
}  # fmt: skip


def read_one(path: Path, fields: bytes) -> Any:
    """The event on a sealed line with `fields`, which no writer need have made."""
    LogWriter.create(path, HEADER, sync=Sync.OS, overwrite=True).close()
    before = sum_of(path.read_bytes().rstrip())
    line, _ = seal(b'{"seq":1,"t":0,' + fields + b"}", before)
    with path.open("ab") as file:
        file.write(line + b"\n")
    return next(read(path, CODEC)[1]).event


def dumped(**changes: Any) -> bytes:
    fields = {**FIELDS, **changes}
    kept = {k: v for k, v in fields.items() if v is not ...}
    return b'"event":"everything",' + CODEC.dump(kept)[1:-1]


def test_fields_make_an_event(tmp_path: Path) -> None:
    assert read_one(tmp_path / "run.log", dumped()) == Everything(
        1, "t", True, Colour.RED, None, None, (1, 2), (("a", 1),), "x", 0, keyword=2
    )


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"number": "1"}, "field 'number' is '1'; it must be an integer"),
        ({"number": True}, "field 'number' is True; it must be an integer"),
        ({"number": 1.0}, "field 'number' is 1.0; it must be an integer"),
        ({"number": None}, "field 'number' is None; it must be an integer"),
        ({"text": 1}, "field 'text' is 1; it must be a string"),
        ({"flag": 1}, "field 'flag' is 1; it must be true or false"),
        ({"colour": "blue"}, "field 'colour' is 'blue'; it must be one of red, green"),
        ({"colour": ["red"]}, "field 'colour' is ['red']; it must be one of red, green"),
        ({"maybe": "1"}, "field 'maybe' is '1'; it must be an integer or null"),
        ({"maybe_colour": 1}, "it must be one of red, green or null"),
        ({"numbers": 1}, "field 'numbers' is 1; it must be a list, each of it an integer"),
        ({"numbers": [1, True]}, "field 'numbers' holds a value that is True"),
        ({"pairs": [["a"]]}, "field 'pairs' holds a value that is ['a']; it must be a list of 2"),
        ({"either": None}, "field 'either' is None; it must be an integer or a string or true"),
        ({"text": ...}, "field 'text' is missing"),
        ({"keyword": ...}, "field 'keyword' is missing"),
        ({"extra": 1}, "field 'extra' is unknown"),
        ({"text": ..., "extra": 1}, "field 'text' is missing; field 'extra' is unknown"),
        ({"batch": 1, "extra": 1}, "field 'extra' is unknown"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    with pytest.raises(LogDamaged, match=re.escape(why)) as error:
        read_one(tmp_path / "run.log", dumped(**changes))
    assert "line 2 (seq 1) is damaged: it is sealed, but event everything: " in str(error.value)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b'"event":"nobody"', "its event is unknown: 'nobody'"),
        (b'"event":["bare"]', "its event is unknown: ['bare']"),
        (b'"evnt":"bare"', "has no field 'event'"),
        (b'"event":"bare","t":"now"', "its time, t, is 'now'"),
        (b'"event":"bare","seq":2', "it has seq 2"),
        (b'"event":"judged","slot":-1', "event judged: "),
        (b'"event":', "is not JSON"),
    ],
)
def test_a_line_that_is_no_event_is_refused(tmp_path: Path, line: bytes, why: str) -> None:
    with pytest.raises(LogDamaged, match=re.escape(why)):
        read_one(tmp_path / "run.log", line)


def test_a_field_that_is_always_none_comes_back_and_can_be_nothing_else(tmp_path: Path) -> None:
    @frozen
    class Nothing:
        said: None = None

    codec = Codec({"nothing": Nothing})
    path = tmp_path / "run.log"
    with LogWriter.create(path, HEADER, sync=Sync.OS, codec=codec) as log:
        log.append([Nothing()], t=0)
        with pytest.raises(EventRefused, match="field 'said' is 'x'; it must be null"):
            log.append([Nothing("x")], t=1)  # type: ignore[arg-type]
    assert [record.event for record in read(path, codec)[1]] == [Nothing()]  # type: ignore[comparison-overlap]


def test_a_decoder_passes_over_what_it_does_not_know_or_fills_in_what_is_missing() -> None:
    known: dict[str, Any] = {"event": "everything", "seq": 1, "t": 0, "sum": "", **FIELDS}
    more = {**known, "later": 1}
    less = {name: value for name, value in known.items() if name != "keyword"}
    made = CODEC.decoders()["everything"](dict(known))
    assert CODEC.decoders(ignore_unknown=True)["everything"](more) == made
    assert CODEC.decoders(fill=True)["everything"](less) == evolve(made, keyword=7)
    for relaxed, fields in (({"fill": True}, more), ({"ignore_unknown": True}, less), ({}, more),
                            ({}, less)):  # fmt: skip
        with pytest.raises(WrongFields):
            CODEC.decoders(**relaxed)["everything"](fields)


@pytest.mark.parametrize("missing", ["seq", "t", "event"])
def test_a_line_without_what_every_line_has_is_refused(tmp_path: Path, missing: str) -> None:
    path = tmp_path / "run.log"
    LogWriter.create(path, HEADER, sync=Sync.OS).close()
    fields = {"seq": 1, "t": 0, "event": "bare"}
    del fields[missing]
    line, _ = seal(CODEC.dump(fields), sum_of(path.read_bytes().rstrip()))
    with path.open("ab") as file:
        file.write(line + b"\n")
    with pytest.raises(LogDamaged, match=f"it is sealed, but has no field '{missing}'"):
        next(read(path, CODEC)[1])


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (object(), "a log holds no object"),
        (Bare(), "a log holds no Bare"),
        (OstReceived(1, 0, "no"), "event ost_received: field 'status' is 'no'"),  # type: ignore[arg-type]
        (OstReceived(True, 0, 0), "field 'slot' is True; it must be an integer"),
        (StepBegun(1, "realize"), "field 'step' is 'realize'; it must be a Step"),  # type: ignore[arg-type]
        (Noted(Step.BIND), "field 'text' is <Step.BIND"),
        (OstReceived(1, 0, 2**64), "event ost_received: status is 18446744073709551616"),
        (Noted("\ud800"), "event noted: text is "),
        (Noted("x" * MAX_LINE), "event noted: its line has "),
    ],
)
def test_an_event_that_a_log_cannot_hold_is_refused_and_the_writer_goes_on(
    tmp_path: Path, event: object, why: str
) -> None:
    path = tmp_path / "run.log"
    with LogWriter.create(path, HEADER, sync=Sync.OS) as log:
        log.append([ScanBegun()], t=1)
        with pytest.raises(EventRefused, match=re.escape(why)):
            log.append([ScanBegun(), event], t=2)
        assert log.append([Noted("fine")], t=1) == 2
    assert [r.event for r in read(path)[1]] == [ScanBegun(), Noted("fine")]


@pytest.mark.parametrize("t", [float("nan"), float("inf"), -1.0, 0.5])
def test_a_time_that_is_none_or_goes_back_is_refused(tmp_path: Path, t: float) -> None:
    with LogWriter.create(tmp_path / "run.log", HEADER, sync=Sync.OS) as log:
        log.append([ScanBegun()], t=1)
        with pytest.raises(EventRefused, match="a time of"):
            log.append([ScanBegun()], t)


def test_an_append_beyond_the_largest_is_refused(tmp_path: Path) -> None:
    with LogWriter.create(tmp_path / "run.log", HEADER, sync=Sync.OS) as log:
        with pytest.raises(EventRefused, match=f"append at most {MAX_BATCH}"):
            log.append([Noted("x" * (MAX_LINE - 1000))] * 17, t=0)
        assert log.append([Noted("x" * (MAX_LINE - 1000))] * 16, t=0) == 1
    assert len(list(read(tmp_path / "run.log")[1])) == 16


def test_every_event_of_the_model_has_its_name_in_the_log(tmp_path: Path) -> None:
    assert {event_name(cls) for cls in EVENTS.values()} == set(EVENTS)
    lines = write(tmp_path / "run.log", [[ScanBegun()]])
    assert b'"event":"scan_begun"' in lines[1]


class Level(Enum):
    LOW = 1


@pytest.mark.parametrize(
    ("hint", "why"),
    [
        (float, "a log holds no <class 'float'>"),
        (dict[str, int], "a log holds no dict"),
        (Level, "only enums of strings"),
        (str | Colour, "cannot tell apart: a string and one of red, green"),
        (tuple[int, float], "field 'x': a log holds no"),
    ],
)
def test_a_registry_with_a_field_no_log_can_hold_is_refused(hint: Any, why: str) -> None:
    cls = type("Odd", (), {"__annotations__": {"x": hint}})
    with pytest.raises(TypeError, match=re.escape(why)):
        Codec({"odd": frozen(cls)})


@pytest.mark.parametrize("name", ["seq", "t", "event", "sum", "batch"])
def test_a_registry_with_a_field_of_the_lines_own_is_refused(name: str) -> None:
    cls = frozen(type("Odd", (), {"__annotations__": {name: int}}))
    with pytest.raises(TypeError, match="it is the line's own name"):
        Codec({"odd": cls})


def test_a_registry_of_other_classes_is_refused() -> None:
    with pytest.raises(TypeError, match="no attrs class"):
        Codec({"odd": int})

"""What a decision answers stands on its first line, and comes back as it was."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcore.log import EventRefused, LogDamaged, LogWriter, Sync, read
from hpcore.log.framing import seal, sum_of
from hpcore.model.acpi import OstSource, OstStatus
from hpcore.model.effects import Step
from hpcore.model.events import Noted, OstReceived, ScanBegun, StepBegun
from hpcore.model.plain import LONGEST_TEXT, MOST_PROPS, plain, plain_stimulus
from hpcore.model.stimuli import STIMULI, CpuOnCalled, DeviceAdd, Lost, Note, OstReported, Reset
from tests.log.samples import HEADER, events_of


@settings(max_examples=100)
@given(stimulus=events_of(STIMULI), heard=st.none() | st.integers(0, 2**64 - 1))
def test_any_stimulus_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, stimulus: Any, heard: int | None
) -> None:
    path = tmp_path_factory.getbasetemp() / "stimulus.log"
    with LogWriter.create(path, HEADER, sync=Sync.OS, overwrite=True) as log:
        log.append([Noted("a"), Noted("b")], 0, stimulus, heard)
        log.append([Noted("c")], 0)
    first, second, third = read(path)[1]
    assert (first.batch, first.answers, first.heard) == (None, stimulus, heard)
    assert repr(first.answers) == repr(stimulus)  # True is not 1
    assert (second.batch, second.answers, second.heard) == (1, None, None)
    assert (third.batch, third.answers, third.heard) == (None, None, None)


def test_how_far_was_heard_is_kept_for_what_answers_nothing(tmp_path: Path) -> None:
    with LogWriter.create(tmp_path / "run.log", HEADER, sync=Sync.OS) as log:
        log.append([Noted("a")], 0, heard=3)
        log.append([Noted("b")], 0)
    first, second = read(tmp_path / "run.log")[1]
    assert (first.answers, first.heard, second.heard) == (None, 3, None)


def test_a_line_says_what_it_answers(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    with LogWriter.create(path, HEADER, sync=Sync.OS) as log:
        log.append([StepBegun(1, Step.BIND)], 0.5, CpuOnCalled(1, entry=4096), heard=7)
    assert orjson.loads(path.read_bytes().splitlines()[1])["answers"] == {
        "stimulus": "cpu_on_called", "slot": 1, "caller": 0, "entry": 4096, "context": 0,
        "verdict": None,
    }  # fmt: skip
    assert b'"heard":7' in path.read_bytes()


def test_a_number_of_acpi_by_its_name_is_a_number_in_the_log(tmp_path: Path) -> None:
    made = OstReported(1, OstSource.DEVICE_CHECK, OstStatus.FAILURE)
    with LogWriter.create(tmp_path / "run.log", HEADER, sync=Sync.OS) as log:
        log.append([OstReceived(1, made.source, made.status)], 0, made)
    (record,) = read(tmp_path / "run.log")[1]
    assert record.answers == OstReported(1, 1, 1)


def test_decisions_of_one_time_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    with LogWriter.create(path, HEADER, sync=Sync.OS) as log:
        for text in ("one", "two"):
            log.append([Noted(text), ScanBegun()], 0.25, Note(text))
    assert [r.batch for r in read(path)[1]] == [None, 1, None, 3]


def line(seq: int, **fields: Any) -> bytes:
    return orjson.dumps({"seq": seq, "t": 0.0, "event": "scan_begun", **fields})


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"answers": {"stimulus": "nothing"}}, "it answers an unknown stimulus: {'stimulus'"),
        ({"answers": "reset"}, "it answers an unknown stimulus: 'reset'"),
        ({"answers": {"stimulus": ["reset"]}}, "it answers an unknown stimulus"),
        ({"answers": {"stimulus": "reset", "x": 1}}, "stimulus reset: field 'x' is unknown"),
        ({"answers": {"stimulus": "scan_ended", "t": 1}}, "field 't' is unknown"),
        ({"answers": {"stimulus": "eject_called"}}, "field 'slot' is missing"),
        ({"answers": {"stimulus": "lost", "error": 1}}, "field 'error' is 1"),
        ({"heard": -1}, "it has heard -1, which is no number"),
        ({"heard": True}, "it has heard True, which is no number"),
        ({"batch": 2}, "it has batch 2, and its decision began at seq 1"),
        ({"batch": True}, "it has batch True"),
        ({"batch": 1, "answers": {"stimulus": "reset"}}, "only a decision's first line has"),
        ({"batch": 1, "heard": 1}, "only a decision's first line has"),
    ],
)
def test_a_line_that_answers_wrongly_is_refused(
    tmp_path: Path, fields: dict[str, Any], why: str
) -> None:
    path = tmp_path / "run.log"
    LogWriter.create(path, HEADER, sync=Sync.OS).close()
    before = sum_of(path.read_bytes().rstrip())
    with path.open("ab") as file:
        for made in (line(1), line(2, **fields)):
            sealed, before = seal(made, before)
            file.write(sealed + b"\n")
    with pytest.raises(LogDamaged, match=re.escape(why)) as error:
        list(read(path)[1])
    assert "line 3 (seq 2) is damaged" in str(error.value)


@pytest.mark.parametrize(
    ("stimulus", "why"),
    [
        (object(), "a log holds no stimulus object"),
        (CpuOnCalled(1, entry=1 << 64), "which no log can hold"),
        (Lost("\ud800"), "which no log can hold"),
        (Lost(1), "stimulus lost: field 'error' is 1"),  # type: ignore[arg-type]
    ],
)
def test_a_stimulus_that_a_log_cannot_hold_is_refused_and_the_writer_goes_on(
    tmp_path: Path, stimulus: object, why: str
) -> None:
    path = tmp_path / "run.log"
    with LogWriter.create(path, HEADER, sync=Sync.OS) as log:
        with pytest.raises(EventRefused, match=re.escape(why)):
            log.append([ScanBegun()], 0, stimulus)
        assert log.append([ScanBegun()], 0, Reset()) == 1
    assert [r.answers for r in read(path)[1]] == [Reset()]


TEXTS = st.text(st.characters(), max_size=30) | st.integers(1, 4).map(
    lambda n: "x\ud800" * (n * LONGEST_TEXT // 3)
)


@given(TEXTS)
def test_what_is_plain_stays_as_it_is_and_fits_a_log(text: str) -> None:
    once = plain(text)
    assert plain(once) == once
    assert len(once) <= LONGEST_TEXT + len(" ...")
    once.encode()  # no lone surrogate is left


PROPS = st.lists(
    st.tuples(TEXTS, st.integers() | TEXTS | st.booleans() | st.none() | st.floats()),
    max_size=2 * MOST_PROPS,
)


@given(TEXTS, PROPS, st.none() | TEXTS)
def test_any_device_add_can_be_logged_once_it_is_plain(
    tmp_path_factory: pytest.TempPathFactory, id_: str, props: list[Any], driver: str | None
) -> None:
    made = plain_stimulus(DeviceAdd(id_, tuple(props), driver))
    assert plain_stimulus(made) == made
    path = tmp_path_factory.getbasetemp() / "plain.log"
    with LogWriter.create(path, HEADER, sync=Sync.BUFFERED, overwrite=True) as log:
        log.append([ScanBegun()], 0, made)
    assert next(read(path)[1]).answers == made

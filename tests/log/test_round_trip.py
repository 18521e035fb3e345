from __future__ import annotations

import io
import os
import tracemalloc
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcore.log import Codec, Header, LogWriter, Record, Sync, read
from hpcore.model.effects import Step
from hpcore.model.events import EVENTS, Noted, StepBegun, StepDone
from hpcore.version import __version__
from tests.log.samples import HEADER, MACHINE, OWN, SOME, events_of, flat, write


@settings(max_examples=60)
@given(
    appends=st.lists(st.lists(events_of(EVENTS), max_size=4), max_size=6),
    sync=st.sampled_from(Sync),
)
def test_any_events_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, appends: list[list[Any]], sync: Sync
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.log"
    write(path, appends, sync)
    _, records = read(path)
    wanted: list[Record] = []
    for i, events in enumerate(appends):
        first = len(wanted) + 1
        for event in events:
            seq = len(wanted) + 1
            wanted.append(Record(seq, i / 8, event, None if seq == first else first))
    assert list(records) == wanted
    assert records.torn is None


@settings(max_examples=60)
@given(events=st.lists(events_of(OWN)))
def test_events_with_every_kind_of_field_come_back(
    tmp_path_factory: pytest.TempPathFactory, events: list[Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "own.log"
    codec = Codec(OWN)
    with LogWriter.create(path, HEADER, sync=Sync.OS, overwrite=True, codec=codec) as log:
        log.append(events, t=0)
    read_back: list[Any] = [record.event for record in read(path, codec)[1]]
    assert read_back == events
    assert list(map(repr, read_back)) == list(map(repr, events))  # True is not 1


def test_a_line_is_what_the_documentation_says(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    with LogWriter.create(path, HEADER) as log:
        assert log.append([StepBegun(1, Step.REALIZE), StepDone(1, Step.REALIZE)], t=0.25) == 1
        assert log.append([], t=0.25) == 3
        assert log.append([Noted("hello")], t=1.0000004) == 3
        assert (log.next_seq, log.last_t) == (4, 1.0)
    heads = [line.rpartition(b',"sum":"')[0].decode() for line in path.open("rb")]
    assert heads[0] == (
        '{"format":"hpcore-log","version":"1.3","machine":{"topology":{"cpus":1,"maxcpus":4,'
        '"sockets":1,"clusters":1,"cores":4,"threads":1},"cpu_model":"cortex-a57",'
        '"gic_version":3,"memory":1024,"no_hotplug":null},"accelerator":"qtest",'
        f'"versions":{{"qemu":"7.2.0","hpcore":"{__version__}"}},'
        '"created":"2026-01-02T03:04:05+00:00","sync":"durable","modelled":{},"differs":{}'
    )
    assert heads[1:] == [
        '{"seq":1,"t":0.25,"event":"step_begun","slot":1,"step":"realize"',
        '{"seq":2,"t":0.25,"event":"step_done","slot":1,"step":"realize","affinity":null,"batch":1',
        '{"seq":3,"t":1.0,"event":"noted","text":"hello"',
    ]


def test_the_header_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    capped = Header(
        MACHINE.capped("KVM has no filter"), "kvm", {"kernel": "6.12"},
        modelled={"stop": "it has no threads"}, differs={"step_done.affinity": "it is no Arm"},
    )  # fmt: skip
    LogWriter.create(path, capped, sync=Sync.OS).close()
    header, records = read(path)
    assert list(records) == []
    versions = {"kernel": "6.12", "hpcore": __version__}
    assert str(header.format) == "1.3"
    assert header == attrs.evolve(capped, sync=Sync.OS, versions=versions, format=header.format)


def test_a_resumed_log_goes_on_where_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    for i, events in enumerate(SOME):
        if i == 0:
            log = LogWriter.create(path, HEADER)
        else:
            log = LogWriter.resume(path)
            assert (log.recovered, log.last_t) == (None, (i - 1) / 8)
        assert log.header.sync is Sync.DURABLE
        log.append(events, t=i / 8)
        log.close()
    one_go = tmp_path / "one_go.log"
    write(one_go, SOME, Sync.DURABLE)
    assert path.read_bytes() == one_go.read_bytes()


def test_a_stream_and_a_pipe_are_read_like_a_file(tmp_path: Path) -> None:
    data = b"".join(write(tmp_path / "run.log"))
    assert [r.event for r in read(io.BytesIO(data))[1]] == flat(SOME)
    ours, theirs = os.pipe()
    with os.fdopen(ours, "rb") as reading, os.fdopen(theirs, "wb", buffering=0) as writing:
        writing.write(data)
        _, records = read(reading)
        first = [next(records).event for _ in flat(SOME)]  # before the pipe has ended
        assert first == flat(SOME)


def test_a_reader_may_stop_before_the_end(tmp_path: Path) -> None:
    write(tmp_path / "run.log")
    with read(tmp_path / "run.log")[1] as records:
        assert next(records).seq == 1
    assert list(records) == []


def test_a_log_being_written_is_read_up_to_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    with LogWriter.create(path, HEADER, sync=Sync.OS) as log:
        log.append([Noted("one")], t=0)
        assert [r.event for r in read(path)[1]] == [Noted("one")]


def test_what_is_buffered_is_in_the_file_after_flush(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    with LogWriter.create(path, HEADER, sync=Sync.BUFFERED) as log:
        log.append([Noted("one")], t=0)
        assert list(read(path)[1]) == []
        log.flush()
        assert [r.event for r in read(path)[1]] == [Noted("one")]
        log.append([Noted("two")], t=0)
        log.sync()
        assert len(list(read(path)[1])) == 2


def test_memory_does_not_grow_with_the_log(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    write(path, [[Noted("x" * 100)] * 500] * 60, Sync.BUFFERED)
    assert path.stat().st_size > 5 << 20
    tracemalloc.start()
    try:
        assert sum(1 for _ in read(path)[1]) == 30_000
        assert tracemalloc.get_traced_memory()[1] < 2 << 20
    finally:
        tracemalloc.stop()

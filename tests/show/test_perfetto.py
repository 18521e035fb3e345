"""The trace for Perfetto, parsed again by Perfetto's own definitions."""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackEvent

from hpcore.log import read
from hpcore.model import events as ev
from hpcore.show.perfetto import NoPerfetto, trace
from hpcore.show.timeline import timeline
from tests.support.churn import Churn, churned
from tests.support.command import hpcore

BEGIN, END, INSTANT = (
    TrackEvent.TYPE_SLICE_BEGIN, TrackEvent.TYPE_SLICE_END, TrackEvent.TYPE_INSTANT,
)  # fmt: skip


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("log") / "run.jsonl"
    churned(path, Churn(7, maxcpus=6), 800)
    return path


def parsed(data: bytes) -> list[Any]:
    found = Trace()
    found.ParseFromString(data)
    return list(found.packet)


def paths(packets: list[Any]) -> dict[int, str]:
    """The tracks by number, each with the names of those above it."""
    tracks = {p.track_descriptor.uuid: p.track_descriptor for p in packets
              if p.HasField("track_descriptor")}  # fmt: skip

    def path(track: Any) -> str:
        above = tracks.get(track.parent_uuid)
        return track.name if above is None else f"{path(above)}/{track.name}"

    return {uuid: path(track) for uuid, track in tracks.items()}


def test_every_command_is_a_slice_on_its_vcpus_track(log: Path) -> None:
    packets = parsed(trace("run", timeline(log)))
    names = paths(packets)
    plugs = [
        (names[p.track_event.track_uuid], p.track_event.name.removesuffix(" (failed)"))
        for p in packets
        if p.track_event.type == BEGIN and p.track_event.name.startswith("plug ")
    ]
    with read(log)[1] as records:
        wanted = [
            (f"run/vCPU {r.event.slot}/commands", f"plug {r.event.id}")
            for r in records
            if isinstance(r.event, ev.PlugAccepted)
        ]
    assert plugs == wanted
    assert wanted


def test_slices_of_one_track_follow_each_other_and_time_never_goes_back(log: Path) -> None:
    packets = parsed(trace("run", timeline(log)))
    under_way: dict[int, int] = defaultdict(int)
    last = 0
    for packet in packets:
        assert packet.timestamp >= last or packet.HasField("track_descriptor")
        last = packet.timestamp
        event = packet.track_event
        if event.type in (BEGIN, END):
            under_way[event.track_uuid] += 1 if event.type == BEGIN else -1
            assert under_way[event.track_uuid] in (0, 1)
    assert packets[0].sequence_flags & packets[0].SEQ_INCREMENTAL_STATE_CLEARED
    assert {p.trusted_packet_sequence_id for p in packets} == {1}


def test_a_mark_names_the_event_and_what_it_answers(log: Path) -> None:
    packets = parsed(trace("run", timeline(log)))
    with read(log)[1] as records:
        refusals = [r for r in records if isinstance(r.event, ev.Refused) and r.batch is None]
    marks = {
        note.int_value: p.track_event
        for p in packets if p.track_event.type == INSTANT
        for note in p.track_event.debug_annotations if note.name == "seq"
    }  # fmt: skip
    for refusal in refusals:
        mark = marks[refusal.seq]
        assert list(mark.categories) == ["refusals"]
        assert isinstance(refusal.event, ev.Refused)
        assert refusal.event.message in mark.name


def test_the_command_writes_a_trace_with_the_wrong_event_marked(tmp_path: Path) -> None:
    broken, out = tmp_path / "broken.jsonl", tmp_path / "broken.pftrace"
    hpcore("check", "--slots", "2", "--mutant", "unbind_before_unwire", "--log", broken)
    ended = hpcore("show", broken, "--perfetto", out, "--json")
    assert (ended.code, ended.last["perfetto"]) == (1, str(out))
    marks = [p.track_event for p in parsed(out.read_bytes()) if "wrong" in p.track_event.categories]
    assert [mark.name.split(":")[1].strip() for mark in marks] == ["eject_in_order"]


def test_without_the_package_it_is_said_what_to_install(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "perfetto.protos.perfetto.trace", None)
    with pytest.raises(NoPerfetto, match=r"pip install 'hpcore\[perfetto\]'"):
        trace("run", timeline(log, last=10))

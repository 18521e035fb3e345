"""A log as a trace of Perfetto's, for ui.perfetto.dev and whatever else reads such traces.

A lane is a track, and has a track below it for each row of bars and one for its marks. The
definitions are those that Perfetto's own package brings.
"""

from __future__ import annotations

import io
from collections import defaultdict
from typing import Any

from hpcore.errors import HpcoreError, printable
from hpcore.show.kinds import KINDS
from hpcore.show.spans import COMMAND, LEVEL, STEP, Bar
from hpcore.show.timeline import Timeline

NANOSECONDS = 1000
"""Of a microsecond, in which a timeline counts."""

SEQUENCE = 1
"""All packets are of one writer."""

MARKS = "events"
_ROWS = {COMMAND: "commands", STEP: "steps", LEVEL: "state", MARKS: "events"}
_MARKED = {"guest", "refusals", "failures", "notes"}


class NoPerfetto(HpcoreError):
    """The package with Perfetto's definitions is not installed."""


def _definitions() -> tuple[Any, Any]:
    """How a trace is written, and the class of a track's event."""
    try:
        from perfetto.protos.perfetto.trace import perfetto_trace_pb2  # noqa: PLC0415 - an extra
        from perfetto.trace_builder.proto_builder import (  # noqa: PLC0415
            StreamingTraceProtoBuilder,
        )
    except ImportError:
        raise NoPerfetto(
            "a trace needs the package perfetto; install it with: pip install 'hpcore[perfetto]'"
        ) from None
    return StreamingTraceProtoBuilder, perfetto_trace_pb2.TrackEvent


def trace(name: str, found: Timeline) -> bytes:
    """The log `name` as a trace. Raises NoPerfetto where the definitions are missing."""
    builder, kinds = _definitions()
    file = io.BytesIO()
    out = _Writer(builder(file), kinds)
    out.tracks(name, found.lanes)
    ends: dict[int, list[Bar]] = defaultdict(list)
    begins: dict[int, list[Bar]] = defaultdict(list)
    for bar in found.bars.all:
        begins[bar.begin].append(bar)
        if bar.end is not None:
            ends[bar.end].append(bar)
    for at, t in enumerate(found.t):
        for bar in ends[at]:
            out.end(bar, t)
        for bar in begins[at]:
            out.begin(bar, t, found.first + at)
        if KINDS[found.kind[at]] in _MARKED:
            out.mark(found.lane[at], t, _said(found, at))
    wrong = found.wrong
    if wrong is not None and 0 <= (at := int(str(wrong["at"]))) < len(found.t):
        words = f"wrong: {wrong['invariant']}: {wrong['says']}"
        out.mark(found.lane[at], found.t[at], [("name", words), ("kind", "wrong"),
                                               ("seq", found.first + at)])  # fmt: skip
    return file.getvalue()


def _said(found: Timeline, at: int) -> list[tuple[str, object]]:
    answers = found.answers[at]
    out: list[tuple[str, object]] = [
        ("name", found.texts.all[found.says[at]]), ("kind", KINDS[found.kind[at]]),
        ("seq", found.first + at),
    ]  # fmt: skip
    return [*out, ("answers", found.stimuli.all[answers])] if answers >= 0 else out


class _Writer:
    def __init__(self, builder: Any, kinds: Any) -> None:
        self._builder, self._kinds = builder, kinds
        self._numbers: dict[tuple[int, str | None], int] = {}
        self.packets = 0

    def tracks(self, name: str, lanes: list[str]) -> None:
        """Say which tracks there are: the log's, each lane's below it, each row's below that."""
        top = self._track(-1, None, None, printable(name), order=0)
        for lane, words in enumerate(lanes):
            own = self._track(lane, None, top, words, order=lane)
            for order, (row, says) in enumerate(_ROWS.items()):
                self._track(lane, row, own, says, order=order)

    def _track(
        self, lane: int, row: str | None, parent: int | None, says: str, order: int
    ) -> int:
        number = self._numbers[lane, row] = len(self._numbers) + 1
        packet = self._packet(0)
        track = packet.track_descriptor
        track.uuid, track.name, track.sibling_order_rank = number, says, order
        track.child_ordering = track.EXPLICIT
        if parent is not None:
            track.parent_uuid = parent
        self._write(packet)
        return number

    def begin(self, bar: Bar, t: int, seq: int) -> None:
        """A bar begins."""
        event = self._event(bar.lane, bar.row, self._kinds.TYPE_SLICE_BEGIN, t)
        said = printable(bar.says)
        event.track_event.name = f"{said} (failed)" if bar.failed else said
        event.track_event.categories.append(_ROWS[bar.row])
        self._note(event, "seq", seq)
        self._write(event)

    def end(self, bar: Bar, t: int) -> None:
        """It ends. One that does not lasts, for Perfetto too, to the end of the trace."""
        self._write(self._event(bar.lane, bar.row, self._kinds.TYPE_SLICE_END, t))

    def mark(self, lane: int, t: int, said: list[tuple[str, object]]) -> None:
        """Something of one moment."""
        event = self._event(lane, MARKS, self._kinds.TYPE_INSTANT, t)
        for key, value in said:
            if key == "name":
                event.track_event.name = str(value)
            elif key == "kind":
                event.track_event.categories.append(str(value))
            else:
                self._note(event, key, value)
        self._write(event)

    def _event(self, lane: int, row: str, kind: int, t: int) -> Any:
        packet = self._packet(t)
        packet.track_event.type = kind
        packet.track_event.track_uuid = self._numbers[lane, row]
        return packet

    def _note(self, packet: Any, name: str, value: object) -> None:
        note = packet.track_event.debug_annotations.add()
        note.name = name
        if isinstance(value, int):
            note.int_value = value
        else:
            note.string_value = str(value)

    def _packet(self, t: int) -> Any:
        packet = self._builder.create_packet()
        packet.timestamp = t * NANOSECONDS
        packet.trusted_packet_sequence_id = SEQUENCE
        if not self.packets:
            packet.sequence_flags = packet.SEQ_INCREMENTAL_STATE_CLEARED
        return packet

    def _write(self, packet: Any) -> None:
        self._builder.write_packet(packet)
        self.packets += 1

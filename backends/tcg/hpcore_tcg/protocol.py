"""The words of the link between the host and the EL3 monitor: frames, op codes, statuses.

Both ends are built from this one file: `build` writes these numbers into the monitor's
header. A frame is a head byte with bit 7 set (0x80 | kind), then a fixed number of bytes
with bit 7 clear that the kind decides, the last of which is a CRC-7. A reader that has
lost its place finds it again at the next head byte.

Three sorts of frames share the kinds: requests of the host (0x01 to 0x2F), one reply for
each (0x30), and what the monitor reports by itself (0x40 and up). A number is sent as
groups of 7 bits, lowest group first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import IntEnum

from attrs import frozen

from hpcore.model.effects import OTHERS_STEPS, Step

VERSION = 1
"""Said in HELLO; the host refuses a monitor that speaks another one."""

HEAD_BIT = 0x80
GROUP_BITS = 7
CRC_POLY = 0x09  # x^7 + x^3 + 1, as SD cards use


class Op(IntEnum):
    """What the host asks for. The monitor refuses what is out of order, with a `Status`."""

    INIT = 0x01  # arg: the epoch HELLO gave; the GIC made ready; value: redistributors found
    RUN = 0x02  # vCPU 0 enters the kernel
    QUERY = 0x03  # value: see `StateBit`
    RAISE_GED = 0x04
    REALIZE = 0x10  # arg: 1 for a cold-booted vCPU
    BIND = 0x11  # value: GICR_TYPER's affinity
    WIRE = 0x12
    ENABLE = 0x13
    NOTIFY_INSERT = 0x14
    NOTIFY_REMOVE = 0x15
    DISABLE = 0x16
    POWER_OFF = 0x17  # answered when the vCPU is in EL3 to stay
    UNWIRE = 0x18
    UNBIND = 0x19
    STOP = 0x1A
    RELEASE = 0x1B
    PARK = 0x1C
    REASSERT = 0x1D


STEP_OPS: dict[Step, Op] = {step: Op[step.name] for step in Step if step not in OTHERS_STEPS}
"""The request that carries out each step of a slot: the two have the same names."""

REPLY = 0x30


class Event(IntEnum):
    """What the monitor reports by itself."""

    HELLO = 0x40  # after every reset; nothing runs until RUN
    CPU_ON = 0x41
    CPU_OFF = 0x42
    SCAN_STARTED = 0x43
    SCAN_ENDED = 0x44
    INSERT_ACKED = 0x45
    REMOVE_ACKED = 0x46
    OST = 0x47
    EJECT = 0x48
    SYSTEM_OFF = 0x49  # the guest's PSCI SYSTEM_OFF, just before the power goes
    GARBLED = 0x4A  # a request arrived damaged, and is lost
    STRAY = 0x4B  # a record in the page's ring that is none of Record
    OVERRUN = 0x4C  # AML, or whoever wrote HEAD, overwrote records not yet read
    FAULT = 0x4D  # the monitor itself took an exception: a bug


class Status(IntEnum):
    """How a request ended. Everything but OK has changed nothing."""

    OK = 0
    UNKNOWN_OP = 1
    NO_SLOT = 2
    NOT_READY = 3
    RUNNING = 4
    NOT_REALIZED = 5
    NOT_BOUND = 6
    NOT_WIRED = 7
    NOT_ENABLED = 8
    STILL_REALIZED = 9
    STILL_BOUND = 10
    STILL_WIRED = 11
    STILL_ENABLED = 12
    STILL_ON = 13
    COLD = 14
    BUSY = 15
    NO_FRAME = 16
    GIC_STUCK = 17
    STALE_EPOCH = 18


MEANING: dict[int, str] = {
    Status.UNKNOWN_OP: "the monitor does not know this request",
    Status.NO_SLOT: "there is no such vCPU",
    Status.NOT_READY: "the GIC is not initialised since the last reset; send INIT first",
    Status.RUNNING: "the machine runs already",
    Status.NOT_REALIZED: "the vCPU is parked; it must be realized first",
    Status.NOT_BOUND: "the CPU interface is not bound; it must be bound first",
    Status.NOT_WIRED: "the CPU interface is not wired; it must be wired first",
    Status.NOT_ENABLED: "the vCPU is not enabled; it must be enabled first",
    Status.STILL_REALIZED: "the vCPU is realized already",
    Status.STILL_BOUND: "the CPU interface is still bound",
    Status.STILL_WIRED: "the CPU interface is still wired",
    Status.STILL_ENABLED: "the vCPU is still enabled; it must be disabled first",
    Status.STILL_ON: "the vCPU is still powered on",
    Status.COLD: "the vCPU was cold-booted, and so stays for the machine's life",
    Status.BUSY: "a power-off of this vCPU is under way already",
    Status.NO_FRAME: "no redistributor's GICR_TYPER has the affinity of this vCPU",
    Status.GIC_STUCK: "GICR_WAKER.ChildrenAsleep did not follow ProcessorSleep",
    Status.STALE_EPOCH: "the request was meant for the time before the last reset",
}


class StateBit(IntEnum):
    """Bit positions in QUERY's value: the `_STA` cell, the power state, then flags."""

    STA = 0  # 8 bits, as the page has it now
    POWER = 8  # 2 bits, see `Power`
    REALIZED = 10
    BOUND = 11
    WIRED = 12
    ALLOWED = 13
    REQUESTED = 14
    COLD = 15
    EJECTED = 16


class Power(IntEnum):
    """A vCPU's power state, with PSCI AFFINITY_INFO's numbers (Arm DEN0022, 5.1.8)."""

    ON = 0
    OFF = 1
    PENDING = 2


Fields = tuple[tuple[str, int], ...]

_REQUEST: Fields = (("tag", 2), ("slot", 2), ("arg", 3))
FIELDS: dict[int, Fields] = {
    **{int(op): _REQUEST for op in Op},
    REPLY: (("tag", 2), ("status", 1), ("value", 5)),
    Event.HELLO: (("version", 1), ("epoch", 2)),
    Event.CPU_ON: (("slot", 3), ("caller", 3), ("granted", 1), ("entry", 10), ("context", 10)),
    Event.CPU_OFF: (("slot", 3),),
    Event.SCAN_STARTED: (),
    Event.SCAN_ENDED: (),
    Event.INSERT_ACKED: (("slot", 3),),
    Event.REMOVE_ACKED: (("slot", 3),),
    Event.OST: (("slot", 3), ("source", 3), ("status", 3)),
    Event.EJECT: (("slot", 3),),
    Event.SYSTEM_OFF: (),
    Event.GARBLED: (),
    Event.STRAY: (("kind", 3), ("slot", 3), ("argument", 5)),
    Event.OVERRUN: (("lost", 5),),
    Event.FAULT: (("esr", 10), ("elr", 10)),
}  # fmt: skip
"""The fields of each kind of frame, in order, with the 7-bit groups that each takes."""

TAGS = 1 << (2 * GROUP_BITS)
EPOCHS = 1 << (2 * GROUP_BITS)


@frozen
class Frame:
    """One frame: its kind, and its fields by name."""

    kind: int
    fields: dict[str, int]

    def __getitem__(self, name: str) -> int:
        return self.fields[name]


def _crc_step(crc: int, byte: int) -> int:
    for bit in range(7, -1, -1):
        top = crc >> 6 ^ byte >> bit & 1
        crc = crc << 1 & 0x7F
        if top:
            crc ^= CRC_POLY
    return crc


_CRC = tuple(tuple(_crc_step(crc, byte) for byte in range(256)) for crc in range(128))


def crc7(data: Iterable[int]) -> int:
    """CRC-7 of `data`, start value 0."""
    crc = 0
    for byte in data:
        crc = _CRC[crc][byte]
    return crc


def encode(kind: int, /, **fields: int) -> bytes:
    """The bytes of a frame. Raises ValueError for a missing, unknown or too large field."""
    layout = FIELDS[kind]
    if {name for name, _ in layout} != fields.keys():
        raise ValueError(f"a frame of kind {kind:#x} has the fields {[n for n, _ in layout]}")
    out = bytearray([HEAD_BIT | kind])
    for name, groups in layout:
        value = fields[name]
        if value < 0 or value >> (GROUP_BITS * groups):
            raise ValueError(f"{name} is {value}, which {groups * GROUP_BITS} bits do not hold")
        out += bytes(value >> (GROUP_BITS * i) & 0x7F for i in range(groups))
    out.append(crc7(out))
    return bytes(out)


class Decoder:
    """Bytes in, frames out. Never raises; what is no frame is counted in `dropped`."""

    def __init__(self, at: int = 0) -> None:
        """`at` is how many bytes have gone before."""
        self.dropped = 0  # bytes that were part of no good frame
        self.at = at  # bytes so far
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes, in order."""
        return list(self.frames(data))

    def frames(self, data: bytes) -> Iterator[Frame]:
        """The same, one by one; `at` is where each ends."""
        for byte in data:
            self.at += 1
            if byte & HEAD_BIT:
                self.dropped += len(self._buffer)
                self._buffer = bytearray([byte])
            elif self._buffer:
                self._buffer.append(byte)
            else:
                self.dropped += 1
                continue
            frame = self._complete()
            if frame is not None:
                yield frame

    def _complete(self) -> Frame | None:
        layout = FIELDS.get(self._buffer[0] & ~HEAD_BIT)
        if layout is None:
            self._drop()
            return None
        if len(self._buffer) < frame_length(layout):
            return None
        if crc7(self._buffer[:-1]) != self._buffer[-1]:
            self._drop()
            return None
        fields, at = {}, 1
        for name, groups in layout:
            chunk = self._buffer[at : at + groups]
            fields[name] = sum(group << (GROUP_BITS * i) for i, group in enumerate(chunk))
            at += groups
        frame = Frame(self._buffer[0] & ~HEAD_BIT, fields)
        self._buffer.clear()
        return frame

    def _drop(self) -> None:
        self.dropped += len(self._buffer)
        self._buffer.clear()


def frame_length(layout: Fields) -> int:
    """Bytes on the wire, head and CRC included."""
    return 2 + sum(groups for _, groups in layout)

"""What a line of somebody else's file says, once its format is known: sightings.

A sighting is no stimulus yet. It says what was seen, where it stands, and when it was as far
as the line says so; what it means for a machine is for `follow` to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen


@frozen
class Searched:
    """The guest has QEMU search for a vCPU with an event, from `start` on."""

    start: int


@frozen
class Found:
    """The search found `slot`, and these event bits of it."""

    slot: int
    insert: bool
    remove: bool


@frozen
class FlagsRead:
    """The guest has read the flags of `slot`: bit 0 enabled, 1 insert, 2 remove."""

    slot: int
    flags: int


@frozen
class InsertBitCleared:
    """The guest has cleared the insert bit of `slot`."""

    slot: int


@frozen
class RemoveBitCleared:
    """The guest has cleared the remove bit of `slot`."""

    slot: int


@frozen
class OstEvent:
    """The first half of an `_OST`: the event that it reports on."""

    slot: int
    source: int


@frozen
class OstStatus:
    """The second half of an `_OST`: how it went."""

    slot: int
    status: int


@frozen
class Ejecting:
    """QEMU carries out the guest's `_EJ0` of `slot`."""

    slot: int


@frozen
class VcpuReset:
    """QEMU resets the vCPU in `slot`: as it creates it, as the machine is reset, or at CPU_ON."""

    slot: int


@frozen
class ScanTaken:
    """The guest has taken the interrupt that has it look at the event bits.

    `arm`: it is seen at the GIC's distributor; else at x86's general purpose events.
    """

    arm: bool


@frozen
class ScanLeft:
    """The guest lets that interrupt come again; `arm` as for ScanTaken."""

    arm: bool


@frozen
class Asked:
    """A command that a monitor was given. `monitor` tells several apart."""

    name: str
    arguments: Mapping[str, Any] = field(factory=dict, hash=False)
    id: object = None
    monitor: str = ""


@frozen
class Answered:
    """A monitor's answer: `error` is its text, or None where the command succeeded."""

    error: str | None = None
    value: object = None
    id: object = None
    monitor: str = ""


@frozen
class Told:
    """An event that a monitor told of; `stamp` is QEMU's own time of it."""

    name: str
    data: Mapping[str, Any] = field(factory=dict, hash=False)
    stamp: float | None = None


@frozen
class Greeting:
    """What QEMU says of itself as a client connects."""

    version: str


@frozen
class CpuOnRefused:
    """QEMU has denied CPU_ON of `slot`, and said so."""

    slot: int


@frozen
class CpuKilled:
    """The guest's kernel says that `slot` went off. `arm`: by PSCI."""

    slot: int
    arm: bool = True


@frozen
class CpuCameUp:
    """The guest's kernel says that it uses `slot` now."""

    slot: int


@frozen
class CpuAdded:
    """The guest's kernel says that it knows `slot` now, which was plugged."""

    slot: int


@frozen
class BroughtUp:
    """The guest's kernel says how many vCPUs it has started at its boot."""

    count: int


@frozen
class GuestComplains:
    """The guest's kernel says that something is wrong; `about` is a short name for it."""

    about: str
    text: str
    slot: int | None = None


@frozen
class GuestSays:
    """A line of the guest's that says where it is: it boots, it goes down."""

    text: str


@frozen
class QemuSays:
    """A line of QEMU's own, or of who started it.

    `died`: its process is gone with this, or its machine stands still for good.
    """

    text: str
    died: bool = False


Seen = (
    Searched | Found | FlagsRead | InsertBitCleared | RemoveBitCleared | OstEvent | OstStatus
    | Ejecting | VcpuReset | ScanTaken | ScanLeft | Asked | Answered | Told | Greeting
    | CpuOnRefused | CpuKilled | CpuCameUp | CpuAdded | BroughtUp | GuestComplains
    | GuestSays | QemuSays
)  # fmt: skip


@frozen
class Place:
    """A line of a file."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@frozen
class Sighting:
    """Something seen: where, when, on which thread of QEMU's.

    `t` is in seconds, on the clock of the file: the host's, or the guest's own. It is None for
    a line that says no time. `sure` is False where the time is a neighbour's.
    """

    what: Seen
    place: Place
    t: float | None = None
    thread: int | None = None
    format: str = ""
    sure: bool = True

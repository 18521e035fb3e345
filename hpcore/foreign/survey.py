"""What a first look at all files finds: whose machine it is, what was traced, what was not.

What is not traced cannot be missed: without cpu_reset a plug is done with its answer, without
the registers a guest's reading of the event bits is assumed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

from attrs import field, mutable

from hpcore.foreign import seen as s
from hpcore.foreign.streams import File
from hpcore.model.topology import MAX_POSSIBLE

PERIPHERAL = re.compile(r"/machine/peripheral/([^/]+)")
TOPOLOGY = ("socket-id", "die-id", "cluster-id", "module-id", "core-id", "thread-id", "book-id",
            "drawer-id", "node-id")  # fmt: skip
DISTINCT = 4096
"""vCPUs that are told apart by their properties: more than any machine has."""


class Arch(StrEnum):
    """Whose hotplug it is."""

    ARM = "arm64"
    X86 = "x86"
    LOONGARCH = "loongarch64"
    UNKNOWN = "unknown"


@mutable
class Survey:
    """What a first look has found."""

    files: list[File] = field(factory=list)
    arch: Arch = Arch.UNKNOWN
    qemu: str = ""
    traced: set[type] = field(factory=set)
    """The kinds of sightings that QEMU's trace has."""
    told: bool = False
    """Whether QMP's events are seen, in the trace or a transcript."""
    asks: bool = False
    """Whether the commands are in the files; a chardev's logfile has QEMU's side alone."""
    qmp_in_trace: bool = False
    main: int | None = None
    """The main thread of QEMU: the one that resets the vCPUs before the machine goes."""
    cold: set[int] = field(factory=set)
    given: dict[int, str] = field(factory=dict)
    """vCPUs that were given on QEMU's command line, by their ids."""
    maxcpus: int | None = None
    highest: int = -1
    listed: dict[frozenset[tuple[str, int]], int] = field(factory=dict)
    """Which slot the properties of a vCPU name, by query-hotpluggable-cpus."""
    added: dict[frozenset[tuple[str, int]], None] = field(factory=dict)
    """The properties that device_add was given, each once, in the order of their coming."""
    vary: set[str] = field(factory=set)
    """The properties that are not the same in all of these."""
    added_later: set[int] = field(factory=set)
    """vCPUs that the guest's kernel says were plugged."""
    brought_up: int = 0
    """How many vCPUs the guest's kernel says that it has started at its boot."""
    starts_stopped: bool = False
    """Whether vCPUs were plugged before the machine was let go."""
    gic_traced: bool = False
    """Whether the distributor was traced: it shows where a scan begins and ends."""
    incoming: bool = False
    """Whether the machine came by migration: what is pending then is not known."""

    begun: bool = False
    """From here on, while the files are looked through, a reset is none of the machine's start."""
    plugs: int = 0
    ejecting: int | None = None
    ran: bool = False
    """The guest has run."""
    main_known: bool = False
    cpus_listed: int = 0
    migrates: bool = False

    @property
    def registers(self) -> bool:
        """Whether the hotplug registers were traced."""
        return bool(self.traced & {s.Searched, s.Found, s.FlagsRead, s.InsertBitCleared})

    @property
    def sees_qmp(self) -> bool:
        """Whether what QMP was asked, and what it told, is in the files."""
        return self.told or self.qmp_in_trace

    @property
    def booted(self) -> int:
        """How many vCPUs are taken to be there at boot."""
        cold = self.cold - set(self.given)
        later = [n for n in (*self.slots_added(), *sorted(self.added_later)) if n > 0]
        if cold:
            count = max(cold) + 1
        elif self.cpus_listed or self.brought_up:
            count = self.cpus_listed or self.brought_up
        elif later:
            count = min(later) if later[0] == min(later) else 1  # else they come from the top
        elif self.begun:
            count = 1
        else:
            count = self.highest + 1  # a console alone, which tells of no plug
        return max(1, min(count, MAX_POSSIBLE))

    @property
    def possible(self) -> int:
        """How many slots the log's machine gets: as many as are spoken of."""
        added = max(self.slots_added(), default=-1)
        highest = max(self.highest, added, max(self.given, default=-1))
        return min(MAX_POSSIBLE, max(self.booted, highest + 1))

    def slots_added(self) -> list[int]:
        """The slots that device_add has named, as far as its properties tell."""
        return [slot for each in self.added if (slot := self.slot_of(dict(each))) is not None]

    def slot_of(self, arguments: Mapping[str, object]) -> int | None:
        """The slot that a device_add names, by the list of QEMU's or by the one id that varies."""
        props = cpu_props(arguments)
        if not props:
            return None
        wanted = set(props.items())
        for listed, slot in self.listed.items():
            if wanted <= listed:
                return slot
        if self.listed:
            return None
        varies = [name for name in props if name in self.vary]
        by = varies or [name for name in props if props[name]]
        named = props[by[0]] if by else None
        return named if named is not None and named < MAX_POSSIBLE else None


def cpu_props(arguments: Mapping[str, object]) -> dict[str, int]:
    """The properties of a device_add that say where a vCPU sits."""
    out: dict[str, int] = {}
    for name, value in arguments.items():
        if isinstance(value, str) and value.isdecimal() and len(value) < 6:
            value = int(value)  # noqa: PLW2901 - clients give numbers as texts
        if name in TOPOLOGY and type(value) is int and 0 <= value < 1 << 16:
            out[name] = value
    return out


def adds_a_vcpu(arguments: Mapping[str, object]) -> bool:
    """Whether a device_add is one of a vCPU."""
    driver = arguments.get("driver")
    named = isinstance(driver, str) and driver.endswith(("-cpu", "-cpu-core"))
    return named or bool(set(cpu_props(arguments)) - {"node-id"} and not named and not driver)


def of_vcpu(what: s.Told) -> tuple[int, int, int] | None:
    """The slot, the source and the status of an `_OST` that QEMU tells of; None of another device.

    The device that QEMU names is the one that is in the slot by now: the slot alone counts.
    """
    info = what.data.get("info")
    if what.name != "ACPI_DEVICE_OST" or not isinstance(info, dict):
        return None
    number, source, status = str(info.get("slot")), info.get("source"), info.get("status")
    of_cpu = info.get("slot-type") == "CPU" and number.isdecimal() and len(number) < 6
    if not of_cpu or type(source) is not int or type(status) is not int:
        return None
    return int(number), source & 0xFFFF_FFFF, status & 0xFFFF_FFFF

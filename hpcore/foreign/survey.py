"""The first look at all files: whose machine it is, which clocks there are, what was traced.

What is not traced cannot be missed: without cpu_reset a plug is done with its answer, without
the registers a guest's reading of the event bits is assumed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum

from attrs import field, mutable

from hpcore.foreign import console, qmp, trace
from hpcore.foreign import seen as s
from hpcore.foreign.streams import WALL, Clock, File, Progress, read
from hpcore.model.topology import MAX_POSSIBLE

_PERIPHERAL = re.compile(r"/machine/peripheral/([^/]+)")
TOPOLOGY = ("socket-id", "die-id", "cluster-id", "module-id", "core-id", "thread-id", "book-id",
            "drawer-id", "node-id")  # fmt: skip
ANCHORS = 1000
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

    _begun: bool = False
    _plugs: int = 0
    _ejecting: int | None = None
    _ran: bool = False
    _main_known: bool = False
    _cpus_listed: int = 0
    _migrates: bool = False

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
        elif self._cpus_listed or self.brought_up:
            count = self._cpus_listed or self.brought_up
        elif later:
            count = min(later) if later[0] == min(later) else 1  # else they come from the top
        elif self._begun:
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


def survey(paths: Iterable[str], progress: Progress) -> Survey:
    """Look through the files at `paths`. Raises SourceError for one that cannot be read."""
    out = Survey()
    anchors: list[list[tuple[str, int, float]]] = []
    for path in paths:
        file = File(path)
        out.files.append(file)
        anchors.append(_look_through(out, file, progress))
    _align(out.files, anchors)
    return out


def _look_through(out: Survey, file: File, progress: Progress) -> list[tuple[str, int, float]]:
    stamps: list[float] = []
    anchors: list[tuple[str, int, float]] = []
    firsts: dict[Clock, float] = {}
    for sighting in read(file.path, file, progress):
        what, t = sighting.what, sighting.t
        in_trace = sighting.format == trace.FORMAT
        if t is not None:
            firsts.setdefault(_clock(sighting), t)
        if isinstance(what, s.Told) and what.stamp is not None:
            firsts.setdefault(Clock.STAMPS, what.stamp)
            if t is not None and len(stamps) < ANCHORS:
                stamps.append(t - what.stamp)
        anchor = _anchor(sighting, in_trace)
        if anchor is not None and len(anchors) < ANCHORS:
            anchors.append(anchor)
        if in_trace:
            out.traced.add(type(what))
            if sighting.thread is not None and (out.main is None or not out._main_known):
                out.main = sighting.thread
                out._main_known = isinstance(what, s.VcpuReset)
        _learn(out, what, in_trace)
    file.clock = next((clock for clock in Clock if clock in firsts), Clock.NONE)
    file.first = firsts.get(file.clock, 0.0)
    if file.clock is Clock.HOST and file.formats[trace.FORMAT] == 0 and stamps:
        file.doubt = max(stamps) - min(stamps)  # a client's own time, of what it was told
        file.offset = -min(stamps)
    elif file.clock is Clock.MONOTONIC and stamps:
        file.offset = -min(stamps)
    return anchors


def _clock(sighting: s.Sighting) -> Clock:
    assert sighting.t is not None
    if sighting.t > WALL:
        return Clock.HOST
    return Clock.PRINTK if sighting.format == console.FORMAT else Clock.MONOTONIC


def _anchor(sighting: s.Sighting, in_trace: bool) -> tuple[str, int, float] | None:
    """What can be seen on two clocks: a vCPU that goes, and one that comes."""
    what, t = sighting.what, sighting.t
    if t is None:
        return None
    if isinstance(what, s.CpuKilled) or (in_trace and isinstance(what, s.Ejecting)):
        return "gone", what.slot, t
    return None


def _align(files: list[File], anchors: list[list[tuple[str, int, float]]]) -> None:
    """Put the guest's clocks on the host's, by what was seen on both."""
    host = [(file, a) for file, a in zip(files, anchors, strict=True) if file.clock is Clock.HOST]
    for file, own in zip(files, anchors, strict=True):
        if file.clock is not Clock.PRINTK or len(files) == 1:
            continue
        pairs: list[float] = []
        for _, theirs in host:
            for key in {a[:2] for a in own}:
                mine = [a[2] for a in own if a[:2] == key]
                seen = [a[2] for a in theirs if a[:2] == key]
                pairs += [there - here for here, there in zip(mine, seen, strict=False)]
        if pairs:
            file.offset = min(pairs)
            file.doubt = max(pairs) - min(pairs) + 0.02  # psci: it polls for 20 ms
        elif host:
            file.said.append(
                f"{file.path}: it has the guest's own clock alone, and nothing that another file "
                "has as well; its lines come before the others'"
            )


def _learn(out: Survey, what: s.Seen, in_trace: bool) -> None:
    slot = getattr(what, "slot", None)
    if isinstance(slot, int) and slot < MAX_POSSIBLE and _speaks(what):
        out.highest = max(out.highest, slot)
    if isinstance(what, s.Found | s.InsertBitCleared | s.RemoveBitCleared | s.Ejecting):
        out._begun = out._ran = True
    match what:
        case s.VcpuReset() if not out._begun and in_trace and what.slot < MAX_POSSIBLE:
            out.cold.add(what.slot)
        case s.Asked():
            out.qmp_in_trace |= in_trace
            _command(out, what)
        case s.Answered(value=list() as value):
            _list(out, value)
        case s.Answered(value=dict() as value):
            out.qemu = out.qemu or qmp.version(value)
            out.incoming |= value.get("status") == "completed" and not out._migrates
        case s.Greeting(version=version):
            out.qemu = out.qemu or version
        case s.Told():
            out.told = True
            _event(out, what)
        case s.Ejecting():
            out._ejecting = what.slot
        case s.Found() if what.insert and not out.qmp_in_trace:
            out.cold.discard(what.slot)  # its reset was that of a plug
        case s.ScanTaken(arm=arm) | s.ScanLeft(arm=arm):
            out.gic_traced |= arm
    _learn_of_guest(out, what)


def _learn_of_guest(out: Survey, what: s.Seen) -> None:
    if isinstance(what, s.CpuAdded) and what.slot < MAX_POSSIBLE:
        out.added_later.add(what.slot)
    elif isinstance(what, s.BroughtUp):
        out.brought_up = out.brought_up or what.count
    arm = getattr(what, "arm", None)
    if arm is not None and out.arch is Arch.UNKNOWN:
        out.arch = Arch.ARM if arm else Arch.X86


def _speaks(what: s.Seen) -> bool:
    """Whether the slot that is named is one that the log should have."""
    return not isinstance(what, s.FlagsRead) or bool(what.flags & 0x7)


def _command(out: Survey, what: s.Asked) -> None:
    driver = what.arguments.get("driver")
    if what.name == "device_add" and adds_a_vcpu(what.arguments):
        out._begun = True
        out._plugs += 1
        props = cpu_props(what.arguments)
        first = dict(next(iter(out.added), frozenset(props.items())))
        out.vary |= {name for name, value in props.items() if first.get(name) != value}
        if len(out.added) < DISTINCT:
            out.added.setdefault(frozenset(props.items()))
        if isinstance(driver, str):
            _arch(out, driver)
    elif what.name in ("device_del", "system_reset", "cont"):
        out._begun = True
    elif what.name == "migrate-incoming":
        out.incoming = True
    elif what.name == "migrate":
        out._migrates = True


def _event(out: Survey, what: s.Told) -> None:
    out.incoming |= what.name == "MIGRATION" and not out._migrates
    if what.name == "RESUME" and not out._ran:
        out.starts_stopped = out._plugs > 0
    if what.name in ("RESUME", "STOP", "RESET"):
        out._begun = out._ran = True
    if what.name == "DEVICE_DELETED" and out._ejecting is not None:
        found = _PERIPHERAL.match(str(what.data.get("path", "")))
        slot, out._ejecting = out._ejecting, None
        if found is not None and slot in out.cold and not out._plugs:
            out.given.setdefault(slot, found[1])


def _list(out: Survey, value: list[object]) -> None:
    rows = [row for row in value if isinstance(row, dict) and isinstance(row.get("props"), dict)]
    cpus = [row for row in rows if "vcpus-count" in row]
    if not cpus:
        return
    out.maxcpus = len(cpus)
    for slot, row in enumerate(reversed(cpus)):
        out.listed[frozenset(cpu_props(row["props"]).items())] = slot
        path = str(row.get("qom-path", ""))
        if isinstance(row.get("type"), str):
            _arch(out, row["type"])
        if not out._plugs and path.startswith("/machine/unattached"):
            out._cpus_listed = max(out._cpus_listed, slot + 1)
        if not out._plugs and (found := _PERIPHERAL.match(path)) is not None:
            out.given.setdefault(slot, found[1])


def _arch(out: Survey, driver: str) -> None:
    for ending, arch in (
        ("-arm-cpu", Arch.ARM), ("-x86_64-cpu", Arch.X86), ("-i386-cpu", Arch.X86),
        ("-loongarch-cpu", Arch.LOONGARCH),
    ):  # fmt: skip
        if driver.endswith(ending):
            out.arch = arch

"""The first look at all files: what each sighting says of the machine, and the files' clocks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hpcore.foreign import console, qmp, trace
from hpcore.foreign import seen as s
from hpcore.foreign.streams import WALL, Clock, File, Progress, read
from hpcore.foreign.survey import (
    DISTINCT,
    PERIPHERAL,
    Arch,
    Survey,
    adds_a_vcpu,
    cpu_props,
    of_vcpu,
)
from hpcore.model.acpi import OstSource
from hpcore.model.topology import MAX_POSSIBLE

ANCHORS = 1000
"""Times of one file that are kept, to be held against another's."""


def look_through(
    paths: Iterable[str], progress: Progress, places: Mapping[str, str] | None = None
) -> Survey:
    """Look through the files at `paths`. Raises SourceError for one that cannot be read.

    `places` says where a file can be opened, if that is elsewhere.
    """
    out = Survey()
    anchors: list[list[tuple[str, int, float]]] = []
    for path in paths:
        file = File(path, None if places is None else places.get(path))
        out.files.append(file)
        anchors.append(_look_at(out, file, progress))
    _align(out.files, anchors)
    return out


def _look_at(out: Survey, file: File, progress: Progress) -> list[tuple[str, int, float]]:
    stamps: list[float] = []
    anchors: list[tuple[str, int, float]] = []
    firsts: dict[Clock, float] = {}
    for sighting in read(file, progress):
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
            if sighting.thread is not None and (out.main is None or not out.main_known):
                out.main = sighting.thread
                out.main_known = isinstance(what, s.VcpuReset)
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
        out.begun = out.ran = True
    match what:
        case s.VcpuReset() if not out.begun and in_trace and what.slot < MAX_POSSIBLE:
            out.cold.add(what.slot)
        case s.Asked():
            out.asks = True
            out.qmp_in_trace |= in_trace
            _command(out, what)
        case s.Answered(value=list() as value):
            _list(out, value)
        case s.Answered(value=dict() as value):
            out.qemu = out.qemu or qmp.version(value)
            out.incoming |= value.get("status") == "completed" and not out.migrates
        case s.Greeting(version=version):
            out.qemu = out.qemu or version
        case s.Told():
            out.told = True
            _event(out, what)
        case s.Ejecting():
            out.ejecting = what.slot
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
        out.begun = True
        out.plugs += 1
        props = cpu_props(what.arguments)
        first = dict(next(iter(out.added), frozenset(props.items())))
        out.vary |= {name for name, value in props.items() if first.get(name) != value}
        if len(out.added) < DISTINCT:
            out.added.setdefault(frozenset(props.items()))
        if isinstance(driver, str):
            _arch(out, driver)
    elif what.name in ("device_del", "system_reset", "cont"):
        out.begun = True
    elif what.name == "migrate-incoming":
        out.incoming = True
    elif what.name == "migrate":
        out.migrates = True


def _event(out: Survey, what: s.Told) -> None:
    out.incoming |= what.name == "MIGRATION" and not out.migrates
    told = of_vcpu(what)
    if told is not None and told[0] < MAX_POSSIBLE:
        out.highest = max(out.highest, told[0])
        if told[1] == OstSource.DEVICE_CHECK:
            out.added_later.add(told[0])
    if what.name == "RESUME" and not out.ran:
        out.starts_stopped = out.plugs > 0
    if what.name in ("RESUME", "STOP", "RESET"):
        out.begun = out.ran = True
    if what.name == "DEVICE_DELETED" and out.ejecting is not None:
        found = PERIPHERAL.match(str(what.data.get("path", "")))
        slot, out.ejecting = out.ejecting, None
        if found is not None and slot in out.cold and not out.plugs:
            out.given.setdefault(slot, found[1])


def _list(out: Survey, value: list[object]) -> None:
    rows = [row for row in value if isinstance(row, dict) and isinstance(row.get("props"), dict)]
    cpus = [row for row in rows if "vcpus-count" in row]
    if not cpus:
        return
    out.maxcpus = len(cpus)
    out.listed.clear()
    for slot, row in enumerate(reversed(cpus)):
        out.listed[frozenset(cpu_props(row["props"]).items())] = slot
        path = str(row.get("qom-path", ""))
        if isinstance(row.get("type"), str):
            _arch(out, row["type"])
        if not out.plugs and path.startswith("/machine/unattached"):
            out.cpus_listed = max(out.cpus_listed, slot + 1)
        if not out.plugs and (found := PERIPHERAL.match(path)) is not None:
            out.given.setdefault(slot, found[1])


def _arch(out: Survey, driver: str) -> None:
    for ending, arch in (
        ("-arm-cpu", Arch.ARM), ("-x86_64-cpu", Arch.X86), ("-i386-cpu", Arch.X86),
        ("-loongarch-cpu", Arch.LOONGARCH),
    ):  # fmt: skip
        if driver.endswith(ending):
            out.arch = arch

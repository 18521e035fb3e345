"""Files of somebody else's become a log of hpcore's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from os import PathLike

from attrs import frozen

from hpcore.foreign import qmp
from hpcore.foreign.follow import Follower
from hpcore.foreign.look import look_through
from hpcore.foreign.machine import MOST_OF_A_KIND, Machine
from hpcore.foreign.marks import Kind, Mark
from hpcore.foreign.source import SourceError
from hpcore.foreign.streams import Clock, File, Progress, in_order
from hpcore.foreign.survey import Survey
from hpcore.foreign.ways import IMPORTED, STOCK, followed
from hpcore.log import Header, LogWriter, Sync
from hpcore.model.config import MachineConfig
from hpcore.model.revision import HPCORE, Revision

ASSUMED = {
    "realize": "a plug's steps up to ENABLE are taken for done as QEMU resets the vCPU",
    "notify_insert": "taken for done with device_add's answer",
    "notify_remove": "taken for done with device_del's answer",
    "unwire": "the steps of an eject are not traced one by one: their order is hpcore's",
    "cpu_off": "in no trace: taken for done before the eject, or the CPU_ON, that follows it",
}
"""What of the log was not seen, in the header's `modelled`."""

NOTHING = 0.001
"""Seconds of doubt about an order that are not worth a word."""


@frozen
class Imported:
    """What came of an import."""

    log: str
    survey: Survey
    events: int
    used: int
    marks: dict[tuple[Kind, str], int]
    flags_read: int
    flags_differ: int
    assumed: dict[str, int]

    @property
    def wrong(self) -> int:
        """How many findings there are."""
        return sum(
            count for (kind, name), count in self.marks.items() if Mark(kind, name, "").wrong
        )

    @property
    def files(self) -> list[File]:
        """What became of each file."""
        return self.survey.files


class NothingToImport(SourceError):
    """The files could be read, and no line of them says anything about vCPUs."""


def import_files(
    paths: Sequence[str],
    log: str | PathLike[str],
    judge: Revision = HPCORE,
    *,
    overwrite: bool = False,
    progress: Progress = lambda _text: None,
    places: Mapping[str, str] | None = None,
) -> Imported:
    """Read the files at `paths` as those of one machine, and write a log of what happened in it.

    Each is read twice. `places` says where a file can be opened, if that is not at its path: what
    came through a pipe. `judge` is the protocol that it is judged by. Raises SourceError for a file
    that cannot be read, NothingToImport, and LogError where the log cannot be written.
    """
    looked = look_through(paths, progress, places)
    if not any(file.formats for file in looked.files):
        raise NothingToImport(_nothing(looked))
    config = _config(looked)
    versions = {"qemu": looked.qemu} if looked.qemu else {}
    header = Header(
        config, IMPORTED, versions, created=_now(), modelled=ASSUMED,
        rules=followed(judge) if judge != HPCORE else STOCK,
    )  # fmt: skip
    with LogWriter.create(log, header, sync=Sync.BUFFERED, overwrite=overwrite) as writer:
        machine = Machine(config, judge, writer)
        follower = Follower(looked, machine)
        used, start = 0, None
        for t, sighting in in_order(looked.files, progress):
            if looked.qmp_in_trace and sighting.format == qmp.FORMAT:
                continue  # the trace has it as well, on QEMU's own clock
            if start is None:
                start = t
                machine.note("imported from " + ", ".join(_of(file) for file in looked.files))
                follower.begin()
            used += 1
            follower.take(max(0.0, t - start), sighting)
        if start is None:
            raise NothingToImport(_nothing(looked))
        follower.finish()
        _say_counts(machine, follower)
    return Imported(
        str(log), looked, machine.events, used, machine.marks, follower.registers.flags_read,
        follower.registers.flags_differ, dict(follower.acts.assumed),
    )  # fmt: skip


def _say_counts(machine: Machine, follower: Follower) -> None:
    survey = follower.survey
    read, differ = follower.registers.flags_read, follower.registers.flags_differ
    created = survey.booted + len(survey.given) + follower.acts.creations
    counts = [
        ("flags", f"{read} flags read by the guest, {differ} differ"),
        ("machine", f"arch={survey.arch} maxcpus={survey.maxcpus or 0} created={created}"),
    ]
    assumed = follower.acts.assumed.most_common()
    counts += [("assumed", f"{what}: {n} times") for what, n in assumed]
    for file in survey.files:
        if file.doubt > NOTHING:
            text = f"{file.path}: its lines may be {file.doubt:.3f} s off against the others'"
            counts.append(("order", text))
        counts += [("file", said) for said in file.said]
    for (kind, name), count in machine.marks.items():
        if count > MOST_OF_A_KIND and kind is not Kind.ASKED:
            counts.append(("more", f"{kind} {name}: {count} in all, {MOST_OF_A_KIND} written"))
    for name, text in counts:
        machine.mark(Mark(Kind.SUMMARY, name, text))


def _config(looked: Survey) -> MachineConfig:
    """The machine, flat: a slot is named by its number, as a core of one socket."""
    booted, possible = looked.booted, looked.possible
    return MachineConfig.of(cpus=min(booted, possible), maxcpus=possible)


def _of(file: File) -> str:
    kind = file.format or "nothing that is known"
    clock = "" if file.clock is Clock.NONE else f", by {file.clock}"
    return f"{file.path} ({kind}, {file.lines} lines{clock})"


def _nothing(looked: Survey) -> str:
    names = ", ".join(file.path for file in looked.files)
    said = "".join(f". {said}" for file in looked.files for said in file.said)
    return (
        f"{names}: no line says anything about vCPUs{said}. What is read: QEMU's trace (-trace "
        "'cpuhp_acpi*' -trace '*qmp*' -trace cpu_reset -D FILE), QMP transcripts, guests' consoles "
        "and dmesg"
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


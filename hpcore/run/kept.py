"""Machines that outlive hpcore: what their log says of them, and whose log that is.

In the directory where a machine lives stands which file is its log. So a copy of the log, with
which a second hpcore could take the machine, is told from the log itself.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from os import PathLike
from pathlib import Path
from socket import gethostname

from attrs import asdict, frozen

from hpcore.errors import HpcoreError
from hpcore.log import Header, LogLocked, LogWriter, Rotation, read
from hpcore.log.fold import decisions, fold
from hpcore.model import stimuli
from hpcore.model.decide import decide
from hpcore.model.effects import MachineStep
from hpcore.model.machines import Phase
from hpcore.model.states import State
from hpcore.run.accelerator import Kept

RECORD = "machine.json"
NEWEST = sys.maxsize
"""An event of no log: whoever reads from there reads the last segment alone."""


def home(place: Path) -> str:
    """The words for a log's header that say where a machine lives: the host, and the directory."""
    return f"{gethostname()}:{place}"


def place_of(header: Header) -> Path | None:
    """The directory where the machine of a log lives, on whatever host; None for one not kept."""
    return None if header.kept is None else Path(header.kept.partition(":")[2])


class NotKept(HpcoreError):
    """A log's machine can't be taken up again: it ended, was never kept, or another has it."""


@frozen
class Record:
    """What stands in a machine's directory: which file its log is, and what was said of it."""

    log: str
    device: int
    inode: int
    accelerator: str
    shell: bool
    """Whether its guest has a shell."""
    segment: int | None = None
    """The size of a segment of the log, and how many are kept: see Rotation."""
    segments: int | None = None
    door: bool = False
    """Whether it is a VM's, whose commands come by its door's monitors."""

    @property
    def rotation(self) -> Rotation | None:
        """How the log is rotated, if it is."""
        return None if self.segment is None else Rotation(self.segment, self.segments)

    def names(self, log: Path) -> bool:
        """Whether `log` is that file, wherever it was moved to; by its name where it is gone.

        The first segment of a log may be removed.
        """
        try:
            found = log.stat()
        except FileNotFoundError:
            return str(log.resolve()) == self.log
        return (found.st_dev, found.st_ino) == (self.device, self.inode)


def record(
    place: Path,
    log: Path,
    accelerator: str,
    *,
    shell: bool,
    rotation: Rotation | None = None,
    door: bool = False,
) -> None:
    """Write down in `place` that the machine there has the log `log`."""
    try:
        found = log.stat()
        file = (found.st_dev, found.st_ino)
    except FileNotFoundError:  # it begins with a later segment
        file = (0, 0)
    size, keep = (None, None) if rotation is None else (rotation.size, rotation.keep)
    made = Record(str(log.resolve()), *file, accelerator, shell, size, keep, door)
    (place / RECORD).write_text(json.dumps(asdict(made)) + "\n", encoding="utf-8")


def recorded(place: Path) -> Record | None:
    """What stands in `place`; None where nothing does."""
    with suppress(OSError, ValueError, TypeError):
        return Record(**json.loads((place / RECORD).read_text(encoding="utf-8")))
    return None


def has_door(log: str | PathLike[str]) -> bool:
    """Whether the machine of the log at `log` is there, and is a VM's with a door.

    Raises LogError for what is no log.
    """
    header, records = read(log)
    records.close()
    place = place_of(header)
    found = None if place is None else recorded(place)
    return found is not None and found.door


@frozen
class KeptLog:
    """The log of a kept machine, open for append and locked, and what it says."""

    writer: LogWriter
    kept: Kept
    shell: bool
    door: bool


def open_kept(path: str | PathLike[str]) -> KeptLog:
    """Lock and fold the log at `path`, whose machine is to be taken up again.

    Raises NotKept with the reason, and LogError for what is no whole log.
    """
    log = Path(path)
    header, records = read(log, since=NEWEST, as_written=True)
    records.close()
    place = place_of(header)
    if header.kept is None or place is None:
        raise NotKept(
            f"{log}: its machine was not to outlive hpcore, and is gone; `hpcore run --keep` and "
            "`hpcore shell --keep` have one that does, and so has a door whose settings say keep"
        )
    host = header.kept.partition(":")[0]
    if host != gethostname():
        raise NotKept(f"{log}: its machine lives on the host {host}, and this is {gethostname()}")
    found = recorded(place)
    try:
        writer = LogWriter.resume(log, rotation=None if found is None else found.rotation)
    except LogLocked:
        leave = "`quit` or Ctrl-C"
        if found is not None and found.door:
            leave = "Ctrl-C, or by ending the process of its door"
        raise NotKept(
            f"{log}: another hpcore has this machine; leave it there first, by {leave}"
        ) from None
    try:
        if found is not None and not found.names(log):
            raise NotKept(
                f"{log} is a copy: the log of the machine in {place} is {found.log}; attach to that"
            )
        kept = _folded(log, place, writer.header.first)
        if kept.state.shared.ended:
            raise NotKept(f"{log}: its machine has ended; see `hpcore replay {log}`")
        if kept.state.shared.phase is Phase.DEFINED and kept.state.shared.step is None:
            raise NotKept(f"{log}: hpcore ended before it had started the machine; start another")
    except BaseException:
        writer.close()
        raise
    return KeptLog(
        writer, kept, shell=found is None or found.shell, door=found is not None and found.door
    )


def say_gone(log: KeptLog, why: str) -> State:
    """End the log of a machine that is gone, as the protocol ends it; the state after that."""
    state = log.kept.state
    ending = state.shared.step is MachineStep.POWER_DOWN
    end = stimuli.MachineDone(MachineStep.POWER_DOWN) if ending else stimuli.Lost(why)
    decision = decide(state, end)
    log.writer.append(decision.events, log.writer.last_t, end, log.kept.heard)
    return decision.state


def _folded(log: Path, place: Path, since: int) -> Kept:
    """What the log's last segment, which begins with event `since`, leads to from its head on."""
    header, records = read(log, since=since, as_written=True)
    state, heard = header.state, 0 if header.segment is None else header.segment.heard or 0
    with records:
        for decision in decisions(records):
            heard = max(heard, decision.records[0].heard or 0)
            for logged, folded in fold(state, decision):
                if folded.violation is not None:
                    raise NotKept(
                        f"{log}: event {logged.seq} breaks {folded.violation.invariant}; see "
                        f"`hpcore replay {log}`"
                    )
                state = folded.after
    return Kept(place, state, heard)

"""VMs that outlive their door, where the settings say `keep`: see docs/door.md.

QEMU is the process that the caller has started, and no child of the door's. So what the caller has
given it, its descriptors, its terminal, its pseudo-terminals, stays QEMU's own. What ends with a
door is its monitors: another door opens those again that can be had again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

from attrs import asdict, frozen

from hpcore.door.asked import Asked
from hpcore.door.front import BeforeStart, Fronted, GuestFiles, Prepared
from hpcore.door.monitors import MonitorAsked
from hpcore.door.moving.taking import Inherited
from hpcore.door.options import ArgumentRefused
from hpcore.door.qmp import Answers, RealMonitor, VcpuCommands
from hpcore.door.qmp.vcpu_events import Tell
from hpcore.errors import HpcoreError
from hpcore.model.config import MachineConfig
from hpcore.qemu.kept import KeptQemu
from hpcore.qemu.running import RunningQemu
from hpcore.run.accelerator import GuestImages, Kept, KeptSession, Report
from hpcore.run.discovery import Found
from hpcore.run.kept import NotKept
from hpcore.run.machine import LiveMachine

OPENING = "door.json"

STAYS = (
    "a VM that outlives its door (keep, in the door's settings) is neither migrated nor saved yet: "
    "start it by settings without keep"
)
"""What is said of everything that would send or keep the machine's state."""

_LEAVE_OUT = "or start the VM by settings without keep"


@runtime_checkable
class KeptPrepared(Prepared, Protocol):
    """What an accelerator has ready for a VM that is to outlive its door."""

    @property
    def keeps(self) -> bool:
        """Always."""

    def attach(
        self,
        qemu: RunningQemu,
        qmp: Path,
        report: Report,
        before_start: BeforeStart | None = None,
    ) -> KeptSession:
        """See Prepared. `qemu` is a KeptQemu, with a directory of `runtime_directory`."""


@runtime_checkable
class KeepingFronted(Fronted, Protocol):
    """An accelerator whose machines under somebody else's VM may outlive their door."""

    async def prepare_kept(
        self, config: MachineConfig, files: GuestFiles, directory: Path, caller: int
    ) -> KeptPrepared:
        """See `Fronted.prepare`."""

    async def attach_kept(
        self,
        kept: Kept,
        qemu: KeptQemu,
        qmp: Path,
        report: Report,
        before_start: BeforeStart | None = None,
    ) -> KeptSession:
        """The session of a machine of `prepare_kept`, in this QEMU; else as `Keeper.attach`.

        `qmp` is the monitor that the session before had.
        """


def keeping(found: Found, asked: Asked) -> KeepingFronted:
    """The accelerator, which can have the VM outlive its door. Raises HpcoreError for another."""
    if not isinstance(found.accelerator, KeepingFronted):
        raise HpcoreError(
            f"a VM of the accelerator '{found.name}' does not outlive its door yet: use "
            "-accel tcg, or settings without keep"
        )
    refuse_what_is_lost(asked)
    return found.accelerator


def refuse_what_is_lost(asked: Asked) -> None:
    """Raise ArgumentRefused for what a second door could not have again."""
    if asked.incoming is not None:
        raise ArgumentRefused(f"-incoming {asked.incoming}", STAYS)
    for monitor in asked.monitors:
        _refuse_lost(monitor)


def _refuse_lost(monitor: MonitorAsked) -> None:
    if "fd" in monitor.device:
        raise ArgumentRefused(
            monitor.said,
            "its descriptor is the caller's and ends with the door: no other door could serve it. "
            f"With keep give it a path or a port, {_LEAVE_OUT}, as for libvirt, which gives "
            "descriptors, and ends a QEMU whose monitor closes",
        )
    if not monitor.serves and monitor.reconnect is None:
        raise ArgumentRefused(
            monitor.said,
            "a client that is connected to once is not connected to by another door; with keep "
            f"give it reconnect=SECONDS, {_LEAVE_OUT}",
        )
    if int(monitor.device.get("port", "1")) == 0:
        raise ArgumentRefused(
            monitor.said,
            "another door would be given another port by the host; with keep name one, "
            f"{_LEAVE_OUT}",
        )


class Stays:
    """In place of `Moves`, of a VM that neither comes nor goes; its clients are told `why`."""

    def __init__(self, machine: LiveMachine, why: str) -> None:
        self.machine, self._why = machine, why

    def commands(
        self, real: RealMonitor, _tell: Tell, _qemu: RunningQemu, _inherited: Inherited | None
    ) -> VcpuCommands:
        """See Moves."""
        return VcpuCommands(self.machine, real, cannot_migrate=self._why)

    def answers(self, commands: VcpuCommands) -> Answers:
        """See Moves."""
        return commands.answers()

    async def begin(self) -> None:
        """See Moves: nothing comes."""

    async def close(self) -> None:
        """See Moves: nothing is on its way."""


@frozen
class Opening:
    """What a door was opened with, as it stands in QEMU's directory, for one that is opened again.

    `words` are the caller's command line, read in the directory `working`, to which its relative
    paths belong. `images` are what QEMU was started with, where that is from the guest's disk.
    """

    words: tuple[str, ...]
    working: Path
    diagnostics: Path
    images: GuestImages | None

    def write(self, place: Path) -> None:
        """Write it down in `place`. Raises OSError."""
        made = json.dumps(asdict(self), default=str) + "\n"
        (place / OPENING).write_text(made, encoding="utf-8")

    @classmethod
    def read(cls, place: Path) -> Opening:
        """What stands in `place`. Raises NotKept."""
        try:
            found = json.loads((place / OPENING).read_text(encoding="utf-8"))
            return cls(
                tuple(found["words"]), Path(found["working"]), Path(found["diagnostics"]),
                _images(found["images"]),
            )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise NotKept(
                f"{place / OPENING} does not say how the VM's door was opened: {error}"
            ) from error


def _images(found: Mapping[str, object] | None) -> GuestImages | None:
    if found is None:
        return None
    kernel, initrd = Path(str(found["kernel"])), Path(str(found["initrd"]))
    return GuestImages(kernel, initrd, str(found["append"]), shell=False)

"""What an accelerator is to the door: what it adds to QEMU's command line, and its session.

An accelerator of `hpcore.run.accelerator` that can be put under a VM which somebody else
starts has these methods beside its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol, runtime_checkable

from attrs import field, frozen

from hpcore.door.options import Option
from hpcore.guest.boot import BootFiles
from hpcore.model.config import MachineConfig
from hpcore.model.states import State
from hpcore.platform.firmware import Board
from hpcore.platform.table_loader import LoaderFiles
from hpcore.qemu.machine import QemuMachine
from hpcore.qemu.running import RunningQemu
from hpcore.run.accelerator import Report, Session

BeforeStart = Callable[[], Awaitable[None]]
"""Waited for each time before the guest starts anew, once the reset has put into its memory what
QEMU was started with, and while nothing of the guest runs. Raises nothing."""


GuestFiles = BootFiles | LoaderFiles
"""What hpcore gives the guest: what lies in its memory from the start, with a kernel to enter, or
tables for the firmware that runs."""


@frozen
class Part:
    """What an accelerator adds to the command line of the real QEMU.

    `machine` are values of -machine. `options` are whole; a -serial among them is the
    machine's second one. `environment` is added to the caller's.
    """

    machine: Mapping[str, str]
    options: tuple[Option, ...]
    environment: Mapping[str, str] = field(factory=dict)


class Prepared(Protocol):
    """What an accelerator has ready for one VM before its QEMU is there."""

    @property
    def part(self) -> Part:
        """Its part of the command line."""

    def attach(
        self,
        qemu: RunningQemu,
        qmp: Path,
        report: Report,
        before_start: BeforeStart | None = None,
    ) -> Session:
        """A session on `qemu`, which was started with the part.

        `qmp` is a monitor of its own. CREATE_VCPUS connects to it; until then, nothing runs.
        `before_start` belongs to RESTART.
        """

    def close(self) -> None:
        """Give up what no session has taken. Idempotent."""


@runtime_checkable
class Fronted(Protocol):
    """An accelerator that can be put under somebody else's VM."""

    @property
    def board(self) -> Board:
        """The board whose tables the guest is given."""

    async def prepare(
        self, config: MachineConfig, files: GuestFiles, directory: Path, caller: int
    ) -> Prepared:
        """Make ready for a QEMU whose own directory is `directory`, and write `files` there.

        The process `caller` will become that QEMU. Raises AcceleratorError where the machine
        cannot run here.
        """


@runtime_checkable
class MovingPrepared(Prepared, Protocol):
    """What an accelerator has ready whose sessions are `MovingSession`s."""

    @property
    def moves(self) -> bool:
        """Always."""


@runtime_checkable
class MovingSession(Session, Protocol):
    """A session whose machine can go to another QEMU that somebody else has started."""

    def held(self) -> AbstractAsyncContextManager[QemuMachine]:
        """Within, nothing new is asked of the machine, and nothing that was asked is under way.

        Raises EffectError where something stays under way.
        """

    async def facts(self) -> dict[str, str]:
        """What the other QEMU has to have alike: versions, and digests of what a reset loads.

        All that the machine has said by now is reported. Raises EffectError where the machine
        can't move.
        """

    async def carries_running(self) -> bool:
        """Whether its QEMU can carry the machine to another one while it runs."""

    async def heard(self) -> None:
        """The machine stands still: return once all that it has said is reported.

        Raises QemuError where it is not to be carried any more.
        """

    def own(self) -> dict[str, bytes]:
        """The machine stands still: what hpcore has of it beside its log, in sections.

        As `hpcore.run.saved_parts.section` makes them.
        """

    async def meet(self, facts: Mapping[str, str]) -> QemuMachine:
        """The QEMU that waits for a machine with these facts, connected to.

        Raises AcceleratorError where that machine does not fit here.
        """

    def expect(self, state: State, own: Mapping[str, bytes]) -> None:
        """That machine stands still where it was, as its log has it in `state`.

        `own` are its sections. Nothing but its memory is in the QEMU here yet; who has sent no
        sections may call this later. Raises AcceleratorError where they are not of such a machine.
        """

    def arrived(self, state: State) -> None:
        """The machine is in that QEMU now, standing still, as its log has it in `state`."""

"""A machine under somebody else's VM, which may go to another QEMU, or come from there."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from hpcore.door.front import BeforeStart
from hpcore.guest.boot import BootFiles
from hpcore.model.config import MachineConfig
from hpcore.model.states import State
from hpcore.platform.devicetree import KASLR_SEED_SIZE, RNG_SEED_SIZE, with_seeds
from hpcore.qemu.errors import QemuError
from hpcore.qemu.migration import machine_type_of, version_of
from hpcore.run.accelerator import AcceleratorError, Belongings, EffectError, Report
from hpcore.run.saved_parts import BLOB, INITRD, KERNEL, TREE, digest, refuse_unlike
from hpcore.session.carrying import MACHINE_TYPE, QEMU
from hpcore.session.elsewhere import LoadedFiles
from hpcore.session.turn import CallerTurn
from hpcore_tcg.belongings import EPOCH, MONITOR, epoch_of
from hpcore_tcg.build import Monitor
from hpcore_tcg.elsewhere import live_on
from hpcore_tcg.machine import DEAF, TcgMachine
from hpcore_tcg.session import StartMachine, TcgSession

_REMEDY = {
    QEMU: "have both sides use the same QEMU",
    MACHINE_TYPE: "start both with the same -machine",
    MONITOR: "have both sides use the same hpcore-tcg",
    BLOB: "start both with the same command line, and the same hpcore",
    TREE: "start both with the same -append, -initrd and hpcore",
    KERNEL: "start both with the same -kernel",
    INITRD: "start both with the same -initrd",
}


class Loads:
    """What a reset has QEMU load again: of two QEMUs between which a machine moves, the same."""

    def __init__(self, boot: BootFiles, monitor: Monitor, *, from_disk: bool) -> None:
        """`from_disk`: the kernel, the initrd and the command line are read from the guest's
        disk anew at each reset, so that those of the start count for nothing."""
        self._boot, self._monitor, self._from_disk = boot, monitor, from_disk
        paths = [] if from_disk else [boot.kernel, boot.initrd]
        self._files = LoadedFiles.of([monitor.path, *paths])

    def digests(self) -> dict[str, str]:
        """By what they are of. Raises QemuError where a file has changed since it was loaded."""
        self._files.require_unchanged()
        found = {MONITOR: self._monitor.digest, BLOB: _sha256(self._boot.blob)}
        if not self._from_disk:
            found[TREE] = _sha256(_seedless(self._boot.tree))
            for name, path in ((KERNEL, self._boot.kernel), (INITRD, self._boot.initrd)):
                try:
                    found[name] = digest(path)
                except OSError as error:
                    raise QemuError(f"{path} cannot be read: {error.strerror}") from error
        return found


class DoorTcgSession(TcgSession):
    """See `hpcore.door.front.MovingSession`."""

    def __init__(
        self,
        config: MachineConfig,
        start: StartMachine,
        report: Report,
        loads: Loads,
        *,
        before_start: BeforeStart | None = None,
    ) -> None:
        super().__init__(config, start, report, boots=True, before_start=before_start)
        self._loads = loads

    @asynccontextmanager
    async def held(self) -> AsyncIterator[TcgMachine]:
        """See MovingSession."""
        here = self._running()
        turn = self._machine_turn = CallerTurn()  # a reset meanwhile is told behind it
        try:
            async with self._held(here):
                yield here
        finally:
            turn.end()
            if self._machine_turn is turn:
                self._machine_turn = None

    async def carries_running(self) -> bool:
        """See MovingSession."""
        return live_on(await version_of(self._running().qmp))

    async def heard(self) -> None:
        """See MovingSession."""
        await self._running().link.heard_all()

    async def facts(self) -> dict[str, str]:
        """See MovingSession."""
        here = self._running()
        if not self._gate.is_open or self._epoch is None:
            raise EffectError("the machine starts anew just now: try again once it has")
        try:
            await here.migration.unless_interrupted(here.link.heard_all())
            return {**await self._facts_of(here), EPOCH: str(self._epoch)}
        except QemuError as error:
            raise EffectError(str(error)) from error
        except OSError as error:
            raise EffectError(f"what was loaded cannot be read: {error}") from error

    async def meet(self, facts: Mapping[str, str]) -> TcgMachine:
        """See MovingSession."""
        comes = Belongings(facts)
        epoch_of(comes)
        try:
            there = self._machine = await self._start_machine(DEAF)
            for name, here in (await self._facts_of(there)).items():
                refuse_unlike(comes, name, here, _REMEDY[name])
        except (QemuError, OSError) as error:
            raise AcceleratorError(str(error)) from error
        return there

    def arrived(self, state: State, facts: Mapping[str, str]) -> None:
        """See MovingSession."""
        assert self._machine is not None, "meet comes first"
        self._stands_as(state, epoch_of(Belongings(facts)))
        self._machine.tell(self._told())

    async def _facts_of(self, machine: TcgMachine) -> dict[str, str]:
        return {
            QEMU: await version_of(machine.qmp),
            MACHINE_TYPE: await machine_type_of(machine.qmp),
            **await asyncio.to_thread(self._loads.digests),
        }


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _seedless(tree: bytes) -> bytes:
    """The tree without what is random in it: each start has its own."""
    return with_seeds(tree, kaslr_seed=bytes(KASLR_SEED_SIZE), rng_seed=bytes(RNG_SEED_SIZE))

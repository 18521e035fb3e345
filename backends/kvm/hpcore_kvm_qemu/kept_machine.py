"""A QEMU with the interposer in it that outlives hpcore: started, left, and found again."""

from __future__ import annotations

import asyncio
from pathlib import Path

from hpcore.guest.boot import BootFiles
from hpcore.model.config import MachineConfig
from hpcore.qemu.errors import QemuError
from hpcore.qemu.find import Qemu
from hpcore.qemu.kept import KeptQemu, QemuGone
from hpcore.qemu.kept_machine import KeptQemuMachine
from hpcore.qemu.machine import stands_still
from hpcore.qemu.qmp import Qmp
from hpcore.run.accelerator import Kept
from hpcore_kvm_qemu import launch
from hpcore_kvm_qemu.again import Again, come_back
from hpcore_kvm_qemu.journal import Beginning, beginning
from hpcore_kvm_qemu.machine import KvmQemuMachine, Told
from hpcore_kvm_qemu.policy import Policy

BACK_SECONDS = 60.0
"""For the interposer to come back. It looks for hpcore ten times a second."""

NEVER_RAN = (
    "hpcore ended before it had let the machine run for the first time, so nothing of its guest "
    "has run; QEMU is ended now"
)


class KeptKvmQemuMachine(KeptQemuMachine, KvmQemuMachine):
    """Made by `create`, `attach`, `find` or `found`."""

    def __init__(self, process: KeptQemu, policy: Policy, told: Told) -> None:
        super().__init__(process, policy, told)
        self.back: Again | None = None
        """What its interposer gave, of one that was found."""
        self.begins: Beginning | None = None
        """Which of its messages were heard."""

    @classmethod
    async def create(
        cls,
        config: MachineConfig,
        boot: BootFiles | None,
        qemu: Qemu,
        interposer: Path,
        directory: Path,
        told: Told,
    ) -> KeptKvmQemuMachine:
        """As `KvmQemuMachine.start`, in a `directory` that is there already, and stays."""
        sockets = launch.Sockets.below(directory)
        policy = Policy(config, directory / launch.LINK, kept=True)
        try:
            argv = launch.command_line(config, boot, qemu, directory, sockets, kept=True)
            environment = launch.environment(interposer, directory)
            process = KeptQemu.start(argv, directory, sockets.all(), environment)
        except BaseException as error:
            policy.close()
            if isinstance(error, OSError):
                said = f"{directory} cannot be written: {error.strerror}"
                raise QemuError(said) from error
            raise
        policy.expect(process.pid)
        machine = cls(process, policy, told)
        await machine.require_enforced(sockets)
        return machine

    @classmethod
    async def find(cls, kept: Kept, told: Told) -> KeptKvmQemuMachine:
        """Connect to the machine in `kept.place`, which goes on meanwhile.

        A machine that was never let run is ended. Raises QemuGone, QemuError; a machine that
        runs goes on as it was.
        """
        sockets = launch.Sockets.below(kept.place)
        process = await KeptQemu.attach(kept.place, sockets.qmp)
        return await cls.found(process, sockets, kept, told)

    @classmethod
    async def found(
        cls, process: KeptQemu, sockets: launch.Sockets, kept: Kept, told: Told
    ) -> KeptKvmQemuMachine:
        """As `find`, of the QEMU that was found. Its console is somebody else's where `sockets`
        has none."""
        if kept.state.shared.booting and not kept.state.shared.guest_runs:
            await process.close()
            raise QemuGone(NEVER_RAN)
        machine = None
        try:
            await _require_an_answer(process, sockets.qmp)
            machine = await cls._linked(process, kept, told)
            await machine.connect(sockets.qmp, sockets.console)
            machine.status = await machine.run_state()
            if not stands_still(machine.status):
                machine.running_since = asyncio.get_running_loop().time()
            if sockets.console is not None:
                machine.read_printed(kept.place)
        except BaseException as error:
            if machine is None:
                process.leave()
            else:
                await machine.leave()
            if isinstance(error, OSError):
                said = f"{error.filename} cannot be read: {error.strerror}"
                raise QemuError(said) from error
            raise
        return machine

    @classmethod
    async def _linked(cls, process: KeptQemu, kept: Kept, told: Told) -> KeptKvmQemuMachine:
        """With the link to its interposer."""
        path, possible = kept.place / launch.LINK, kept.state.config.possible
        try:
            back = await come_back(
                path, process.pid, possible, BACK_SECONDS, lambda: process.running
            )
        except QemuError as error:
            if process.running:
                raise
            raise QemuGone(f"QEMU has ended: {process.last_words}") from error
        try:
            if not back.page.has_let_run:
                await process.close()
                raise QemuGone(NEVER_RAN)
            begins = beginning(back, kept.heard, process.pid)
            policy = Policy.again(kept.state, back, begins)
        except BaseException:
            back.close()
            raise
        machine = cls(process, policy, told)
        machine.back, machine.begins = back, begins
        return machine

    async def leave(self) -> None:
        """See QemuMachine. From here on nothing is granted."""
        await super().leave()
        self.policy.close()


async def _require_an_answer(process: KeptQemu, monitor: Path) -> None:
    """Wait until QEMU answers: a load that waits for hpcore may hold up a `stop`, and QEMU with it.

    Such a load ends in vain after a while. From the moment that its interposer is back, hpcore owes
    it an answer, and so waits for nothing else of QEMU's.
    """
    qmp = await Qmp.connect(process, monitor, lambda *_: None)
    await qmp.close()

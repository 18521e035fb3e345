"""The entry points for machines whose vCPUs QEMU plugs itself."""

from __future__ import annotations

import asyncio

from hpcore.model.config import MachineConfig
from hpcore.qemu.errors import QemuError
from hpcore.qemu.fetch import find_hotplugging
from hpcore.run.accelerator import (
    AcceleratorError,
    Capabilities,
    GuestImages,
    GuestScript,
    Report,
)
from hpcore_qtest.entry import capabilities, script_of
from hpcore_qtest.native.boards import LOONGARCH64_VIRT, Q35, NativeBoard
from hpcore_qtest.native.session import NativeSession

MODELLED = {
    "init_gic": "this machine has no GIC; QEMU made its interrupt controller at the start",
    "bind": "there is no GICR_TYPER here; the affinity is that of the model",
    "wire": "QEMU connects the vCPU's interrupts within device_add",
    "unwire": "QEMU disconnects them within the eject",
    "unbind": "there is no redistributor to let go of",
    "power_off": "no vCPU runs, so that it is only noted which are on",
    "park": "QEMU keeps nothing of an unplugged vCPU; the next plug creates one",
    "pause": "the machine's time never runs; the played guest is held back instead",
    "notify_insert": "device_add sets the event already; the guest is held back until here",
    "raise_ged": "QEMU can't be made to raise the line again; the wiring answers as if it had",
    "cpu_model": "the machine's own vCPU type stands for the arm one",
    "cpu_on": "the played guest calls PSCI, and the core answers it; QEMU is not asked",
    "shell": "no code of the guest runs; a line for its shell counts as run",
}


class NativeAccelerator:
    """QEMU's own vCPU hotplug on one board; the guest is played."""

    board: NativeBoard

    def probe(self) -> Capabilities:
        """Whether there is a QEMU for it. Starts no machine."""
        return capabilities(
            lambda: find_hotplugging(self.board.program), self.board.most, MODELLED
        )

    async def open(
        self, machine: MachineConfig, guest: GuestImages | GuestScript | None, report: Report
    ) -> NativeSession:
        """A session for `machine`. Without a guest everything works but START."""
        script = script_of(guest)
        if machine.possible > (most := self.board.room_for(machine)):
            raise AcceleratorError(
                f"{self.board.name} has at most {most} vCPUs with this topology, and the "
                f"machine {machine.possible}; lower maxcpus"
            )
        try:
            qemu = await asyncio.to_thread(find_hotplugging, self.board.program)
        except QemuError as error:
            raise AcceleratorError(str(error)) from error
        return NativeSession(machine, self.board, script, qemu, report)


class LoongarchAccelerator(NativeAccelerator):
    """QEMU's loongarch64 `virt`: registers in memory, a GED."""

    board = LOONGARCH64_VIRT


class Q35Accelerator(NativeAccelerator):
    """QEMU's x86 `q35`: registers at I/O ports, a general purpose event."""

    board = Q35

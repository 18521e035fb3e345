"""The entry point: what can run here, and a session of it."""

from __future__ import annotations

import asyncio

from hpcore.model.config import MachineConfig
from hpcore.model.topology import MAX_POSSIBLE
from hpcore.qemu.errors import QemuError
from hpcore.qemu.find import find_qemu
from hpcore.run.accelerator import (
    AcceleratorError,
    Capabilities,
    GuestImages,
    GuestScript,
    Report,
)
from hpcore.run.admission import need_gicv3
from hpcore_qtest.base import PlayedSession
from hpcore_qtest.entry import capabilities, script_of
from hpcore_qtest.native.boards import ARM_VIRT
from hpcore_qtest.native.detection import arm_hotplugs_itself
from hpcore_qtest.native.session import NativeSession
from hpcore_qtest.virt.session import VirtSession

MODELLED = {
    "realize": "QEMU has all possible vCPUs from its start; none of them ever runs",
    "power_off": "no vCPU runs, so that it is only noted which are on",
    "stop": "there is no thread that runs guest code",
    "release": "QEMU keeps the vCPU's address space, for it cannot be made anew",
    "pause": "the machine's time never runs; the played guest is held back instead",
    "cpu_on": "the played guest calls PSCI, and the core answers it; QEMU is not asked",
    "interrupt": (
        "the GED's SPI pends in the real distributor; the CPU interface is out of qtest's "
        "reach, so that its pending bit is cleared where a kernel would read ICC_IAR1_EL1"
    ),
    "shell": "no code of the guest runs; a line for its shell counts as run",
}


class QtestAccelerator:
    """Stock QEMU whose vCPUs never run: its GICv3 is real, the guest is played."""

    def probe(self) -> Capabilities:
        """Whether there is a QEMU, and how it is kept from running. Starts no machine."""
        return capabilities(find_qemu, MAX_POSSIBLE, MODELLED)

    async def open(
        self, machine: MachineConfig, guest: GuestImages | GuestScript | None, report: Report
    ) -> PlayedSession:
        """A session for `machine`. Without a guest everything works but START.

        Where QEMU's arm `virt` hotplugs vCPUs itself, that is what the effects act on.
        """
        script = script_of(guest)
        need_gicv3("qtest", machine)
        try:
            qemu = await asyncio.to_thread(find_qemu)
            own = await arm_hotplugs_itself(qemu)
        except QemuError as error:
            raise AcceleratorError(str(error)) from error
        if own:
            return NativeSession(machine, ARM_VIRT, script, qemu, report)
        return VirtSession(machine, script, qemu, report)

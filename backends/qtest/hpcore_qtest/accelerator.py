"""The entry point: what can run here, and a session of it."""

from __future__ import annotations

import asyncio

from hpcore.guest.played import KINDS
from hpcore.model.machine import MachineConfig
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
from hpcore_qtest import launch
from hpcore_qtest.session import QtestSession

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
        versions: dict[str, str] = {}
        unavailable = None
        try:
            qemu = find_qemu()
            versions["qemu"] = qemu.version
            versions["qemu accelerator"] = launch.accelerator(qemu.path)[-1]
        except QemuError as error:
            unavailable = str(error)
        return Capabilities(
            unavailable=unavailable,
            max_vcpus=MAX_POSSIBLE,
            plays_guest=True,
            modelled=MODELLED,
            versions=versions,
        )

    async def open(
        self, machine: MachineConfig, guest: GuestImages | GuestScript | None, report: Report
    ) -> QtestSession:
        """A session for `machine`. Without a guest everything works but START."""
        if isinstance(guest, GuestImages):
            raise AcceleratorError("qtest runs no guest code: give it a guest to play, no kernel")
        if guest is not None and guest.kind not in KINDS:
            raise AcceleratorError(
                f"there is no guest '{guest.kind}' to play; there are {', '.join(KINDS)}"
            )
        if machine.gic_version != 3:
            raise AcceleratorError(
                f"qtest needs a GICv3, whose redistributors can be taken one by one, and the "
                f"machine has gic-version {machine.gic_version}; use 3"
            )
        try:
            qemu = await asyncio.to_thread(find_qemu)
        except QemuError as error:
            raise AcceleratorError(str(error)) from error
        return QtestSession(machine, guest, qemu, report)

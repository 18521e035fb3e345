"""The entry point: what can run here, and a session of it."""

from __future__ import annotations

import asyncio

from hpcore.guest import boot
from hpcore.guest.errors import GuestError
from hpcore.model.machine import MachineConfig
from hpcore.platform import firmware
from hpcore.run.accelerator import (
    AcceleratorError,
    Capabilities,
    GuestImages,
    GuestScript,
    Report,
    Session,
)
from hpcore_kvm import probe

QUIET = "quiet"
"""For the kernel: a character on the console costs two exits to us, and a boot that tells
everything some thirty thousand. Whoever wants to read it appends `loglevel=8`."""


class KvmAccelerator:
    """A small arm64 VMM on /dev/kvm: the vCPUs are KVM's, everything around them ours."""

    def probe(self) -> Capabilities:
        """What this machine's KVM can do. Makes an empty VM for a moment."""
        return probe.probe()

    async def open(
        self, machine: MachineConfig, guest: GuestImages | GuestScript | None, report: Report
    ) -> Session:
        """A session for `machine`. Without a guest everything works but START."""
        if isinstance(guest, GuestScript):
            raise AcceleratorError("kvm boots its guest: give it a kernel and an initrd")
        if machine.gic_version != 3:
            raise AcceleratorError(
                f"kvm needs a GICv3, whose redistributors can be taken one by one, and the "
                f"machine has gic-version {machine.gic_version}; use 3"
            )
        can = await asyncio.to_thread(self.probe)
        if can.unavailable is not None:
            raise AcceleratorError(can.unavailable)
        if machine.possible > can.max_vcpus:
            raise AcceleratorError(
                f"this host's KVM has at most {can.max_vcpus} vCPUs in a machine, and "
                f"{machine.possible} are possible in this one; lower maxcpus"
            )
        images = None
        if guest is not None:
            images = await asyncio.to_thread(prepare, machine, guest)
        # not before here: where KVM is not, its binding need not be loaded either
        from hpcore_kvm.session import KvmSession  # noqa: PLC0415

        return KvmSession(machine, images, report)


def prepare(machine: MachineConfig, guest: GuestImages) -> boot.Boot:
    """Check the guest and build its firmware, all in memory.

    Raises AcceleratorError for a machine the tables cannot describe, a kernel that is
    none, an initrd that is not there, or a command line that is too long.
    """
    try:
        append = f"{QUIET} {guest.append}".strip()
        return boot.prepare(machine, firmware.HPCORE_VIRT, guest.kernel, guest.initrd, append)
    except GuestError as error:
        raise AcceleratorError(str(error)) from error

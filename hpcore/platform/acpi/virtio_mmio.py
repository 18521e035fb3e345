r"""`\_SB.VRnn`: the places of QEMU's `virt` for virtio devices that are not on PCI.

All of them are there, whether or not a device is in one. Source: hw/arm/virt.c,
create_virtio_devices, and hw/arm/virt-acpi-build.c, acpi_dsdt_add_virtio.
"""

from __future__ import annotations

from hpcore.platform import virt
from hpcore.platform.aml.encoding import string
from hpcore.platform.aml.objects import device, name
from hpcore.platform.aml.resources import InterruptMode, interrupt, memory32, template


def virtio_mmio() -> bytes:
    """A device for each place; Linux takes an empty one for what it is."""
    return b"".join(map(_place, range(virt.VIRTIO_MMIO_PLACES)))


def _place(index: int) -> bytes:
    base = virt.VIRTIO_MMIO_BASE + index * virt.VIRTIO_MMIO_SIZE
    return device(
        f"VR{index:02X}",
        name("_HID", string("LNRO0005")),
        name("_UID", index),
        name("_CCA", 1),
        name(
            "_CRS",
            template(
                memory32(base, virt.VIRTIO_MMIO_SIZE),
                interrupt(virt.VIRTIO_MMIO_FIRST_GSI + index, InterruptMode.LEVEL),
            ),
        ),
    )

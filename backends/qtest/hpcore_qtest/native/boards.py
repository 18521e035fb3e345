"""The machines whose vCPUs QEMU plugs by itself, as far as they differ: one row each.

Sources: hw/loongarch/virt.c, include/hw/loongarch/virt.h; hw/isa/lpc_ich9.c,
hw/acpi/ich9.c, include/hw/acpi/ich9.h; hw/arm/virt.c; hw/acpi/cpu.c.
"""

from __future__ import annotations

from typing import Protocol

from attrs import frozen

from hpcore.model.config import MachineConfig
from hpcore.model.topology import Topology
from hpcore.qemu.find import AARCH64, LOONGARCH64, X86_64, Program
from hpcore_qtest.qemu.client import Qtest

GED_CPU_EVENT = 0x08
"""The vCPUs' bit of the GED's event register, and what a played guest looks for there."""


class Events(Protocol):
    """Where a guest reads that a vCPU has an event; lowers the line."""

    async def set_up(self, qtest: Qtest) -> None:
        """What firmware does before it is there; again after each reset."""

    async def take(self, qtest: Qtest) -> int:
        """Read and clear it: the value of a GED's event register."""


@frozen
class Ged:
    """A generic event device at `address` (hw/acpi/generic_event_device.c)."""

    address: int

    async def set_up(self, qtest: Qtest) -> None:
        """Nothing: it is where it is."""

    async def take(self, qtest: Qtest) -> int:
        """Its event register clears as it is read."""
        return await qtest.read(self.address, 4)


@frozen
class Gpe:
    """General purpose event 2 of the ICH9, which stands for a vCPU's event.

    The LPC bridge decodes no power-management port until firmware has given it a base, and
    forgets that at a reset.
    """

    base: int = 0x600
    bit: int = 1 << 2

    _PCI_ADDRESS, _PCI_DATA = 0xCF8, 0xCFC
    _LPC = 0x8000_F800  # bus 0, device 31, function 0
    _PMBASE, _ACPI_CNTL = 0x40, 0x44
    _IO_SPACE, _ACPI_ENABLE = 0x01, 0x80
    STATUS, ENABLE = 0x20, 0x28

    async def set_up(self, qtest: Qtest) -> None:
        """Give the bridge its base, and let the event raise the SCI."""
        await qtest.port_write(self._PCI_ADDRESS, 4, self._LPC | self._PMBASE)
        await qtest.port_write(self._PCI_DATA, 4, self.base | self._IO_SPACE)
        await qtest.port_write(self._PCI_ADDRESS, 4, self._LPC | self._ACPI_CNTL)
        await qtest.port_write(self._PCI_DATA, 1, self._ACPI_ENABLE)
        await qtest.port_write(self.base + self.ENABLE, 1, self.bit)

    async def take(self, qtest: Qtest) -> int:
        """Its status bit is cleared by writing it, which AML does before it scans."""
        if not await qtest.port_read(self.base + self.STATUS, 1) & self.bit:
            return 0
        await qtest.port_write(self.base + self.STATUS, 1, self.bit)
        return GED_CPU_EVENT


@frozen
class NativeBoard:
    """A machine type of QEMU's that hotplugs vCPUs.

    `block` is the register block's address, an I/O port if `ports`. `line` is the input of
    the interrupt controller `controller` (a QOM path, or else a type) that an event raises.
    `most` is the highest `maxcpus` that the machine takes. With `gic` there are GICR frames
    to read an affinity from. `memory` is the least in MiB, `options` what else it needs.
    """

    name: str
    program: Program
    machine: str
    block: int
    events: Events
    controller: str
    line: int
    most: int
    ports: bool = False
    gic: bool = False
    memory: int = 0
    options: tuple[str, ...] = ()

    def arguments(self, config: MachineConfig, room: int) -> list[str]:
        """QEMU's arguments. `room` is the `maxcpus` that it gets, see `room_for`."""
        topology = config.topology
        smp = (
            f"cpus={topology.cpus},maxcpus={room},sockets={room // _socket(topology)},"
            f"cores={topology.clusters * topology.cores},threads={topology.threads}"
        )
        return [
            "-machine", self.machine, "-smp", smp, "-m", f"{max(config.memory, self.memory)}M",
            "-rtc", "base=2000-01-01,clock=vm", *self.options,
        ]  # fmt: skip

    def room_for(self, config: MachineConfig) -> int:
        """The `maxcpus` to give QEMU: as high as it goes, in whole sockets.

        With TCG, QEMU can create `maxcpus` vCPUs in its life and aborts at the next, for an
        unplug does not give its TCG context back. The slots beyond `config.possible` are
        kept from the guest and never plugged. Their number is limited by the ids that they
        would have, in which each level of the topology has bits of its own.
        """
        topology = config.topology
        ids = _ids(topology.clusters * topology.cores) * _ids(topology.threads)
        return self.most // ids * _socket(topology)


def _ids(count: int) -> int:
    """How many ids a level of `count` takes: a power of two."""
    return int(1 << (count - 1).bit_length())


def _socket(topology: Topology) -> int:
    return topology.clusters * topology.cores * topology.threads


LOONGARCH64_VIRT = NativeBoard(
    name="loongarch64 virt",
    program=LOONGARCH64,
    machine="virt",
    block=0x100E_001F,
    events=Ged(0x100E_0000),
    controller="loongarch_pic",
    line=7,
    most=256,
    memory=1024,
)
Q35 = NativeBoard(
    name="x86 q35",
    program=X86_64,
    machine="q35",
    block=0xCD8,
    events=Gpe(),
    controller="/machine/q35/ioapic",
    line=9,
    most=255,
    ports=True,
)
ARM_VIRT = NativeBoard(
    name="arm virt",
    program=AARCH64,
    machine="virt,gic-version=3,dtb-randomness=off,pflash0=firmware",
    block=0x090C_0000,
    events=Ged(0x0908_0000),
    controller="arm-gicv3",
    line=9,
    most=512,
    gic=True,
    # a GED is made only where there is firmware, even if that is nothing but zeroes
    options=("-blockdev", "driver=null-co,node-name=firmware,size=67108864,read-zeroes=on"),
)
"""Not plugged by any QEMU yet; `hotpluggable_cpus.ask` finds out about the one at hand."""


"""What firmware would have left in memory, as one blob for the guest's RAM.

From `virt.BLOB_BASE`: ACPI tables, EFI hand-off, and at the end the hotplug page, which is
empty where the transport has no use for it. No firmware code runs. The same configuration
gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from attrs import frozen

from hpcore.errors import HpcoreError
from hpcore.model.config import MachineConfig
from hpcore.model.rules import RULES, Rules
from hpcore.platform import hotplug_page, virt
from hpcore.platform.acpi.devices import gtdt, iort, mcfg, spcr
from hpcore.platform.acpi.dsdt import dsdt
from hpcore.platform.acpi.fadt import Conduit, fadt, rsdp, xsdt
from hpcore.platform.acpi.linked import LinkedTable
from hpcore.platform.acpi.madt import madt
from hpcore.platform.acpi.page_transport import PageTransport
from hpcore.platform.acpi.register_transport import RegisterTransport
from hpcore.platform.acpi.topology import pptt, slit, srat
from hpcore.platform.acpi.transport import GedInterrupt, HotplugTransport
from hpcore.platform.aml.resources import InterruptMode
from hpcore.platform.devicetree import device_tree
from hpcore.platform.efi import PAGE, Handoff, memory_regions, place_handoff
from hpcore.platform.numa import Nodes
from hpcore.platform.smbios import Identity, entry_point, structures

TABLES_SIZE = hotplug_page.PAGE_BASE - virt.BLOB_BASE
"""Bytes of the blob before the hotplug page; tables and hand-off must fit there."""

LOWEST_GIC_VERSION = 3

MOST_MEMORY_MIB = (virt.GICR_HIGH_BASE - virt.RAM_BASE) >> 20
"""255 GiB. A QEMU with more moves what lies behind it, and the tables would not know."""


class FirmwareError(HpcoreError, ValueError):
    """A machine that these tables can't describe; the text says which part and what to do."""


@frozen
class Firmware:
    """The blob for `virt.BLOB_BASE`, and what is in it.

    `tables` holds the DSDT and every table of the XSDT by signature, as they stand in
    the blob.
    """

    blob: bytes
    tables: Mapping[str, bytes]
    handoff: Handoff
    memory: int

    def device_tree(
        self, *, bootargs: str, initrd_size: int, kaslr_seed: bytes, rng_seed: bytes
    ) -> bytes:
        """The DTB that starts a kernel with these tables.

        The initrd of `initrd_size` bytes lies at `virt.INITRD_BASE`. Raises FirmwareError
        where it does not fit the machine's memory, and DeviceTreeError for a command line
        or a seed that the tree can't carry.
        """
        end = virt.INITRD_BASE + initrd_size
        room = virt.RAM_BASE + (self.memory << 20) - virt.INITRD_BASE
        if initrd_size > room:
            raise FirmwareError(
                f"the initrd has {initrd_size} bytes, but {self.memory} MiB of memory leave "
                f"{max(room, 0)} bytes at {virt.INITRD_BASE:#x}; give the machine more memory"
            )
        return device_tree(
            self.handoff,
            bootargs=bootargs,
            initrd=(virt.INITRD_BASE, end),
            kaslr_seed=kaslr_seed,
            rng_seed=rng_seed,
        )


@frozen
class Board:
    """What differs between the machines that the tables describe.

    `transport` is how AML reaches whoever decides about hotplug, `conduit` how the guest
    calls PSCI. With `pci` there is a host bridge, and an ITS for its interrupts; with `fw_cfg`
    QEMU's device of that name; with `virtio_mmio` QEMU's places for virtio devices that are
    not on PCI. `power_button` is the interrupt of QEMU's own event device at `virt.GED_BASE`,
    where that tells of the button; None where the transport's does, or none.
    """

    transport: HotplugTransport
    conduit: Conduit
    pci: bool
    fw_cfg: bool = False
    virtio_mmio: bool = False
    power_button: GedInterrupt | None = None


QEMU_VIRT = Board(
    PageTransport(),
    Conduit.SMC,
    pci=True,
    fw_cfg=True,
    power_button=GedInterrupt(virt.ACPI_GED_GSI, InterruptMode.EDGE),
)
"""QEMU's `virt` with a monitor at EL3, which the hotplug page and SMC reach. Its virtio-mmio is
left out: a guest looks into all 32 places at its boot, and few machines use one."""

HPCORE_VIRT = Board(RegisterTransport(), Conduit.HVC, pci=False)
"""A machine of our own at the same addresses, with hotplug registers and a GED."""

QEMU_KVM_REGISTERS = RegisterTransport(virt.KVM_CPU_HOTPLUG_BASE, power_button=True)
"""Of `QEMU_KVM_VIRT`: a HotplugDevice for it is made with this `base`."""

QEMU_KVM_VIRT = Board(QEMU_KVM_REGISTERS, Conduit.HVC, pci=True, fw_cfg=True)
"""QEMU's `virt` on KVM with acpi=off, and hpcore's hotplug registers and GED put into it. KVM
has no EL3, and acpi=off takes QEMU's own GED away, so ours tells of the power button."""


def build(
    config: MachineConfig,
    board: Board = QEMU_VIRT,
    nodes: Nodes | None = None,
    identity: Identity | None = None,
    rules: Rules = RULES,
) -> Firmware:
    """The firmware of `config` on `board`: one node unless there are `nodes`, and SMBIOS where
    there is an `identity`. Which vCPUs can go is said by `rules`.

    Raises what `linked_tables` does, FirmwareError where the tables outgrow the blob, and
    IdentityError for texts that SMBIOS can't hold.
    """
    blob = _Blob()
    addresses: dict[str, int] = {}
    tables: dict[str, bytes] = {}
    for each in linked_tables(config, board, nodes, rules):
        tables[each.name] = each.placed(addresses)
        addresses[each.name] = blob.place(tables[each.name])
    smbios = None if identity is None else _place_smbios(blob, identity)
    regions = memory_regions(config.memory)
    handoff = place_handoff(blob.place, addresses["RSDP"], regions, smbios)
    for name in ("XSDT", "RSDP"):
        del tables[name]
    return Firmware(
        blob=blob.finish(board.transport.memory(config)),
        tables=MappingProxyType(tables),
        handoff=handoff,
        memory=config.memory,
    )


def linked_tables(
    config: MachineConfig, board: Board, nodes: Nodes | None = None, rules: Rules = RULES
) -> tuple[LinkedTable, ...]:
    """Every table of `config` on `board`, each behind those that it leads to; the RSDP is last.

    Raises FirmwareError for a GIC without redistributors and for more memory than the memory
    map has room for; NodesError for nodes of another machine.
    """
    if config.gic_version < LOWEST_GIC_VERSION:
        raise FirmwareError(
            f"the ACPI tables describe a GICv3 and this machine has gic-version "
            f"{config.gic_version}; set gic-version to 3"
        )
    if config.memory > MOST_MEMORY_MIB:
        raise FirmwareError(
            f"the machine has {config.memory} MiB of memory, and the memory map has room for "
            f"{MOST_MEMORY_MIB} MiB, up to the redistributors at {virt.GICR_HIGH_BASE:#x}; "
            "lower memory"
        )
    if nodes is None:
        nodes = Nodes.one(config)
    nodes.check(config)
    definitions = dsdt(
        config,
        board.transport,
        pci=board.pci,
        fw_cfg=board.fw_cfg,
        mmio=board.virtio_mmio,
        button=board.power_button,
        rules=rules,
    )
    static = [
        madt(config, its=board.pci, rules=rules),
        gtdt(),
        spcr(),
        pptt(config.topology),
        srat(nodes),
    ]
    if nodes.distances is not None:
        static.append(slit(nodes.distances))
    if board.pci:
        static += [mcfg(), iort()]
    roots = [fadt(board.conduit), *map(LinkedTable.of, static)]
    return (
        LinkedTable.of(definitions),
        *roots,
        xsdt(table.name for table in roots),
        rsdp(),
    )


def write_tables(
    config: MachineConfig, directory: Path, board: Board = QEMU_VIRT, rules: Rules = RULES
) -> list[Path]:
    """Write every table as `<signature>.aml`, in lower case, for iasl and acpidump's users."""
    firmware = build(config, board, rules=rules)
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for signature, table in firmware.tables.items():
        path = directory / f"{signature.lower()}.aml"
        path.write_bytes(table)
        paths.append(path)
    return paths


def _place_smbios(blob: _Blob, identity: Identity) -> int:
    data = structures(identity)
    return blob.place(entry_point(blob.place(data), len(data)))


class _Blob:
    """Fills the blob from its start, a page left out so that no table is at its base."""

    ALIGNMENT = 64

    def __init__(self) -> None:
        self._data = bytearray(virt.BLOB_SIZE)
        self._next = PAGE

    def place(self, data: bytes) -> int:
        start = -(-self._next // self.ALIGNMENT) * self.ALIGNMENT
        end = start + len(data)
        if end > TABLES_SIZE:
            raise FirmwareError(
                f"the ACPI tables need {end} bytes or more and the blob has {TABLES_SIZE} for "
                "them; lower maxcpus"
            )
        self._data[start:end] = data
        self._next = end
        return virt.BLOB_BASE + start

    def finish(self, memory: Mapping[int, bytes]) -> bytes:
        """The blob, with what `memory` puts behind the tables."""
        for address, data in memory.items():
            start = address - virt.BLOB_BASE
            end = start + len(data)
            assert TABLES_SIZE <= start <= end <= virt.BLOB_SIZE
            self._data[start:end] = data
        return bytes(self._data)

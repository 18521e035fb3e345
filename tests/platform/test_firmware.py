"""The blob: every pointer in it leads where it should, and what does not fit is refused."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import attrs
import fdt
import pytest

from hpcore.model.config import MachineConfig
from hpcore.platform import efi, hotplug_page, virt
from hpcore.platform.acpi.page_transport import PageTransport
from hpcore.platform.aml.objects import buffer, name
from hpcore.platform.devicetree import DeviceTreeError
from hpcore.platform.efi import MemoryType, memory_regions
from hpcore.platform.firmware import (
    HPCORE_VIRT,
    QEMU_VIRT,
    TABLES_SIZE,
    Board,
    Firmware,
    FirmwareError,
    build,
    write_tables,
)
from tests.platform.machines import SIZES, machine

SEEDS = {"kaslr_seed": b"k" * 8, "rng_seed": b"r" * 32}


def at(firmware: Firmware, address: int, size: int) -> bytes:
    """Guest memory, which must lie in the blob before the hotplug page."""
    offset = address - virt.BLOB_BASE
    assert 0 <= offset <= offset + size <= TABLES_SIZE
    return firmware.blob[offset : offset + size]


def table_at(firmware: Firmware, address: int) -> bytes:
    (size,) = struct.unpack_from("<I", at(firmware, address, 8), 4)
    return at(firmware, address, size)


def configuration(firmware: Firmware) -> dict[bytes, int]:
    table = at(firmware, firmware.handoff.system_table, 120)
    count, address = struct.unpack_from("<QQ", table, 104)
    rows = at(firmware, address, 24 * count)
    return {
        rows[row : row + 16]: struct.unpack_from("<Q", rows, row + 16)[0]
        for row in range(0, len(rows), 24)
    }


@pytest.mark.parametrize("possible", SIZES)
def test_the_efi_system_table_leads_to_every_acpi_table(possible: int) -> None:
    firmware = build(machine(possible))
    rsdp = at(firmware, configuration(firmware)[efi.ACPI_20.bytes_le], 36)
    assert rsdp[:8] == b"RSD PTR "
    assert sum(rsdp[:20]) & 0xFF == 0
    assert sum(rsdp) & 0xFF == 0
    xsdt = table_at(firmware, struct.unpack_from("<Q", rsdp, 24)[0])
    found = {}
    for (address,) in struct.iter_unpack("<Q", xsdt[36:]):
        table = table_at(firmware, address)
        found[table[:4].decode()] = table
    dsdt = table_at(firmware, struct.unpack_from("<Q", found["FACP"], 140)[0])
    assert found | {"DSDT": dsdt} == dict(firmware.tables)


def test_the_efi_system_table_is_whole_and_offers_no_services() -> None:
    firmware = build(machine(6))
    table = at(firmware, firmware.handoff.system_table, 120)
    assert table[:8] == b"IBI SYST"
    size, crc = struct.unpack_from("<II", table, 12)
    assert size == 120
    assert crc == zlib.crc32(table[:16] + bytes(4) + table[20:])
    assert struct.unpack_from("<8Q", table, 40) == (0,) * 8
    runtime = configuration(firmware)[efi.RT_PROPERTIES.bytes_le]
    assert struct.unpack("<HHI", at(firmware, runtime, 8)) == (1, 8, 0)
    assert efi.LINUX_EFI_MEMRESERVE.bytes_le in configuration(firmware)


@pytest.mark.parametrize("memory", [256, 1024, 255 << 10])
def test_the_memory_map_covers_ram_once_and_keeps_the_blob(memory: int) -> None:
    firmware = build(machine(6, memory=memory))
    handoff = firmware.handoff
    rows = at(firmware, handoff.memory_map, handoff.memory_map_size)
    assert len(rows) % efi.DESCRIPTOR_SIZE == 0
    expected = virt.RAM_BASE
    kinds = {}
    for row in range(0, len(rows), efi.DESCRIPTOR_SIZE):
        kind, start, virtual, pages, attribute = struct.unpack_from("<I4xQQQQ", rows, row)
        assert (start, virtual, attribute) == (expected, 0, 8)
        expected += pages * 4096
        kinds[start] = kind
    assert expected == virt.RAM_BASE + (memory << 20)
    assert kinds[virt.BLOB_BASE] == MemoryType.ACPI_RECLAIM
    assert memory_regions(memory)[1].size == virt.BLOB_SIZE


def test_the_hotplug_page_starts_with_the_boot_state() -> None:
    blob = build(machine(6, booted=2)).blob
    assert len(blob) == virt.BLOB_SIZE
    page = blob[hotplug_page.PAGE_BASE - virt.BLOB_BASE :][: hotplug_page.PAGE_SIZE]
    sta = page[hotplug_page.STA : hotplug_page.STA + 7]
    assert sta == bytes((0x0F, 0x0F, 0x0D, 0x0D, 0x0D, 0x0D, 0))
    assert not any(page[: hotplug_page.STA])
    assert not any(page[hotplug_page.INSERT :])


@pytest.mark.parametrize("possible", SIZES)
def test_a_board_with_registers_has_nothing_in_the_hotplug_page(possible: int) -> None:
    blob = build(machine(possible), HPCORE_VIRT).blob
    assert len(blob) == virt.BLOB_SIZE
    assert not any(blob[TABLES_SIZE:])
    assert any(blob[:TABLES_SIZE])


def test_a_board_changes_the_tables_that_name_its_devices_and_no_other() -> None:
    page, registers = (build(machine(6), board).tables for board in (QEMU_VIRT, HPCORE_VIRT))
    assert page.keys() - registers.keys() == {"MCFG", "IORT"}
    assert {name for name in registers if registers[name] != page[name]} == {
        "DSDT", "FACP", "APIC",
    }  # fmt: skip


@pytest.mark.parametrize("board", [QEMU_VIRT, HPCORE_VIRT])
def test_the_same_machine_gives_the_same_bytes(board: Board) -> None:
    assert build(machine(128), board) == build(machine(128), board)


def test_tables_that_do_not_fit_are_refused_with_the_sizes() -> None:
    class Huge(PageTransport):
        def declarations(self, possible: int) -> bytes:
            return super().declarations(possible) + name("HUGE", buffer(bytes(TABLES_SIZE)))

    with pytest.raises(FirmwareError, match=rf"blob has {TABLES_SIZE} .* maxcpus"):
        build(machine(6), attrs.evolve(QEMU_VIRT, transport=Huge()))


def test_a_machine_without_a_gicv3_is_refused() -> None:
    with pytest.raises(FirmwareError, match="gic-version 2; set gic-version to 3"):
        build(MachineConfig.of(2, 2, gic_version=2))


def test_memory_that_reaches_the_high_redistributors_is_refused() -> None:
    config = machine(2)
    with pytest.raises(FirmwareError, match=r"room for 261120 MiB, .* at 0x4000000000; lower"):
        build(attrs.evolve(config, memory=(255 << 10) + 1))


def test_tables_are_written_one_file_each(tmp_path: Path) -> None:
    paths = write_tables(machine(6), tmp_path / "new" / "tables")
    signatures = "apic dsdt facp gtdt iort mcfg pptt spcr srat"
    assert " ".join(sorted(path.stem for path in paths)) == signatures
    assert {path.suffix for path in paths} == {".aml"}
    written = {path.stem.upper(): path.read_bytes() for path in paths}
    assert written == dict(build(machine(6)).tables)


def test_the_device_tree_points_at_the_handoff() -> None:
    firmware = build(machine(6))
    dtb = firmware.device_tree(bootargs="acpi=force quiet", initrd_size=0x1234, **SEEDS)
    tree = fdt.parse_dtb(dtb)

    def number(prop: str) -> int:
        value = 0
        for cell in tree.get_property(prop, "/chosen").data:
            value = value << 32 | cell
        return value

    assert number("linux,uefi-system-table") == firmware.handoff.system_table
    assert number("linux,uefi-mmap-start") == firmware.handoff.memory_map
    assert number("linux,uefi-mmap-size") == firmware.handoff.memory_map_size
    assert number("linux,uefi-mmap-desc-size") == 48
    assert number("linux,uefi-mmap-desc-ver") == 1
    assert number("linux,uefi-secure-boot") == 2
    assert number("linux,initrd-start") == virt.INITRD_BASE
    assert number("linux,initrd-end") == virt.INITRD_BASE + 0x1234
    assert tree.get_property("bootargs", "/chosen").value == "acpi=force quiet"
    assert b"k" * 8 in dtb
    assert b"r" * 32 in dtb
    again = firmware.device_tree(bootargs="acpi=force quiet", initrd_size=0x1234, **SEEDS)
    assert again == dtb


def test_an_initrd_beyond_the_memory_is_refused() -> None:
    firmware = build(machine(6, memory=256))
    room = 128 << 20
    firmware.device_tree(bootargs="", initrd_size=room, **SEEDS)
    with pytest.raises(FirmwareError, match="256 MiB of memory leave 134217728 bytes"):
        firmware.device_tree(bootargs="", initrd_size=room + 1, **SEEDS)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"bootargs": "x" * 2048}, "2048 bytes"),
        ({"bootargs": "é"}, "ASCII"),
        ({"kaslr_seed": b"short"}, "kaslr-seed has 5 bytes; it must have 8"),
        ({"rng_seed": b""}, "rng-seed has 0 bytes; it must have 32"),
    ],
)
def test_what_the_device_tree_cannot_carry_is_refused(
    changed: dict[str, str | bytes], said: str
) -> None:
    arguments = {"bootargs": "", **SEEDS, **changed}
    with pytest.raises(DeviceTreeError, match=said):
        build(machine(6)).device_tree(initrd_size=0, **arguments)  # type: ignore[arg-type]

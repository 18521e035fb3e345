"""The tables for firmware: wherever it puts them, its script leaves them as they would be there."""

from __future__ import annotations

import functools
import struct
from collections.abc import Mapping
from pathlib import Path

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as some

from hpcore.platform import virt
from hpcore.platform.acpi.fadt import Conduit
from hpcore.platform.firmware import (
    HPCORE_VIRT,
    QEMU_KVM_VIRT,
    QEMU_VIRT,
    FirmwareError,
    build,
    linked_tables,
)
from hpcore.platform.numa import Nodes, NodesError
from hpcore.platform.table_loader import RSDP, SCRIPT, TABLES, LoaderFiles, loader_files
from tests.platform.iasl import judge
from tests.platform.machines import SIZES, machine

ENTRY = 128
HEADER = 36
BOARDS = {"qemu-kvm": QEMU_KVM_VIRT, "hpcore": HPCORE_VIRT}
TWO_NODES = Nodes((512, 512), (0, 0, 0, 1, 1, 1), ((10, 20), (20, 10)))


class PlayedFirmware:
    """Firmware that obeys the script, as QEMU's documentation of it has it, and nothing else."""

    def __init__(self, files: Mapping[str, bytes], bases: Mapping[str, int]) -> None:
        self.files, self.bases = files, bases
        self.memory: dict[str, bytearray] = {}
        script = files[SCRIPT]
        assert len(script) % ENTRY == 0
        for start in range(0, len(script), ENTRY):
            entry = script[start : start + ENTRY]
            (command,) = struct.unpack_from("<I", entry)
            {1: self.allocate, 2: self.add_pointer, 3: self.add_checksum}[command](entry[4:])

    def allocate(self, entry: bytes) -> None:
        file, alignment, zone = struct.unpack_from("<56sIB", entry)
        name = _name(file)
        assert name not in self.memory
        assert zone in (1, 2)
        assert alignment.bit_count() == 1
        assert self.bases[name] % alignment == 0
        self.memory[name] = bytearray(self.files[name])

    def add_pointer(self, entry: bytes) -> None:
        file, target, offset, size = struct.unpack_from("<56s56sIB", entry)
        data, led_to = self.memory[_name(file)], self.memory[_name(target)]
        assert 0 <= offset <= len(data) - size
        value = int.from_bytes(data[offset : offset + size], "little")
        # UEFI looks there for a table to install
        (length,) = struct.unpack_from("<I", led_to, value + 4)
        assert HEADER <= length <= len(led_to) - value
        value += self.bases[_name(target)]
        data[offset : offset + size] = value.to_bytes(size, "little")

    def add_checksum(self, entry: bytes) -> None:
        file, offset, start, length = struct.unpack_from("<56sIII", entry)
        data = self.memory[_name(file)]
        assert start <= offset < start + length <= len(data)
        assert data[offset] == 0, "UEFI sums it up with the rest"
        data[offset] = -sum(data[start : start + length]) & 0xFF

    def at(self, address: int, size: int) -> bytes:
        """Guest memory, which must be in one of the files."""
        for name, data in self.memory.items():
            offset = address - self.bases[name]
            if 0 <= offset <= len(data) - size:
                return bytes(data[offset : offset + size])
        raise AssertionError(f"nothing is at {address:#x}")

    def table_at(self, address: int) -> bytes:
        (size,) = struct.unpack_from("<I", self.at(address, 8), 4)
        return self.at(address, size)

    def tables(self) -> dict[str, bytes]:
        """What an operating system finds from the RSDP on, and every sum holds."""
        rsdp = self.at(self.bases[RSDP], HEADER)
        assert rsdp[:8] == b"RSD PTR "
        assert sum(rsdp[:20]) & 0xFF == sum(rsdp) & 0xFF == 0
        found = {"RSDP": rsdp, "XSDT": self.table_at(struct.unpack_from("<Q", rsdp, 24)[0])}
        for (address,) in struct.iter_unpack("<Q", found["XSDT"][HEADER:]):
            table = self.table_at(address)
            assert table[:4].decode() not in found
            found[table[:4].decode()] = table
        found["DSDT"] = self.table_at(struct.unpack_from("<Q", found["FACP"], 140)[0])
        for name, table in found.items():
            assert sum(table) & 0xFF == 0, name
        return found


def _name(file: bytes) -> str:
    return file.rstrip(b"\0").decode()


def placed(files: LoaderFiles, tables: int, rsdp: int) -> PlayedFirmware:
    """The files, with their script run, at these addresses."""
    return PlayedFirmware(files.by_name(), {TABLES: tables, RSDP: rsdp})


@functools.cache
def files_of(possible: int, board: str) -> LoaderFiles:
    """Made once: a DSDT of 512 vCPUs takes half a second."""
    return loader_files(machine(possible), BOARDS[board])


@functools.cache
def direct_of(possible: int, board: str) -> Mapping[str, bytes]:
    """The tables of direct boot."""
    return build(machine(possible), BOARDS[board]).tables


bases = some.integers(0, (1 << 48) // 64).map(lambda n: 64 * n)


@given(bases, bases, some.sampled_from(SIZES), some.sampled_from(sorted(BOARDS)))
def test_wherever_they_are_put_they_lead_to_what_direct_boot_has(
    tables: int, rsdp: int, possible: int, board: str
) -> None:
    files, direct = files_of(possible, board), direct_of(possible, board)
    assume(rsdp + HEADER <= tables or tables + len(files.tables) <= rsdp)
    found = placed(files, tables, rsdp).tables()
    assert found.keys() - {"RSDP", "XSDT"} == direct.keys()
    facp, other = (bytearray(which["FACP"]) for which in (found, direct))
    for table in (facp, other):
        table[9], table[140:148] = 0, bytes(8)  # its checksum, and the address of the DSDT
    assert facp == other
    assert all(found[name] == direct[name] for name in direct if name != "FACP")


def test_a_table_that_no_pointer_is_in_needs_no_command() -> None:
    """Each command costs firmware a look-up by name, and one that is not there can't be wrong."""
    linked = linked_tables(machine(6), QEMU_KVM_VIRT)
    commands = len(loader_files(machine(6), QEMU_KVM_VIRT).script) // ENTRY
    links = sum(len(table.links) for table in linked)
    checksums = sum(len(table.checksums) for table in linked if table.links)
    assert commands == 2 + links + checksums
    assert (links, checksums) == (1 + len(linked) - 3 + 1, 1 + 1 + 2)


def test_nodes_of_the_machine_are_in_them_and_others_are_refused() -> None:
    files = loader_files(machine(6), QEMU_KVM_VIRT, TWO_NODES)
    found = placed(files, 0x8000_0000, 0x1000).tables()
    assert found["SLIT"] == build(machine(6), QEMU_KVM_VIRT, TWO_NODES).tables["SLIT"]
    with pytest.raises(NodesError):
        loader_files(machine(4), QEMU_KVM_VIRT, TWO_NODES)


@pytest.mark.parametrize("base", [0x4000, 0x1_4000_0000])
def test_iasl_has_nothing_to_say_of_tables_that_firmware_has_placed(
    base: int, tmp_path: Path
) -> None:
    found = placed(loader_files(machine(6), QEMU_KVM_VIRT), base, 0x1000).tables()
    assert f"{base:016X}" in judge(found["FACP"], tmp_path).source  # the DSDT is the first
    for name in ("FACP", "XSDT", "DSDT"):  # the others have no pointer in them
        verdict = judge(found[name], tmp_path)
        assert (verdict.errors, verdict.warnings) == (0, 0), verdict.said
        assert "ncorrect checksum" not in verdict.source + verdict.said


def test_tables_that_need_memory_at_a_fixed_place_are_refused() -> None:
    with pytest.raises(FirmwareError, match=r"PageTransport keeps memory .* without UEFI"):
        loader_files(machine(6), QEMU_VIRT)
    also_refused = attrs.evolve(QEMU_VIRT, conduit=Conduit.HVC)
    with pytest.raises(FirmwareError):
        loader_files(machine(6), also_refused)


def test_the_files_are_written_under_names_without_directories(tmp_path: Path) -> None:
    files = loader_files(machine(6), QEMU_KVM_VIRT)
    paths = files.write(tmp_path)
    assert {path.parent for path in paths.values()} == {tmp_path}
    assert {name: path.read_bytes() for name, path in paths.items()} == files.by_name()
    assert set(paths) == {SCRIPT, TABLES, RSDP}


def test_the_same_machine_gives_the_same_files() -> None:
    """A migration's target reads its own, and must find what the source had."""
    assert loader_files(machine(6), QEMU_KVM_VIRT) == loader_files(machine(6), QEMU_KVM_VIRT)


def test_no_address_of_direct_boot_is_left_in_them() -> None:
    files = loader_files(machine(6), QEMU_KVM_VIRT)
    found = placed(files, 0x8000_0000, 0x7000_0000).tables()
    blob = range(virt.BLOB_BASE, virt.BLOB_BASE + virt.BLOB_SIZE)
    for name in ("RSDP", "XSDT", "FACP"):
        words = (struct.unpack_from("<Q", found[name], n)[0] for n in range(len(found[name]) - 7))
        assert not any(word in blob for word in words)

"""The tables for firmware in the guest: QEMU's fw_cfg files, with the script that links them.

UEFI places the tables where it likes. So it is given them without addresses, and a list of
commands: where there is an address to add, which bytes are summed up. Layout and meaning: QEMU's
hw/acpi/bios-linker-loader.c. With acpi=off QEMU has no such files of its own, and takes these by
`-fw_cfg`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from enum import IntEnum
from pathlib import Path

from attrs import frozen

from hpcore.model.config import MachineConfig
from hpcore.platform.acpi.linked import ADDRESS, LinkedTable
from hpcore.platform.firmware import Board, FirmwareError, linked_tables
from hpcore.platform.numa import Nodes

SCRIPT, TABLES, RSDP = "etc/table-loader", "etc/acpi/tables", "etc/acpi/rsdp"
"""The files' names, by which firmware asks for them."""

ENTRY_SIZE = 128
ALIGNMENT, RSDP_ALIGNMENT = 64, 16


class LoaderCommand(IntEnum):
    """What an entry of the script asks for."""

    ALLOCATE = 1
    """Read a file into memory."""

    ADD_POINTER = 2
    """Add to a number in one file the address of another: it was an offset in that."""

    ADD_CHECKSUM = 3
    """Set a byte, which is 0, so that a range sums to 0."""


class Zone(IntEnum):
    """Where in memory a file is to be. UEFI takes no notice of it."""

    HIGH = 1
    F_SEGMENT = 2


@frozen
class LoaderFiles:
    """The three files."""

    script: bytes
    tables: bytes
    rsdp: bytes

    def by_name(self) -> Mapping[str, bytes]:
        """The files under the names by which firmware asks for them."""
        return {SCRIPT: self.script, TABLES: self.tables, RSDP: self.rsdp}

    def write(self, directory: Path) -> dict[str, Path]:
        """Write the files into `directory`; where each is, by the name firmware asks for."""
        paths = {}
        for name, data in self.by_name().items():
            paths[name] = directory / name.replace("/", "-")
            paths[name].write_bytes(data)
        return paths


def loader_files(config: MachineConfig, board: Board, nodes: Nodes | None = None) -> LoaderFiles:
    """The files for `config` on `board`: one node unless there are `nodes`.

    Raises what `linked_tables` does, and FirmwareError for a board whose AML wants memory at a
    fixed place: firmware in the guest would use it as its own.
    """
    if board.transport.memory(config):
        raise FirmwareError(
            f"{type(board.transport).__name__} keeps memory of the guest's at a fixed place, and "
            "UEFI knows nothing of it; start the guest by its kernel, without UEFI"
        )
    linked = linked_tables(config, board, nodes)
    tables, places = bytearray(), {}
    for table in linked:
        if table.name != "RSDP":
            tables.extend(bytes(-len(tables) % ALIGNMENT))
            places[table.name] = len(tables)
            tables.extend(_unplaced(table, places))
    root = linked[-1]
    script = [
        _allocate(RSDP, RSDP_ALIGNMENT, Zone.F_SEGMENT),
        _allocate(TABLES, ALIGNMENT, Zone.HIGH),
        *(entry for table in linked if table.links for entry in _link(table, places)),
    ]
    return LoaderFiles(b"".join(script), bytes(tables), _unplaced(root, places))


def _unplaced(table: LinkedTable, places: Mapping[str, int]) -> bytes:
    """The table with offsets for addresses. One that leads nowhere has its checksums already."""
    if not table.links:
        return table.data
    data = bytearray(table.data)
    for offset, name in table.links.items():
        ADDRESS.pack_into(data, offset, places[name])
    for checksum in table.checksums:
        data[checksum.offset] = 0
    return bytes(data)


def _link(table: LinkedTable, places: Mapping[str, int]) -> Iterator[bytes]:
    """The entries of one table: its addresses, and then the sums over them."""
    file, start = (TABLES, places[table.name]) if table.name in places else (RSDP, 0)
    for offset in table.links:
        yield _entry(
            LoaderCommand.ADD_POINTER, "56s56sIB", file.encode(), TABLES.encode(),
            start + offset, ADDRESS.size,
        )  # fmt: skip
    for checksum in table.checksums:
        yield _entry(
            LoaderCommand.ADD_CHECKSUM, "56sIII", file.encode(),
            start + checksum.offset, start, checksum.length,
        )  # fmt: skip


def _allocate(file: str, alignment: int, zone: Zone) -> bytes:
    return _entry(LoaderCommand.ALLOCATE, "56sIB", file.encode(), alignment, zone)


def _entry(command: LoaderCommand, layout: str, *fields: bytes | int) -> bytes:
    return struct.pack(f"<I{layout}", command, *fields).ljust(ENTRY_SIZE, b"\0")

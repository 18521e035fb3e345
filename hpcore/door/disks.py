"""Which disk image a command line boots from, where it names no kernel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from hpcore.door import keyval
from hpcore.door.options import DISK, Options

_FILES = ("file", "host_device")
_LAST = 1 << 31
"""The boot index of a disk that has none."""


@frozen
class BootDisk:
    """An image file and its format, `raw` or `qcow2`; None where QEMU is to find that out."""

    image: Path
    format: str | None


@frozen
class _Drive:
    disk: BootDisk
    bootindex: int = _LAST


def boot_disk(options: Options) -> BootDisk | None:
    """The disk with the lowest bootindex, or else the first one; None without any."""
    indices = _boot_indices(options)
    found = [*_drives(options, indices), *_block_nodes(options, indices)]
    return min(found, key=lambda drive: drive.bootindex).disk if found else None


def _boot_indices(options: Options) -> dict[str, int]:
    """The bootindex of each device that is a disk, by its drive."""
    found = {}
    for text in options.all("device"):
        values = keyval.parse_object("-device", text, "driver")
        if "drive" in values and not str(values.get("driver")).endswith("-cd"):
            found[str(values["drive"])] = int(str(values.get("bootindex", _LAST)))
    return found


def _drives(options: Options, indices: dict[str, int]) -> Iterator[_Drive]:
    for text in options.all("drive"):
        values = keyval.parse(text, "file")
        id_, interface = values.get("id", ""), values.get("if", "virtio")
        is_disk = values.get("media", "disk") == "disk" and interface != "pflash"
        if not is_disk or "file" not in values or (interface == "none" and id_ not in indices):
            continue
        disk = BootDisk(_path(values["file"]), values.get("format") or None)
        yield _Drive(disk, indices.get(id_, int(values.get("bootindex", _LAST))))
    for text in options.all(DISK):
        yield _Drive(BootDisk(_path(text), None))


def _block_nodes(options: Options, indices: dict[str, int]) -> Iterator[_Drive]:
    """The nodes that devices have: a format over a file, which may be a node of its own."""
    nodes = {}
    for text in options.all("blockdev"):
        values = keyval.parse_object("-blockdev", text, "driver")
        nodes[str(values.get("node-name", ""))] = values
    for name, index in indices.items():
        disk = _disk_of(nodes, name)
        if disk is not None:
            yield _Drive(disk, index)


def _disk_of(nodes: dict[str, dict[str, object]], name: str) -> BootDisk | None:
    values, format_ = nodes.get(name), "raw"
    for _ in range(len(nodes) + 1):  # a chain of nodes that goes round ends, too
        if values is None:
            return None
        if values.get("driver") in _FILES:
            return BootDisk(Path(str(values.get("filename", ""))), format_)
        if values.get("driver") != "raw":
            format_ = str(values.get("driver"))
        if values.get("file.driver") in _FILES:
            return BootDisk(Path(str(values.get("file.filename", ""))), format_)
        below = values.get("file")
        values = below if isinstance(below, dict) else nodes.get(str(below))
    return None


def _path(name: str) -> Path:
    return Path(name.removeprefix("file:"))

"""Where the disk is now from which the guest boots, and that its file has all it was given.

A disk may get another file while its VM runs: a snapshot writes on in a new one, and a commit
goes back to the old one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import structlog
from attrs import evolve

from hpcore.door.disks import BootDisk
from hpcore.door.qmp import RealMonitor
from hpcore.errors import HpcoreError

_log = structlog.get_logger(__name__)
_JSON = "json:"
READ = ("raw", "qcow2")
"""The formats that are read; what QEMU calls otherwise lies over one of these."""


class DiskMoved(HpcoreError):
    """The disk is where it cannot be read; the text says what QEMU has in its place."""


async def disk_now(qmp: RealMonitor, disk: BootDisk) -> BootDisk:
    """The image that has what `disk` holds now, once QEMU has written out what it keeps.

    Raises DiskMoved and QemuError.
    """
    listed = await qmp.execute("query-block")
    assert isinstance(listed, list), "QMP's schema says so"
    inserted = [dict(entry["inserted"]) for entry in listed if "inserted" in entry]
    found, now = _find(inserted, disk)
    await _write_out(qmp, str(found["node-name"]))
    return now


def _find(inserted: list[dict[str, Any]], disk: BootDisk) -> tuple[dict[str, Any], BootDisk]:
    """What QEMU says of the disk, and the disk.

    Its format is QEMU's where the caller has named none: a guest may have written something
    since that looks like another one.
    """
    for entry in inserted:
        if _names(str(entry["file"]), disk.image):
            driver = str(entry["drv"])
            return entry, evolve(disk, format=disk.format or (driver if driver in READ else None))
    for entry in inserted:
        if any(_names(str(below["filename"]), disk.image) for below in _below(entry["image"])):
            if str(entry["file"]).startswith(_JSON):
                raise DiskMoved(f"{disk.image} lies below {entry['file']} now, which is not read")
            return entry, BootDisk(Path(str(entry["file"])), str(entry["drv"]))
    there = ", ".join(str(entry["file"]) for entry in inserted) or "none"
    raise DiskMoved(f"{disk.image} is no disk of this QEMU any more; it has {there}")


def _below(image: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The images below `image`, the nearest first."""
    below = image.get("backing-image")
    if below is not None:
        yield below
        yield from _below(below)


def _names(text: str, image: Path) -> bool:
    """Whether QEMU's name of an image, a path or a description in JSON, is of this file."""
    if text.startswith(_JSON):
        return any(Path(name) == image for name in _filenames(json.loads(text[len(_JSON) :])))
    return Path(text.removeprefix("file:")) == image


def _filenames(values: object) -> Iterator[str]:
    """Those of the image itself, and of no image below it."""
    if isinstance(values, dict):
        for name, value in values.items():
            if name.endswith("filename") and isinstance(value, str):
                yield value
            elif name != "backing":
                yield from _filenames(value)


async def _write_out(qmp: RealMonitor, node: str) -> None:
    """Have QEMU write to the image's file what of it is in QEMU's memory alone.

    That is what a guest did not wait for: QEMU keeps tables of a qcow2 image until a flush.
    """
    line = {"command-line": f'qemu-io {node} "flush"'}
    if said := await qmp.execute("human-monitor-command", line):
        _log.warning("QEMU did not write the boot disk out", node=node, said=said)

"""The partitions of a disk, and what each holds, as far as its first bytes say."""

from __future__ import annotations

from typing import Any, BinaryIO
from uuid import UUID

import attrs
from attrs import frozen

from hpcore.disk.errors import DiskError, damaged
from hpcore.disk.image import Image
from hpcore.disk.volume import READ, Partition, Volume, open_volume

SECTOR = 512
GPT_MAGIC, MBR_MAGIC = b"EFI PART", b"\x55\xaa"
MOST_PARTITIONS = 128

CONTENTS = (
    (0, b"LUKS\xba\xbe", "LUKS, encrypted"),
    (0x218, b"LVM2 001", "LVM"), (0x18, b"LVM2 001", "LVM"),
    (0x1000, b"\xfc\x4e\x2b\xa9", "Linux RAID"),
    (0x10040, b"_BHRfS_M", "btrfs"),
    (0, b"XFSB", "xfs"),
    (0x400, b"\x10\x20\xf5\xf2", "f2fs"),
    (0, b"hsqs", "squashfs"),
    (0x8001, b"CD001", "ISO 9660"),
    (0xFF6, b"SWAPSPACE2", "swap"),
    (3, b"NTFS    ", "NTFS"), (3, b"EXFAT   ", "exFAT"),
    (0x52, b"FAT32   ", "vfat"), (0x36, b"FAT", "vfat"),
)  # fmt: skip
"""(offset, magic, content); the first that matches tells. ext is told by its superblock."""

JOURNAL, EXTENTS, BIT64 = 0x4, 0x40, 0x80
EXT_READ = 0x2 | 0x4 | EXTENTS | BIT64 | 0x100 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x30000
"""Incompatible features of ext that change nothing for who reads a file by its name.

By fs/ext4/ext4.h: filetype, recover, extents, 64bit, mmp, flex_bg, ea_inode, csum_seed,
largedir, encrypt, casefold. The others are compression, a journal's device, meta_bg, dirdata
and inline_data.
"""


@frozen
class Disk:
    """The partitions of an image, and the file systems among them that are read.

    `unread` has for the number of a partition why its file system is not, though its
    kind could be.
    """

    image: Image
    partitions: tuple[Partition, ...]
    volumes: tuple[Volume, ...]
    unread: dict[int, str]

    def volume(self, number: int) -> Volume | None:
        """The file system on the partition of that number."""
        return next((v for v in self.volumes if v.partition.number == number), None)


def look(image: Image) -> Disk:
    """Find the partitions and open their file systems.

    Raises DiskError where the disk has neither partitions nor a file system.
    """
    what = f"the image {image.path}"
    with damaged(f"{what}: its beginning"):
        whole = _content(image.stream, image.size)
    if whole is not None:
        pieces = [(Partition(0, 0, image.size, whole), image.stream)]
    else:
        pieces = _pieces(image, what)
    partitions, volumes = [], []
    unread: dict[int, str] = {}
    for partition, stream in pieces:
        if partition.content not in READ:
            partitions.append(partition)
            continue
        try:
            with damaged(f"{image.path}, {partition}"):
                if partition.content.startswith("ext"):
                    _refuse_features(stream)
                reader = open_volume(partition.content, stream)
        except DiskError as error:
            unread[partition.number] = str(error)
            partitions.append(partition)
            continue
        known = attrs.evolve(partition, uuid=reader.uuid, label=reader.label)
        partitions.append(known)
        volumes.append(Volume(str(image.path), known, reader))
    return Disk(image, tuple(partitions), tuple(volumes), unread)


def _pieces(image: Image, what: str) -> list[tuple[Partition, BinaryIO]]:
    from dissect.util.stream import RangeStream  # noqa: PLC0415
    from dissect.volume.disk.schemes import GPT, MBR  # noqa: PLC0415

    with damaged(f"{what}: its partition table"):
        table: Any = None
        for sector in (SECTOR, 4096):
            if _within(image.stream, sector, 8, image.size) == GPT_MAGIC:
                image.stream.seek(0)
                table = GPT(image.stream, sector_size=sector)
                break
        if table is None and _within(image.stream, 510, 2, image.size) == MBR_MAGIC:
            sector = SECTOR
            image.stream.seek(0)
            table = MBR(image.stream, sector_size=sector)
        if table is None:
            raise DiskError(
                f"{what} has no partition table (GPT or MBR) and no file system; "
                "give a disk on which a Linux is installed"
            )
        found = []
        for one in table.partitions[:MOST_PARTITIONS]:
            raw, size = one.raw, one.size
            if isinstance(one.type, UUID):  # the library leaves out the last sector
                size = (int(raw.last_lba) - int(raw.first_lba) + 1) * sector
            stream = RangeStream(image.stream, one.offset, max(0, size))
            try:
                content = _content(stream, size) or f"unknown, type {one.type_name}"
            except DiskError as error:  # the others may be whole
                content = f"not readable: {error}"
            guid = "" if one.guid is None else str(one.guid)
            found.append(
                (Partition(one.number, one.offset, size, content, "", "", guid, one.name or ""),
                 stream)
            )  # fmt: skip
        return found


def _content(stream: BinaryIO, length: int) -> str | None:
    """What a file system or a container of others at the beginning of `stream` is."""
    if _within(stream, 0x438, 2, length) == b"\x53\xef":
        compatible, incompatible = _ext_features(stream)
        if incompatible & (EXTENTS | BIT64):
            return "ext4"
        return "ext3" if compatible & JOURNAL else "ext2"
    for offset, magic, content in CONTENTS:
        if _within(stream, offset, len(magic), length) == magic:
            return content
    return None


def _ext_features(stream: BinaryIO) -> tuple[int, int]:
    """The compatible and the incompatible features in the superblock of an ext."""
    features = _at(stream, 0x45C, 8)
    return int.from_bytes(features[:4], "little"), int.from_bytes(features[4:], "little")


def _refuse_features(stream: BinaryIO) -> None:
    _, incompatible = _ext_features(stream)
    if other := incompatible & ~EXT_READ:
        raise ValueError(f"features {other:#x} of ext (incompatible) are not read")


def _within(stream: BinaryIO, offset: int, size: int, length: int) -> bytes:
    """Bytes of a stream that has `length` of them; none where it ends before."""
    return _at(stream, offset, size) if offset + size <= length else b""


def _at(stream: BinaryIO, offset: int, size: int) -> bytes:
    stream.seek(offset)
    return bytes(stream.read(size))

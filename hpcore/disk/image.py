"""Opening a raw or qcow2 image, read-only.

Source: "qcow2" in the Interoperability part of QEMU's manual. The library does the clusters. The
header is read here: its limits, its extensions, and the name of the file behind it, which the
library would take from the directory alone.
"""

from __future__ import annotations

import stat
import struct
from pathlib import Path
from typing import Any, BinaryIO, cast

from attrs import frozen

from hpcore.disk.errors import DiskError, damaged
from hpcore.disk.source import Source
from hpcore.guest import magic

FORMATS = ("raw", "qcow2")

OTHER_FORMATS = (
    (0, b"KDMV", "a VMDK image"), (0, b"vhdxfile", "a VHDX image"), (0, b"conectix", "a VHD image"),
    (0x40, b"\x7f\x10\xda\xbe", "a VDI image"), (0, b"QED\0", "a QED image"),
    (*magic.GZIP, "packed with gzip"), (*magic.XZ, "packed with xz"),
    (*magic.ZSTD, "packed with zstd"), (*magic.BZIP2, "packed with bzip2"),
    (*magic.ZIP, "a zip archive"), (*magic.TAR, "a tar archive"),
)  # fmt: skip
"""What is neither raw nor qcow2."""

MOST_BEHIND = 16
"""Images behind an image: more are a circle, or as good as one."""

CORRUPT, DATA_FILE = 1 << 1, 1 << 2
EXTENDED_L2 = 1 << 4
KNOWN_FEATURES = 0b1111
"""Incompatible features: dirty, corrupt, external data file, compression type."""
BACKING_FORMAT = 0xE2792ACA
LARGEST_L1 = (32 << 20) // 8
"""Entries of an L1 table, as in QEMU (QCOW_MAX_L1_SIZE)."""


@frozen
class Image:
    """An open image: its content as a stream, its format and its size as a disk."""

    path: Path
    format: str
    size: int
    stream: BinaryIO
    file: BinaryIO

    def close(self) -> None:
        """Close its file. Those of images behind it end with the process that reads."""
        self.file.close()


def open_image(path: Path, format: str | None = None) -> Image:
    """Open the image in `path`: "raw", "qcow2", or what its first bytes say.

    Give the format where it is known: a guest can write to its raw disk what looks like
    another format, and name a file of the host in it. Raises DiskError.
    """
    return _open(path, format, 0, endless=False)


def _open(path: Path, format: str | None, depth: int, *, endless: bool) -> Image:
    if depth > MOST_BEHIND:
        raise DiskError(
            f"{path} is one of more than {MOST_BEHIND} images, each behind the other: they "
            "go round in a circle, or are too many; `qemu-img rebase` makes one of several"
        )
    try:
        mode = path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
            raise DiskError(f"{path} is no file and no disk; give a raw or a qcow2 image")
        file = path.open("rb")
        head = file.read(4096)
    except OSError as error:
        raise DiskError(f"cannot read the image {path}: {error.strerror or error}") from error
    except ValueError as error:  # a zero byte in the name
        raise DiskError(f"cannot read the image {str(path)!r}: {error}") from error
    if not head:
        raise DiskError(f"{path} is empty; give a raw or a qcow2 image")
    if format is None:
        format = "qcow2" if magic.has(head, magic.QCOW2) else "raw"
        if (kind := magic.known_kind(head, OTHER_FORMATS)) is not None:
            raise DiskError(
                f"{path} is {kind}; give a raw or a qcow2 image: unpack it, or use "
                "`qemu-img convert -O qcow2`"
            )
    if format == "qcow2":
        with damaged(f"the qcow2 image {path}"):
            return _qcow2(path, file, head, depth)
    if format != "raw":
        raise DiskError(f"{path}: format {format!r} is not read; use {' or '.join(FORMATS)}")
    source = Source(file, f"the image {path}", endless=endless)
    return Image(path, "raw", source.size, cast(BinaryIO, source), file)


def _qcow2(path: Path, file: BinaryIO, head: bytes, depth: int) -> Image:
    from dissect.hypervisor.disk.qcow2 import QCow2  # noqa: PLC0415 - loaded for qcow2 alone

    header = _Header.read(path, file, head)
    source = Source(file, f"the qcow2 image {path}", head=header.without_extensions())
    disk: Any = QCow2(source)
    if header.backing is not None:
        disk.backing_file = _behind(path, header, depth)
    return Image(path, "qcow2", header.size, disk.open(), file)


def _behind(path: Path, header: _Header, depth: int) -> BinaryIO:
    name = header.backing or ""
    if name.startswith("json:") or "://" in name or name.startswith(("nbd:", "rbd:")):
        raise DiskError(
            f"{path} lies over {name!r}, which is no file; `qemu-img convert` makes one image"
        )
    behind = path.parent / name.removeprefix("file:")
    kind = header.backing_format
    if kind is not None and kind not in FORMATS:
        raise DiskError(f"{path} lies over {behind}, of format {kind!r}, which is not read")
    opened = _open(behind, kind, depth + 1, endless=True)
    if opened.format == "raw":
        return opened.stream
    return cast(BinaryIO, _ZerosAfter(opened.stream, opened.size))


class _ZerosAfter:
    """A disk behind a larger one: past its end are zeros."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream, self._size, self._at = stream, size, 0

    def seek(self, offset: int, _whence: int = 0) -> int:
        self._at = offset
        return offset

    def read(self, length: int) -> bytes:
        data = b""
        if self._at < self._size:
            self._stream.seek(self._at)
            data = self._stream.read(min(length, self._size - self._at))
        self._at += length
        return data.ljust(length, b"\0")


@frozen
class _Header:
    """What of a qcow2 header is needed, with its limits held to."""

    fields: tuple[int, ...]
    features: int
    compression: int
    backing: str | None
    backing_format: str | None

    @property
    def size(self) -> int:
        """Bytes of the disk."""
        return self.fields[5]

    @staticmethod
    def read(path: Path, file: BinaryIO, head: bytes) -> _Header:
        """The header at the beginning of `head`. Raises DiskError where it is none."""

        def wrong(why: str) -> DiskError:
            return DiskError(f"the qcow2 image {path} {why}")

        if len(head) < 104 or not magic.has(head, magic.QCOW2):
            raise wrong("is none, or cut short: it has no whole header")
        fields = struct.unpack_from(">IIQIIQIIQ", head)
        _magic, version, backing_at, backing_size, cluster_bits, size, crypt, l1_size, _ = fields
        if version not in (2, 3):
            raise wrong(f"has version {version}; only 2 and 3 are read")
        features, length, compression = 0, 72, 0
        if version == 3:
            (features,) = struct.unpack_from(">Q", head, 72)
            (length,) = struct.unpack_from(">I", head, 100)
            compression = head[104] if length > 104 and len(head) > 104 else 0
        if not 9 <= cluster_bits <= 21:
            raise wrong(f"is damaged: its clusters have 2**{cluster_bits} bytes")
        if crypt:
            raise wrong("is encrypted; `qemu-img convert` makes a plain one")
        if features & CORRUPT:
            raise wrong("is marked as corrupt; `qemu-img check -r all` may mend it")
        if features & DATA_FILE:
            raise wrong("keeps its data in another file; `qemu-img convert` makes one image")
        if features & EXTENDED_L2:  # the library gives wrong bytes for some of these
            raise wrong("has subclusters (extended_l2); `qemu-img convert` makes a plain one")
        if features & ~KNOWN_FEATURES or compression > 1:
            raise wrong("has features that are not known; `qemu-img convert` makes a plain one")
        per_table = 1 << (2 * cluster_bits - 3)
        if l1_size > LARGEST_L1 or l1_size * per_table < size or size > 1 << 62:
            raise wrong(f"is damaged: {l1_size} L1 entries for a disk of {size} bytes")
        backing = None
        if backing_at:
            if not 0 < backing_size <= 1023:
                raise wrong("is damaged: the name of the file behind it is too long")
            file.seek(backing_at)
            backing = file.read(backing_size).decode("utf-8", "surrogateescape")
        form = _backing_format(head, length) if backing is not None else None
        return _Header(fields, features, compression, backing, form)

    def without_extensions(self) -> bytes:
        """The header of the same image, in version 3, with no file behind it."""
        _, _, _, _, *geometry = self.fields
        first = struct.pack(">4sIQIIQIIQ", magic.QCOW2[1], 3, 0, 0, *geometry)
        refcounts_and_snapshots = bytes(24)  # not read
        rest = struct.pack(">QQQIIB7x", self.features, 0, 0, 4, 112, self.compression)
        return first + refcounts_and_snapshots + rest + bytes(8)


def _backing_format(head: bytes, at: int) -> str | None:
    while at + 8 <= len(head):
        kind, length = struct.unpack_from(">II", head, at)
        if kind == 0:
            break
        if kind == BACKING_FORMAT:
            return head[at + 8 : at + 8 + length].decode("ascii", "backslashreplace")
        at += 8 + -(-length // 8) * 8
    return None

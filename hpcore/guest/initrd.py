"""Is this file an initrd that Linux unpacks? If not, what is it, and what to do.

Sources: Documentation/driver-api/early-userspace/buffer-format.rst, init/initramfs.c and
lib/decompress.c of Linux. It takes cpio archives in a row, each plain or packed, with zeros
around them. Images of file systems, the initrds of old, are not taken here: the root would
have to be named, and the kernels hpcore fetches have no RAM disk.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from hpcore.guest import magic
from hpcore.guest.errors import GuestError
from hpcore.guest.magic import kind_of

CPIO_MAGICS = (b"070701", b"070702")
"""newc, and newc with checksums."""

HEADER_SIZE, NAME_SIZE_AT, FILE_SIZE_AT = 110, 94, 54
LAST_NAME = b"TRAILER!!!"

PACKED = {
    b"\x1f\x8b": "gzip", b"\x1f\x9e": "gzip", b"BZ": "bzip2", b"\x5d\0": "lzma",
    b"\xfd7": "xz", b"\x89L": "lzo", b"\x02\x21": "lz4", b"\x28\xb5": "zstd",
}  # fmt: skip
"""What Linux unpacks, by its first two bytes."""

_UNPACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: zlib.decompressobj(wbits=16 + zlib.MAX_WBITS).decompress(data, 4096),
    "bzip2": lambda data: bz2.BZ2Decompressor().decompress(data, 4096),
    "lzma": lambda data: lzma.LZMADecompressor(lzma.FORMAT_ALONE).decompress(data, 4096),
    "xz": lambda data: lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(data, 4096),
}
"""Those of them that can be looked into here; the rest is believed."""

LOOK = 1 << 20
"""Bytes of what is packed that are looked into: one block of bzip2 has up to 900,000."""

OTHER_KINDS = (
    (*magic.ARM64_IMAGE, "an arm64 kernel Image"),
    (*magic.ZBOOT, "a compressed kernel (zboot)"),
    (*magic.ELF, "an ELF program"),
    (*magic.EFI_PROGRAM, "an EFI program"),
    (*magic.LZ4, "packed with lz4 in a form that Linux does not unpack (use lz4 -l)"),
    (0, b"\xc7\x71", "a cpio archive of the old binary form (use cpio -H newc)"),
    (0, b"070707", "a cpio archive of the old form (use cpio -H newc)"),
    (*magic.TAR, "a tar archive"),
    (0x438, b"\x53\xef", "an image of an ext file system"),
    (0, b"hsqs", "an image of a squashfs"),
    (0, b"-rom1fs-", "an image of a romfs"),
    (*magic.QCOW2, "a qcow2 image"),
    (*magic.ZIP, "a zip archive"),
    (0, b"#!", "a script"),
)  # fmt: skip
"""What is no initrd."""

REMEDY = "give a cpio archive (newc), as `cpio -o -H newc` makes it, plain or packed"


def check_initrd(path: Path) -> None:
    """Hold the initrd in `path` to what Linux unpacks.

    Of what is packed the beginning is looked at, of what is not, every header. Raises
    GuestError where the file is missing, unreadable, cut short or no such archive; the text
    says what it is instead, as far as that can be told.
    """
    try:
        with path.open("rb") as file:
            _check(path, file)
    except OSError as error:
        raise GuestError(f"cannot read the initrd {path}: {error.strerror or error}") from error


def _check(path: Path, file: BinaryIO) -> None:
    at, archives = _past_zeros(file, 0), 0
    while at % 4 == 0 and _at(file, at, 6) in CPIO_MAGICS:
        at, archives = _past_zeros(file, _past_archive(path, file, at)), archives + 1
    rest = _at(file, at, LOOK)
    if archives and not rest:
        return
    kind = PACKED.get(rest[:2])
    if kind is not None:
        _look_into(path, kind, rest)
    elif archives:
        raise GuestError(
            f"the initrd {path} is cpio up to byte {at}, and what follows is "
            f"{kind_of(rest, OTHER_KINDS)}, which Linux does not unpack; {REMEDY}"
        )
    else:
        raise GuestError(f"the initrd {path} is {kind_of(rest, OTHER_KINDS)}; {REMEDY}")


def _look_into(path: Path, kind: str, packed: bytes) -> None:
    if (unpack := _UNPACK.get(kind)) is None:
        return
    try:
        inside = unpack(packed).lstrip(b"\0")
    except (zlib.error, lzma.LZMAError, OSError, EOFError) as error:
        raise GuestError(
            f"the initrd {path} does not unpack ({kind}): {error}; make it again"
        ) from error
    if not inside.startswith(CPIO_MAGICS):
        raise GuestError(
            f"the initrd {path} is packed with {kind}, and inside is "
            f"{kind_of(inside, OTHER_KINDS)}; {REMEDY}"
        )


def _past_archive(path: Path, file: BinaryIO, at: int) -> int:
    """Where the archive that begins at `at` ends."""
    size = file.seek(0, 2)
    while at < size:
        header = _at(file, at, HEADER_SIZE)
        try:
            name_size, file_size = (
                int(header[place : place + 8], 16) for place in (NAME_SIZE_AT, FILE_SIZE_AT)
            )
        except ValueError:
            name_size = -1
        if name_size < 0 or header[:6] not in CPIO_MAGICS:
            if len(header) < HEADER_SIZE:
                break
            raise GuestError(
                f"the initrd {path} is damaged: at byte {at} no file begins, and the archive "
                "has not ended; make it again"
            )
        name = _at(file, at + HEADER_SIZE, name_size)
        at = _aligned(_aligned(at + HEADER_SIZE + name_size) + file_size)
        if name.rstrip(b"\0") == LAST_NAME:
            return min(at, size)
    raise GuestError(
        f"the initrd {path} is cut short: its archive does not end within its {size} bytes; "
        "make it again"
    )


def _aligned(at: int) -> int:
    return -(-at // 4) * 4


def _at(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)


def _past_zeros(file: BinaryIO, at: int) -> int:
    while piece := _at(file, at, LOOK):
        if rest := piece.lstrip(b"\0"):
            return at + len(piece) - len(rest)
        at += len(piece)
    return at

"""Unpacking a kernel: gzip, xz, lzma and zstd, alone or in the compressed EFI wrapper.

The wrapper: drivers/firmware/efi/libstub/zboot-header.S of Linux ("MZ", "zimg" at 4, offset
and size of the payload at 8 and 12, the compression's name at 0x18) and Makefile.zboot beside
it (the names).
"""

from __future__ import annotations

import lzma
import struct
import sys
import zlib
from collections.abc import Callable
from typing import Protocol

from hpcore.guest import magic
from hpcore.guest.errors import GuestError

LARGEST = 256 << 20
"""Bytes: beyond this no file is taken for a kernel, nor unpacked further."""

ZBOOT_HEADER_SIZE = 0x38
ZBOOT_NAMES = {"zstd22": "zstd", "xzkern": "xz"}
"""The names of compressions that the kernel's build writes otherwise than they are said."""

PACKINGS = (
    (*magic.GZIP, "gzip"), (*magic.XZ, "xz"), (0, b"\x5d\0\0", "lzma"), (*magic.ZSTD, "zstd"),
)  # fmt: skip
UNPACKED = tuple(name for _, _, name in PACKINGS)


class _Unpacker(Protocol):
    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def unpacked(raw: bytes, name: str) -> bytes:
    """What the kernel in `raw` is when unpacked; `raw` itself where it is not packed.

    `name` is what messages call it. Raises GuestError where it does not unpack, holds more
    than LARGEST bytes, or is packed with something else.
    """
    if magic.has(raw, magic.ZBOOT) and len(raw) >= ZBOOT_HEADER_SIZE:
        offset, size = struct.unpack_from("<II", raw, 8)
        written = raw[0x18:0x38].split(b"\0")[0].decode("ascii", "backslashreplace")
        kind = ZBOOT_NAMES.get(written, written)
        if kind not in UNPACKED:
            raise GuestError(
                f"{name} is a compressed EFI kernel (zboot, {kind}); hpcore unpacks "
                f"{', '.join(UNPACKED)}: give the file arch/arm64/boot/Image of the same build"
            )
        if not size or offset + size > len(raw):
            raise GuestError(
                f"{name} does not unpack: it is cut short; its header (zboot) puts {size} packed "
                f"bytes at {offset}, and the file has {len(raw)}"
            )
        return _unpack(raw[offset : offset + size], kind, name)
    packing = magic.known_kind(raw, PACKINGS)
    return raw if packing is None else _unpack(raw, packing, name)


def _unpack(packed: bytes, kind: str, name: str) -> bytes:
    try:
        data, whole = _UNPACK[kind](packed)
    except (zlib.error, lzma.LZMAError, EOFError) as error:
        raise GuestError(
            f"{name} does not unpack ({kind}): {error}; fetch or build it again"
        ) from error
    if len(data) > LARGEST:
        raise GuestError(f"{name} does not unpack: it holds more than {LARGEST >> 20} MiB ({kind})")
    if not whole:
        raise GuestError(
            f"{name} does not unpack: it is cut short ({kind}); fetch or build it again"
        )
    return data


def _taken(unpacker: _Unpacker, packed: bytes) -> tuple[bytes, bool]:
    """What is in `packed`, one byte more than LARGEST at most, and whether it is whole."""
    data = unpacker.decompress(packed, LARGEST + 1)
    return data, unpacker.eof


def _zstd(packed: bytes) -> tuple[bytes, bool]:
    if sys.version_info >= (3, 14):
        from compression import zstd  # noqa: PLC0415
    else:
        from backports import zstd  # noqa: PLC0415 - loaded for such a kernel alone
    try:
        return _taken(zstd.ZstdDecompressor(), packed)
    except zstd.ZstdError as error:
        raise EOFError(str(error)) from error


_UNPACK: dict[str, Callable[[bytes], tuple[bytes, bool]]] = {
    "gzip": lambda packed: _taken(zlib.decompressobj(wbits=16 + zlib.MAX_WBITS), packed),
    "xz": lambda packed: _taken(lzma.LZMADecompressor(lzma.FORMAT_XZ, LARGEST), packed),
    "lzma": lambda packed: _taken(lzma.LZMADecompressor(lzma.FORMAT_ALONE, LARGEST), packed),
    "zstd": _zstd,
}

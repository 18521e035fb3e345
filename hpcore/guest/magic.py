"""What a file is by the bytes at its beginning.

Whoever reads a kind of file says in words of its own what another file is to it: to a kernel
gzip is a packing, to a disk image a mistake. Where those bytes stand, and what they are, is here.
"""

from __future__ import annotations

Magic = tuple[int, bytes]
"""(offset, bytes)."""

Kinds = tuple[tuple[int, bytes, str], ...]
"""(offset, bytes, what the file then is); the first that matches tells."""

ARM64_IMAGE: Magic = (0x38, b"ARM\x64")
BZIP2: Magic = (0, b"BZh")
EFI_PROGRAM: Magic = (0, b"MZ")
ELF: Magic = (0, b"\x7fELF")
GZIP: Magic = (0, b"\x1f\x8b")
LZ4: Magic = (0, b"\x04\x22\x4d\x18")
QCOW2: Magic = (0, b"QFI\xfb")
TAR: Magic = (0x101, b"ustar")
XZ: Magic = (0, b"\xfd7zXZ\0")
ZBOOT: Magic = (4, b"zimg")
ZIP: Magic = (0, b"PK\x03\x04")
ZSTD: Magic = (0, b"\x28\xb5\x2f\xfd")


def has(data: bytes, magic: Magic) -> bool:
    """Whether a file that begins with `data` has `magic`."""
    offset, wanted = magic
    return data.startswith(wanted, offset)


def known_kind(data: bytes, kinds: Kinds) -> str | None:
    """What the file is that begins with `data`, in the words of `kinds`; None if none of them."""
    return next((kind for offset, magic, kind in kinds if has(data, (offset, magic))), None)


def kind_of(data: bytes, kinds: Kinds) -> str:
    """What the file is that begins with `data`, in the words of `kinds` or in these."""
    if not data:
        return "an empty file"
    return known_kind(data, kinds) or "of an unknown kind"

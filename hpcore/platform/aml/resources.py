"""Resource templates: what a device's `_CRS` says that it uses. Source: ACPI 6.5, 6.4."""

from __future__ import annotations

import struct
from enum import IntEnum

from attrs import field, frozen

from hpcore.platform.aml.encoding import AmlError
from hpcore.platform.aml.objects import buffer


class InterruptMode(IntEnum):
    """How an interrupt is signalled (bit 1 of its flags)."""

    LEVEL = 0
    EDGE = 1


class Range(IntEnum):
    """Resource types of an address space descriptor (6.4.3.5)."""

    MEMORY = 0
    IO = 1
    BUS = 2


MEMORY_READ_WRITE = 0x01
"""Type-specific flags: read-write, not cacheable."""
IO_ENTIRE_RANGE_TRANSLATED = 0x13
"""Type-specific flags: ISA and non-ISA ranges, memory on the parent's side (sparse off)."""
BUS_NONE = 0x00

_FIXED_BOTH = 0x0C  # both ends fixed, positive decode, resource producer


@frozen
class _Width:
    tag: int
    code: str
    bits: int


_WORD, _DWORD, _QWORD = _Width(0x88, "H", 16), _Width(0x87, "I", 32), _Width(0x8A, "Q", 64)


@frozen
class Window:
    """What a bridge passes on: `size` units from `base` on its own side.

    `translation` is added on the way to the parent's side. Both ends are fixed.
    """

    kind: Range
    base: int
    size: int
    flags: int
    translation: int = field(default=0)


def memory32(base: int, size: int) -> bytes:
    """Memory32Fixed, read-write (6.4.3.4)."""
    return struct.pack("<BHBII", 0x86, 9, 1, base, size)


def interrupt(gsi: int, trigger: InterruptMode) -> bytes:
    """Extended interrupt of a consumer: active high, exclusive (6.4.3.6)."""
    consumer = 1
    return struct.pack("<BHBBI", 0x89, 6, consumer | trigger << 1, 1, gsi)


def word_window(window: Window) -> bytes:
    """Word address space descriptor (6.4.3.5.3)."""
    return _window(_WORD, window)


def dword_window(window: Window) -> bytes:
    """DWord address space descriptor (6.4.3.5.2)."""
    return _window(_DWORD, window)


def qword_window(window: Window) -> bytes:
    """QWord address space descriptor (6.4.3.5.1)."""
    return _window(_QWORD, window)


def template(*descriptors: bytes) -> bytes:
    """ResourceTemplate: the descriptors and an EndTag, in a Buffer.

    The EndTag's checksum is 0, "treat as correct", as iasl writes it (6.4.2.9).
    """
    return buffer(b"".join(descriptors) + b"\x79\0")


def _window(width: _Width, window: Window) -> bytes:
    last = window.base + window.size - 1
    if window.size < 1 or max(last, window.size, window.translation) >> width.bits:
        raise AmlError(
            f"a window of {window.size:#x} at {window.base:#x} does not fit "
            f"a {width.bits}-bit descriptor"
        )
    body = struct.pack(
        "<BBB5" + width.code,
        window.kind, _FIXED_BOTH, window.flags,
        0, window.base, last, window.translation, window.size,
    )  # fmt: skip
    return struct.pack("<BH", width.tag, len(body)) + body

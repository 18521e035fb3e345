"""The bytes of AML's smallest parts: package lengths, names, integers, strings, EISA ids.

Source: ACPI 6.5, chapter 20.2.
"""

from __future__ import annotations

import re
import struct

MAX_PACKAGE_LENGTH = 0xFFF_FFFF

_NAME_SEGMENT = re.compile(r"[A-Z_][A-Z0-9_]{0,3}")
_EISA_ID = re.compile(r"[A-Z]{3}[0-9A-F]{4}")


class AmlError(ValueError):
    """Something that AML cannot express; the text names it."""


def encode_length(value: int) -> bytes:
    """`value` as PkgLength bytes (20.2.4), as a field element gives its width in bits.

    The lead byte holds 6 bits, or 4 and the count of the bytes that follow.
    """
    if value < 0 or value > MAX_PACKAGE_LENGTH:
        raise AmlError(f"an AML package length of {value} does not fit 28 bits")
    if value < 0x40:
        return bytes([value])
    for following in (1, 2, 3):
        if value < 1 << 4 + 8 * following:
            break
    lead = following << 6 | value & 0xF
    return bytes([lead]) + (value >> 4).to_bytes(following, "little")


def package(content: bytes) -> bytes:
    """`content` behind its PkgLength, which counts its own bytes too (20.2.4)."""
    for size in (1, 2, 3, 4):
        length = encode_length(len(content) + size)
        if len(length) == size:
            return length + content
    raise AmlError(f"{len(content)} bytes of AML do not fit one package")


def name_string(path: str) -> bytes:
    r"""A NameString (20.2.2): `C001`, `\_SB.CPUS`, `^SIBL`; short segments are padded."""
    prefix = re.match(r"\\|\^*", path)
    assert prefix is not None
    rest = path[prefix.end() :]
    segments = rest.split(".") if rest else []
    for segment in segments:
        if not _NAME_SEGMENT.fullmatch(segment):
            raise AmlError(f"{segment!r} in {path!r} is no ACPI name: 1 to 4 of A-Z, 0-9, _")
    if len(segments) > 255:
        raise AmlError(f"an ACPI path of {len(segments)} segments; 255 is the most")
    encoded = b"".join(segment.ljust(4, "_").encode() for segment in segments)
    match len(segments):
        case 0:
            head = b"\x00"
        case 1:
            head = b""
        case 2:
            head = b"\x2e"
        case count:
            head = bytes([0x2F, count])
    return prefix[0].encode() + head + encoded


def integer(value: int) -> bytes:
    """A constant in its shortest form (20.2.3): Zero, One, Ones, or 1 to 8 bytes."""
    match value:
        case 0:
            return b"\x00"
        case 1:
            return b"\x01"
        case 0xFFFF_FFFF_FFFF_FFFF:
            return b"\xff"
    for limit, prefix, code in (
        (1 << 8, b"\x0a", "<B"),
        (1 << 16, b"\x0b", "<H"),
        (1 << 32, b"\x0c", "<I"),
        (1 << 64, b"\x0e", "<Q"),
    ):
        if 0 <= value < limit:
            return prefix + struct.pack(code, value)
    raise AmlError(f"{value} is no AML integer: 0 to 2**64 - 1")


def string(text: str) -> bytes:
    """A String: ASCII without NUL, NUL-terminated (20.2.3)."""
    if "\0" in text or not text.isascii():
        raise AmlError(f"{text!r} is no AML string: ASCII without NUL only")
    return b"\x0d" + text.encode("ascii") + b"\0"


def eisa_id(text: str) -> bytes:
    """`PNP0A05` as the compressed 32-bit integer of ASL's EISAID macro (19.3.4)."""
    if not _EISA_ID.fullmatch(text):
        raise AmlError(f"{text!r} is no EISA id: three letters and four hexadecimal digits")
    letters = 0
    for letter in text[:3]:
        letters = letters << 5 | ord(letter) - ord("A") + 1
    big_endian = struct.pack(">HH", letters, int(text[3:], 16))
    # always the DWord form, as a device's id is compared, not computed with
    return b"\x0c" + big_endian

"""SMBIOS: who the machine is, as `dmidecode`, systemd and cloud-init read it.

Layouts: SMBIOS 3.0 (DMTF DSP0134), 5.2.2 for the entry point, 6.1.3 for texts, 7.2, 7.4, 7.12
and 7.33 for the structures. Of what QEMU makes for `virt` (hw/smbios/smbios.c), processors and
memory are left out: a guest knows them by ACPI.
"""

from __future__ import annotations

import struct
import uuid
from enum import IntEnum

from attrs import field, frozen

from hpcore.errors import HpcoreError

MOST_BYTES = 0x1_0000
"""Of all structures. Far more than anybody writes there, and the blob has room for it."""

MOST_TEXTS = 255
"""Of one structure, in which a byte says which text is meant."""

_POWER_SWITCH, _OTHER, _SAFE, _UNKNOWN = 6, 1, 3, 2


class IdentityError(HpcoreError, ValueError):
    """Something that SMBIOS can't hold; the text says what and why."""


class Structure(IntEnum):
    """Types of structures, as far as they are needed."""

    SYSTEM = 1
    CHASSIS = 3
    OEM_STRINGS = 11
    BOOT_INFORMATION = 32
    END = 127


@frozen
class Identity:
    """What the guest is told of who it is: QEMU's names, unless its user says otherwise.

    An empty text is none. `oem_strings` are where systemd, for example, finds credentials.
    """

    uuid: uuid.UUID
    manufacturer: str = "QEMU"
    product: str = "QEMU Virtual Machine"
    version: str = ""
    serial: str = ""
    sku: str = ""
    family: str = ""
    oem_strings: tuple[str, ...] = field(default=())


def entry_point(address: int, size: int) -> bytes:
    """The 64-bit entry point to `size` bytes of structures at `address`."""
    length, major, minor, entry_revision = 24, 3, 0, 1
    data = bytearray(
        struct.pack(
            "<5sBBBBBBBIQ",
            b"_SM3_", 0, length, major, minor, 0, entry_revision, 0, size, address,
        )
    )  # fmt: skip
    data[5] = -sum(data) & 0xFF
    return bytes(data)


def structures(identity: Identity) -> bytes:
    """Everything that the entry point leads to. Raises IdentityError."""
    kinds = [_system(identity), _chassis(identity), _oem_strings(identity.oem_strings)]
    kinds += [(Structure.BOOT_INFORMATION, bytes(7), []), (Structure.END, b"", [])]
    data = b"".join(
        _structure(handle, *kind) for handle, kind in enumerate(kinds) if kind is not None
    )
    if len(data) > MOST_BYTES:
        raise IdentityError(
            f"the machine's SMBIOS has {len(data)} bytes of at most {MOST_BYTES}; shorten its texts"
        )
    return data


_Kind = tuple[Structure, bytes, list[str]]
"""A structure's type, what stands in it behind the header, and its texts."""


def _system(who: Identity) -> _Kind:
    texts: list[str] = []
    body = struct.pack(
        "<BBBB16sBBB",
        _number(texts, who.manufacturer), _number(texts, who.product),
        _number(texts, who.version), _number(texts, who.serial),
        who.uuid.bytes_le, _POWER_SWITCH, _number(texts, who.sku), _number(texts, who.family),
    )  # fmt: skip
    return Structure.SYSTEM, body, texts


def _chassis(who: Identity) -> _Kind:
    texts: list[str] = []
    body = struct.pack(
        "<BBBBBBBBBIBBBBB",
        _number(texts, who.manufacturer), _OTHER, _number(texts, who.version),
        0, 0,  # no serial number and no asset tag of its own
        _SAFE, _SAFE, _SAFE, _UNKNOWN,  # boot-up, power supply, temperature, security
        0, 0, 0, 0, 0, 0,
    )  # fmt: skip
    return Structure.CHASSIS, body, texts


def _oem_strings(texts: tuple[str, ...]) -> _Kind | None:
    if len(texts) > MOST_TEXTS:
        raise IdentityError(f"{len(texts)} OEM strings; SMBIOS counts up to {MOST_TEXTS}")
    return (Structure.OEM_STRINGS, bytes([len(texts)]), list(texts)) if texts else None


def _number(texts: list[str], text: str) -> int:
    """The number of `text` among a structure's, from 1; 0 says that there is none."""
    if not text:
        return 0
    texts.append(text)
    return len(texts)


def _structure(handle: int, kind: Structure, body: bytes, texts: list[str]) -> bytes:
    header = struct.pack("<BBH", kind, 4 + len(body), handle)
    return header + body + (b"".join(map(_encoded, texts)) or b"\0") + b"\0"


def _encoded(text: str) -> bytes:
    """`text` with the NUL that ends it: an empty one would end the structure."""
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise IdentityError(f"{text!r} is no text of SMBIOS: it is not UTF-8") from error
    if not data or b"\0" in data:
        raise IdentityError(f"{text!r} is no text of SMBIOS: empty, or with a NUL in it")
    return data + b"\0"

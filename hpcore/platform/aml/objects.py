"""Named objects and data: what stands in a DSDT outside of any method's flow.

A term is `bytes`; an `int` may stand wherever a value is expected. Source: ACPI 6.5,
20.2.5 (names and objects) and 20.2.3 (data).
"""

from __future__ import annotations

from enum import IntEnum

from attrs import frozen

from hpcore.platform.aml.encoding import (
    AmlError,
    encode_length,
    integer,
    name_string,
    package,
)

Value = bytes | int
"""An encoded term, or a number that stands for its constant."""

MAX_ARGUMENTS = 7


class Space(IntEnum):
    """Region spaces of an OperationRegion (20.2.5.2)."""

    SYSTEM_MEMORY = 0
    SYSTEM_IO = 1


class Access(IntEnum):
    """How the units of a Field are accessed (20.2.5.2, FieldFlags)."""

    ANY = 0
    BYTE = 1
    WORD = 2
    DWORD = 3
    QWORD = 4


@frozen
class Bits:
    """A named unit of a Field, `width` bits wide, right behind the unit before it."""

    name: str
    width: int


@frozen
class Gap:
    """`width` bits of a Field that have no name."""

    width: int


def value(term: Value) -> bytes:
    """`term` as AML."""
    return integer(term) if isinstance(term, int) else term


def ref(path: str) -> bytes:
    """A reference to a named object, or the call of a method without arguments."""
    return name_string(path)


def scope(path: str, *terms: bytes) -> bytes:
    """Scope: `terms` inside the object that `path` names."""
    return b"\x10" + package(name_string(path) + b"".join(terms))


def device(path: str, *terms: bytes) -> bytes:
    """Device."""
    return b"\x5b\x82" + package(name_string(path) + b"".join(terms))


def name(path: str, data: Value) -> bytes:
    """Name: a variable with its first value."""
    return b"\x08" + name_string(path) + value(data)


def method(path: str, *terms: bytes, args: int = 0, serialized: bool = True) -> bytes:
    """Method (sync level 0). One that declares named objects must be serialized."""
    if not 0 <= args <= MAX_ARGUMENTS:
        raise AmlError(f"method {path} has {args} arguments; AML allows 0 to {MAX_ARGUMENTS}")
    flags = args | (0x08 if serialized else 0)
    return b"\x14" + package(name_string(path) + bytes([flags]) + b"".join(terms))


def mutex(path: str) -> bytes:
    """Mutex of sync level 0."""
    return b"\x5b\x01" + name_string(path) + b"\0"


def buffer(data: bytes) -> bytes:
    """Buffer that starts as `data`."""
    return b"\x11" + package(integer(len(data)) + data)


def data_package(*elements: Value) -> bytes:
    """Package of up to 255 elements."""
    if len(elements) > 255:
        raise AmlError(f"a Package of {len(elements)} elements; 255 is the most")
    return b"\x12" + package(bytes([len(elements)]) + b"".join(map(value, elements)))


def operation_region(path: str, space: Space, offset: Value, length: Value) -> bytes:
    """OperationRegion. In a method `offset` may be computed; it lives until it returns."""
    return b"\x5b\x80" + name_string(path) + bytes([space]) + value(offset) + value(length)


def field(region: str, access: Access, *units: Bits | Gap) -> bytes:
    """Field over `region`: NoLock, Preserve."""
    encoded = b"".join(
        (b"\0" if isinstance(unit, Gap) else _segment(unit.name)) + encode_length(unit.width)
        for unit in units
    )
    return b"\x5b\x81" + package(name_string(region) + bytes([access]) + encoded)


def _segment(text: str) -> bytes:
    encoded = name_string(text)
    if len(encoded) != 4:
        raise AmlError(f"a field unit is named by one segment, not by {text!r}")
    return encoded

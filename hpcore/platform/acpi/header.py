"""The header that every ACPI table starts with, and the checksum over the table.

Source: ACPI 6.5, 5.2.6; for generic addresses 5.2.3.2.
"""

from __future__ import annotations

import struct

OEM_ID = b"HPCORE"
OEM_TABLE_ID = b"HPVIRT  "
CREATOR_ID = b"HPCR"
HEADER_SIZE = 36
CHECKSUM_OFFSET = 9

_HEADER = struct.Struct("<4sIBB6s8sI4sI")


def table(signature: bytes, revision: int, body: bytes) -> bytes:
    """`body` behind its header, with a checksum that makes all bytes sum to 0."""
    header = _HEADER.pack(
        signature, HEADER_SIZE + len(body), revision, 0, OEM_ID, OEM_TABLE_ID, 1, CREATOR_ID, 1
    )
    return with_checksum(header + body, CHECKSUM_OFFSET, HEADER_SIZE + len(body))


def with_checksum(data: bytes, offset: int, length: int) -> bytes:
    """`data` with the byte at `offset` set so that the first `length` bytes sum to 0."""
    out = bytearray(data)
    out[offset] = 0
    out[offset] = -sum(out[:length]) & 0xFF
    return bytes(out)


def memory_address(address: int) -> bytes:
    """A Generic Address Structure of a 32-bit register in memory, accessed as a DWord."""
    return struct.pack("<BBBBQ", 0, 32, 0, 3, address)

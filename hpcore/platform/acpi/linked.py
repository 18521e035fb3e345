"""Tables that are not placed yet: what in them depends on where they, and others, will lie.

Who places them: `hpcore.platform.firmware`, in the guest's memory, before the guest starts; or
firmware in the guest, by a script of `hpcore.platform.table_loader`.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from types import MappingProxyType

from attrs import field, frozen

from hpcore.platform.acpi.header import CHECKSUM_OFFSET, with_checksum

ADDRESS = struct.Struct("<Q")
"""An address of a table, as another holds it."""


@frozen
class Checksum:
    """The byte at `offset` makes the first `length` bytes sum to 0."""

    offset: int
    length: int


@frozen
class LinkedTable:
    """A table, or the RSDP.

    `links` names, by their offsets, the tables whose addresses stand in it. Until it is placed
    `data` has 0 there. `checksums` are to be made in their order, as one may be in another's range.
    """

    name: str
    data: bytes
    checksums: tuple[Checksum, ...]
    links: Mapping[int, str] = field(factory=lambda: MappingProxyType({}))

    @classmethod
    def of(cls, data: bytes, links: Mapping[int, str] | None = None) -> LinkedTable:
        """The table in `data`, which has the header of an ACPI table."""
        checksums = (Checksum(CHECKSUM_OFFSET, len(data)),)
        return cls(data[:4].decode("ascii"), data, checksums, MappingProxyType(dict(links or {})))

    def placed(self, addresses: Mapping[str, int]) -> bytes:
        """The table with the addresses of those that it leads to, and with its checksums."""
        data = bytearray(self.data)
        for offset, name in self.links.items():
            ADDRESS.pack_into(data, offset, addresses[name])
        done = bytes(data)
        for checksum in self.checksums:
            done = with_checksum(done, checksum.offset, checksum.length)
        return done

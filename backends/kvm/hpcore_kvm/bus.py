"""Which device answers at which guest-physical address, and what happens where none does."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from typing import Protocol

import structlog
from attrs import frozen

log = structlog.get_logger(__name__)


class Device(Protocol):
    """What answers in a region. Called on vCPU threads; `offset` is from the region's base."""

    def read(self, offset: int, size: int, /) -> int:
        """The value of `size` bytes at `offset`."""

    def write(self, offset: int, size: int, value: int, /) -> None:
        """Take `value`, `size` bytes long, at `offset`."""


@frozen
class Region:
    """`size` bytes of guest-physical address space from `base` on."""

    base: int
    size: int
    device: Device


class Bus:
    """The regions, which do not overlap and do not change."""

    def __init__(self, *regions: Region) -> None:
        self.regions = tuple(sorted(regions, key=lambda region: region.base))
        self._bases = [region.base for region in self.regions]
        for low, high in itertools.pairwise(self.regions):
            if low.base + low.size > high.base:
                raise ValueError(f"the regions at {low.base:#x} and {high.base:#x} overlap")
        self.strays = 0

    def read(self, address: int, size: int) -> int:
        """What the guest reads; all ones where there is nothing, as from a bus that floats."""
        region = self._find(address, size)
        if region is None:
            self._stray("read", address, size)
            return (1 << 8 * size) - 1
        return region.device.read(address - region.base, size)

    def write(self, address: int, size: int, value: int) -> None:
        """What the guest writes; dropped where there is nothing."""
        region = self._find(address, size)
        if region is None:
            self._stray("write", address, size)
        else:
            region.device.write(address - region.base, size, value)

    def undecodable(self, address: int) -> None:
        """The guest reaches for a device by what cannot be decoded, and gets an abort for it."""
        what = "the guest's access cannot be decoded; it gets an abort"
        self._tell(what, address=f"{address:#x}")

    def _find(self, address: int, size: int) -> Region | None:
        at = bisect_right(self._bases, address) - 1
        if at < 0:
            return None
        region = self.regions[at]
        return region if address + size <= region.base + region.size else None

    def _stray(self, what: str, address: int, size: int) -> None:
        self._tell(f"the guest's {what} meets no device", address=f"{address:#x}", size=size)

    def _tell(self, what: str, **about: object) -> None:
        """A guest can do this all day, so the 1st, 2nd, 4th, 8th ... is told."""
        self.strays += 1
        if self.strays & (self.strays - 1) == 0:
            log.warning(what, **about, total=self.strays)

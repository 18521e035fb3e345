"""MMIO finds its device, and what finds none is counted, told sparingly, and does no harm."""

from __future__ import annotations

import pytest
import structlog
from hpcore_kvm.bus import Bus, Region


class Memory:
    """A device that remembers."""

    def __init__(self) -> None:
        self.writes: list[tuple[int, int, int]] = []

    def read(self, offset: int, size: int) -> int:
        return offset << 8 | size

    def write(self, offset: int, size: int, value: int) -> None:
        self.writes.append((offset, size, value))


def test_an_access_reaches_its_device_at_the_offset_in_the_region() -> None:
    low, high = Memory(), Memory()
    bus = Bus(Region(0x9000, 0x1000, high), Region(0x1000, 0x10, low))
    assert bus.read(0x1004, 4) == 0x404
    assert bus.read(0x9FFC, 4) == 0xFFC04
    bus.write(0x9000, 1, 7)
    assert high.writes == [(0, 1, 7)]
    assert low.writes == []
    assert bus.strays == 0


@pytest.mark.parametrize(("address", "size"), [(0, 4), (0xFFF, 1), (0x1010, 1), (0x100E, 4)])
def test_a_stray_read_is_all_ones_of_its_size(address: int, size: int) -> None:
    bus = Bus(Region(0x1000, 0x10, Memory()))
    assert bus.read(address, size) == (1 << 8 * size) - 1
    assert bus.strays == 1


def test_a_stray_write_is_dropped() -> None:
    device = Memory()
    bus = Bus(Region(0x1000, 0x10, device))
    bus.write(0x100C, 8, 1)  # reaches over the end
    assert device.writes == []
    assert bus.strays == 1


def test_strays_are_told_the_1st_2nd_4th_8th_time() -> None:
    bus = Bus()
    with structlog.testing.capture_logs() as logs:
        for _ in range(1000):
            bus.read(0, 4)
    assert [entry["total"] for entry in logs] == [1 << n for n in range(10)]


def test_what_cannot_be_decoded_is_told_like_a_stray() -> None:
    bus = Bus()
    with structlog.testing.capture_logs() as logs:
        for _ in range(5):
            bus.undecodable(0x0A00_0000)
    assert [entry["total"] for entry in logs] == [1, 2, 4]
    assert {entry["address"] for entry in logs} == {"0xa000000"}


def test_regions_that_overlap_are_refused() -> None:
    with pytest.raises(ValueError, match=r"0x1000 and 0x100f overlap"):
        Bus(Region(0x100F, 4, Memory()), Region(0x1000, 0x10, Memory()))

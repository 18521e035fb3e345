"""What a guest and a user may do to the hotplug registers, at random, as bytes that shrink.

A byte string says what happens, five bytes an operation, so that hypothesis shrinks a failing
case well and a long run by hand draws fast.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from hpcore.platform.hotplug_registers import COMMAND, DATA, FLAGS, LENGTH, SELECTOR

SLOTS = 64
"""Possible vCPUs of both sides: QEMU can create as many in its life, with TCG."""

USED = 4
"""The slots that most operations are about, so that they meet."""

BYTES = 5


@frozen
class Read:
    """A guest's load from the block."""

    offset: int
    size: int


@frozen
class Write:
    """A guest's store to the block."""

    offset: int
    size: int
    value: int


@frozen
class TakeEvents:
    """The guest reads what the interrupt was about; `size` only where that is a GED."""

    size: int = 4


@frozen
class Add:
    """`device_add` of the vCPU in `slot`."""

    slot: int


@frozen
class Remove:
    """`device_del` of the vCPU in `slot`."""

    slot: int


@frozen
class Reset:
    """`system_reset`."""


Operation = Read | Write | TakeEvents | Add | Remove | Reset

SIZES = (1, 2, 4, 8)
SELECTORS = (*range(USED), *range(USED), 5, SLOTS - 1, SLOTS, SLOTS + 1, 0x8000_0000, 0xFFFF_FFFF)
REACHED = (*range(16), SLOTS - 1)
"""The slots that a case can select, and so leave something in."""

FLAG_STORES = (2, 4, 8, 8, 16, 2 | 4, 4 | 8, 8 | 16, 2 | 16, 0xFF, 0, 1, 32, 0xE0)
COMMANDS = (0, 0, 0, 1, 2, 2, 3, 4, 0x80, 0xFF)
DATA_STORES = (0, 1, 3, 0x80, 0x84, 0x103, 0xFFFF_FFFF)


def decode(data: bytes) -> list[Operation]:
    """The operations that `data` stands for; any bytes stand for some."""
    return list(_decode(data))


def _decode(data: bytes) -> Iterator[Operation]:
    for start in range(0, len(data) - BYTES + 1, BYTES):
        kind, a, b, c, d = data[start : start + BYTES]
        if kind < 60:
            yield Read((FLAGS, DATA, SELECTOR, COMMAND)[a % 4], (1, 4)[b % 2])
        elif kind < 100:
            yield Write(SELECTOR, 4, SELECTORS[a % len(SELECTORS)])
        elif kind < 130:
            yield Write(FLAGS, 1, FLAG_STORES[a % len(FLAG_STORES)])
        elif kind < 165:
            yield Write(COMMAND, 1, COMMANDS[a % len(COMMANDS)])
        elif kind < 185:
            yield Write(DATA, 4, DATA_STORES[a % len(DATA_STORES)])
        elif kind < 205:
            yield Read(*_anywhere(a, b))
        elif kind < 220:
            offset, size = _anywhere(a, b)
            yield Write(offset, size, _value(size, c, d))
        elif kind < 237:
            yield TakeEvents(SIZES[a % 4] if b % 4 == 0 else 4)
        elif kind < 245:
            yield Add(a % USED)
        elif kind < 255:
            yield Remove(a % USED)
        else:
            yield Reset()


def _anywhere(a: int, b: int) -> tuple[int, int]:
    """Any offset and width within the block, aligned or not."""
    size = SIZES[a % 4]
    return b % (LENGTH - size + 1), size


def _value(size: int, c: int, d: int) -> int:
    """Few bits, in two of the bytes, so that the rest does not always select no slot."""
    return (c % 16 | (d % 16) << 8 * (d % size)) & (1 << 8 * size) - 1

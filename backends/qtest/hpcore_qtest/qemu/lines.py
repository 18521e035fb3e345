"""The lines of qtest, QEMU's device-test protocol. None that QEMU would trip over can be made.

QEMU asserts on what it can't parse (an empty line, a missing argument, a trailing CR, a
GPIO number that is not there) and is gone, so a line is checked here, before it is sent.
Source: the head comment and qtest_process_command() of softmmu/qtest.c (system/qtest.c
from QEMU 8.2 on).
"""

from __future__ import annotations

import re
from typing import NewType

from attrs import frozen

Line = NewType("Line", str)
"""One command, without its newline, that QEMU can parse."""

MOST_BULK = 1 << 20
"""Bytes that one bulk read or write may move; its line is twice as long."""

PORTS = 1 << 16

_LETTER = {1: "b", 2: "w", 4: "l", 8: "q"}
_PATH = re.compile(r"/[!-~]+")
_NAME = re.compile(r"[!-~]+")
_SPOKEN = re.compile(
    r"read[bwlq] 0x[0-9a-f]{1,16}|write[bwlq] 0x[0-9a-f]{1,16} 0x[0-9a-f]{1,16}"
    r"|in[bwl] 0x[0-9a-f]{1,4}|out[bwl] 0x[0-9a-f]{1,4} 0x[0-9a-f]{1,8}"
    r"|endianness|clock_step( [0-9]{1,18})?|clock_set [0-9]{1,18}"
)


class BadLine(ValueError):
    """A command that would end QEMU. The text says what is wrong with it."""


@frozen
class Pin:
    """One GPIO input: the QOM path of its device, the array's name, and which of `count`."""

    path: str
    number: int
    count: int
    name: str = "unnamed-gpio-in"


def read(address: int, size: int) -> Line:
    """Read `size` bytes (1, 2, 4 or 8) of the guest's memory at `address`."""
    return Line(f"read{_letter(size)} {_within(address, 1 << 64, 'address'):#x}")


def write(address: int, size: int, value: int) -> Line:
    """Write `size` bytes (1, 2, 4 or 8) of the guest's memory at `address`."""
    letter = _letter(size)
    _within(value, 1 << 8 * size, "value")
    return Line(f"write{letter} {_within(address, 1 << 64, 'address'):#x} {value:#x}")


def port_read(port: int, size: int) -> Line:
    """Read an x86 I/O port of `size` bytes (1, 2 or 4)."""
    return Line(f"in{_letter(size, most=4)} {_within(port, PORTS, 'port'):#x}")


def port_write(port: int, size: int, value: int) -> Line:
    """Write an x86 I/O port of `size` bytes (1, 2 or 4)."""
    letter = _letter(size, most=4)
    _within(value, 1 << 8 * size, "value")
    return Line(f"out{letter} {_within(port, PORTS, 'port'):#x} {value:#x}")


def read_bytes(address: int, count: int) -> Line:
    """Read `count` bytes, 1 to MOST_BULK of them."""
    _count(count)
    return Line(f"read {_within(address, 1 << 64, 'address'):#x} {count:#x}")


def write_bytes(address: int, data: bytes) -> Line:
    """Write `data`, 1 to MOST_BULK bytes."""
    _count(len(data))
    return Line(f"write {_within(address, 1 << 64, 'address'):#x} {len(data):#x} 0x{data.hex()}")


def intercept_in(path: str) -> Line:
    """Tell of every change of the device's inputs. One device for a QEMU's life."""
    return Line(f"irq_intercept_in {_text(_PATH, path, 'path')}")


def intercept_out(path: str, name: str | None = None) -> Line:
    """Tell of the device's outputs, which then reach nobody else."""
    named = "" if name is None else f" {_text(_NAME, name, 'name')}"
    return Line(f"irq_intercept_out {_text(_PATH, path, 'path')}{named}")


def set_irq_in(pin: Pin, level: int) -> Line:
    """Set the input `pin` to `level`, 0 or 1."""
    _within(pin.number, pin.count, "number of the input")
    _within(level, 2, "level")
    path, name = _text(_PATH, pin.path, "path"), _text(_NAME, pin.name, "name")
    return Line(f"set_irq_in {path} {name} {pin.number} {level}")


def parse(text: str) -> Line:
    """`text` as a line, if it is a register access or a question that QEMU can parse."""
    if not _SPOKEN.fullmatch(text):
        raise BadLine(f"{text!r} is no qtest command that QEMU would survive")
    return Line(text)


def _letter(size: int, most: int = 8) -> str:
    letter = _LETTER.get(size)
    if letter is None or size > most:
        raise BadLine(f"an access of {size} bytes; there are 1, 2, 4{' and 8' * (most == 8)}")
    return letter


def _within(value: int, end: int, what: str) -> int:
    if not 0 <= value < end:
        raise BadLine(f"{what} {value:#x} is not within 0 and {end - 1:#x}")
    return value


def _count(count: int) -> None:
    if not 1 <= count <= MOST_BULK:
        raise BadLine(f"{count} bytes at once; 1 to {MOST_BULK} can be moved")


def _text(pattern: re.Pattern[str], text: str, what: str) -> str:
    if not pattern.fullmatch(text):
        raise BadLine(f"{text!r} is no {what} that fits into a line")
    return text

"""What a method does: expressions, control flow, synchronisation.

Results go to `target`, by default nowhere, as ASL's operators do. Source: ACPI 6.5,
20.2.5.3 (statements) and 20.2.5.4 (expressions).
"""

from __future__ import annotations

from hpcore.platform.aml.encoding import AmlError, name_string, package
from hpcore.platform.aml.objects import Value, value

NOWHERE = b"\0"
FOREVER = 0xFFFF
"""The timeout of an `acquire` that waits until it gets the mutex."""


def local(number: int) -> bytes:
    """LocalX, 0 to 7."""
    if not 0 <= number <= 7:
        raise AmlError(f"there is no Local{number}: 0 to 7")
    return bytes([0x60 + number])


def arg(number: int) -> bytes:
    """ArgX, 0 to 6."""
    if not 0 <= number <= 6:
        raise AmlError(f"there is no Arg{number}: 0 to 6")
    return bytes([0x68 + number])


def store(source: Value, target: bytes) -> bytes:
    """`target` = `source`."""
    return b"\x70" + value(source) + target


def add(left: Value, right: Value, target: bytes = NOWHERE) -> bytes:
    """`left` + `right`."""
    return b"\x72" + value(left) + value(right) + target


def subtract(left: Value, right: Value, target: bytes = NOWHERE) -> bytes:
    """`left` - `right`, modulo 2**64."""
    return b"\x74" + value(left) + value(right) + target


def shift_left(left: Value, count: Value, target: bytes = NOWHERE) -> bytes:
    """`left` << `count`."""
    return b"\x79" + value(left) + value(count) + target


def shift_right(left: Value, count: Value, target: bytes = NOWHERE) -> bytes:
    """`left` >> `count`."""
    return b"\x7a" + value(left) + value(count) + target


def bit_and(left: Value, right: Value, target: bytes = NOWHERE) -> bytes:
    """`left` & `right`."""
    return b"\x7b" + value(left) + value(right) + target


def bit_or(left: Value, right: Value, target: bytes = NOWHERE) -> bytes:
    """`left` | `right`."""
    return b"\x7d" + value(left) + value(right) + target


def dword_field(source: Value, offset: Value, path: str) -> bytes:
    """CreateDWordField: 32 bits of a Buffer at byte `offset`, named until the method ends."""
    return b"\x8a" + value(source) + value(offset) + name_string(path)


def increment(target: bytes) -> bytes:
    """`target` += 1."""
    return b"\x75" + target


def equal(left: Value, right: Value) -> bytes:
    """LEqual."""
    return b"\x93" + value(left) + value(right)


def greater(left: Value, right: Value) -> bytes:
    """LGreater."""
    return b"\x94" + value(left) + value(right)


def less(left: Value, right: Value) -> bytes:
    """LLess."""
    return b"\x95" + value(left) + value(right)


def negate(operand: Value) -> bytes:
    """LNot."""
    return b"\x92" + value(operand)


def not_equal(left: Value, right: Value) -> bytes:
    """LNotEqual."""
    return negate(equal(left, right))


def not_less(left: Value, right: Value) -> bytes:
    """LGreaterEqual."""
    return negate(less(left, right))


def either(left: Value, right: Value) -> bytes:
    """LOr."""
    return b"\x91" + value(left) + value(right)


def both(left: Value, right: Value) -> bytes:
    """LAnd."""
    return b"\x90" + value(left) + value(right)


def when(condition: Value, *terms: bytes) -> bytes:
    """If."""
    return b"\xa0" + package(value(condition) + b"".join(terms))


def otherwise(*terms: bytes) -> bytes:
    """Else; stands right behind a `when`."""
    return b"\xa1" + package(b"".join(terms))


def repeat(condition: Value, *terms: bytes) -> bytes:
    """While."""
    return b"\xa2" + package(value(condition) + b"".join(terms))


def leave() -> bytes:
    """Break: end the innermost While."""
    return b"\xa5"


def give(result: Value) -> bytes:
    """Return."""
    return b"\xa4" + value(result)


def call(path: str, *arguments: Value) -> bytes:
    """The call of a method; the caller knows how many arguments it takes."""
    return name_string(path) + b"".join(map(value, arguments))


def notify(path: str, event: Value) -> bytes:
    """Notify the device that `path` names."""
    return b"\x86" + name_string(path) + value(event)


def acquire(path: str, timeout: int = FOREVER) -> bytes:
    """Acquire a mutex; `timeout` in milliseconds. True if it was not got."""
    return b"\x5b\x23" + name_string(path) + timeout.to_bytes(2, "little")


def release(path: str) -> bytes:
    """Release a mutex."""
    return b"\x5b\x27" + name_string(path)


def sleep(milliseconds: Value) -> bytes:
    """Sleep: lets other methods run meanwhile."""
    return b"\x5b\x22" + value(milliseconds)


def stall(microseconds: Value) -> bytes:
    """Stall: at most 100 microseconds, nothing else runs."""
    return b"\x5b\x21" + value(microseconds)

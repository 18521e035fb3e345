"""QEMU's trace as the `simple` backend writes it: `trace-PID`, binary.

A header of three 64-bit words (all ones, the magic, the version), then records. A record of
type 0 gives an event's number its name; one of type 1 is an event: its number, nanoseconds, its
length, the process, the arguments. An integer takes eight bytes, a text four bytes of length and
itself. Source: trace/simple.c. Version 4, in use since QEMU 2.8.

Each event is handed on as the line that the log backend would have printed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import IO

HEADER = 0xFFFF_FFFF_FFFF_FFFF
MAGIC = 0xF2B1_77CB_0AA4_29B4
DROPPED = 0xFFFF_FFFF_FFFF_FFFE
BEGINNING = struct.pack("=QQ", HEADER, MAGIC)
VERSIONS = (3, 4)
LONGEST = 16 << 20
"""Bytes of one record: a longer one is damage, not an event."""

_Texts = Callable[[list[int], list[str]], str]

_SHAPES: dict[str, tuple[str, _Texts]] = {
    "cpuhp_acpi_write_cmd": ("nn", lambda n, t: f"idx[0x{n[0]:x}] cmd: 0x{n[1]:x}"),
    "cpuhp_acpi_cpu_has_events": (
        "nnn", lambda n, t: f"idx[0x{n[0]:x}] inserting: {n[1]}, removing: {n[2]}"),
    "cpuhp_acpi_read_flags": ("nn", lambda n, t: f"idx[0x{n[0]:x}] flags: 0x{n[1]:x}"),
    "cpuhp_acpi_clear_inserting_evt": ("n", lambda n, t: f"idx[0x{n[0]:x}]"),
    "cpuhp_acpi_clear_remove_evt": ("n", lambda n, t: f"idx[0x{n[0]:x}]"),
    "cpuhp_acpi_write_ost_ev": ("nn", lambda n, t: f"idx[0x{n[0]:x}] OST EVENT: 0x{n[1]:x}"),
    "cpuhp_acpi_write_ost_status": ("nn", lambda n, t: f"idx[0x{n[0]:x}] OST STATUS: 0x{n[1]:x}"),
    "cpuhp_acpi_ejecting_cpu": ("n", lambda n, t: f"0x{n[0]:x}"),
    "cpu_reset": ("n", lambda n, t: f"{n[0]}"),
    "gicv3_dist_write": (
        "nnnn", lambda n, t: f"GICv3 distributor write: offset 0x{n[0]:x} data 0x{n[1]:x} "
                             f"size {n[2]} secure {n[3]}"),
    "acpi_gpe_sts_ioport_writeb": ("nn", lambda n, t: f"addr: 0x{n[0]:x} <== 0x{n[1]:02x}"),
    "acpi_gpe_en_ioport_writeb": ("nn", lambda n, t: f"addr: 0x{n[0]:x} <== 0x{n[1]:02x}"),
    "handle_qmp_command": ("nt", lambda n, t: f"mon 0x{n[0]:x} req: {t[0]}"),
    "monitor_qmp_respond": ("nt", lambda n, t: f"mon 0x{n[0]:x} resp: {t[0]}"),
}  # fmt: skip
"""The arguments of the events that are read, n a number and t a text; and how they are printed."""


class Damaged(Exception):
    """The rest of the file cannot be read: what is wrong, and after how many records."""


def records(stream: IO[bytes]) -> Iterator[str | None]:
    """The events of a file that begins with BEGINNING, one line each; None for one not read.

    Raises Damaged where a record is cut short or makes no sense; what came before it is given.
    """
    head = stream.read(24)
    if len(head) < 24:
        raise Damaged("its header is cut short")
    version = struct.unpack("=QQQ", head)[2]
    if version not in VERSIONS:
        raise Damaged(f"its version is {version}; {VERSIONS[0]} to {VERSIONS[-1]} are read")
    names: dict[int, str] = {}
    count = 0
    while kind := _exactly(stream, 8, count, at_end=True):
        count += 1
        (type_,) = struct.unpack("=Q", kind)
        if type_ == 0:
            number, size = struct.unpack("=QL", _exactly(stream, 12, count))
            if size > 4096:
                raise Damaged(f"record {count} names an event by {size} bytes")
            names[number] = _exactly(stream, size, count).decode(errors="replace")
        elif type_ == 1:
            number, nanoseconds, size, process = struct.unpack(
                "=QQLL", _exactly(stream, 24, count)
            )
            if not 24 <= size <= LONGEST:
                raise Damaged(f"record {count} has a length of {size} bytes")
            body = _exactly(stream, size - 24, count)
            yield _line(names.get(number, ""), nanoseconds, process, body)
        else:
            raise Damaged(f"record {count} is of a type that there is not, {type_:#x}")


def _exactly(stream: IO[bytes], size: int, count: int, *, at_end: bool = False) -> bytes:
    data = stream.read(size)
    if len(data) == size or (at_end and not data):
        return data
    raise Damaged(f"it is cut short within record {count}")


def _line(name: str, nanoseconds: int, process: int, body: bytes) -> str | None:
    shape = _SHAPES.get(name)
    if shape is None:
        return None
    numbers: list[int] = []
    texts: list[str] = []
    at = 0
    for each in shape[0]:
        if each == "n":
            if at + 8 > len(body):
                return None
            numbers.append(struct.unpack_from("=Q", body, at)[0])
            at += 8
        else:
            if at + 4 > len(body):
                return None
            (size,) = struct.unpack_from("=L", body, at)
            texts.append(body[at + 4 : at + 4 + size].decode(errors="replace"))
            at += 4 + size
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{process}@{seconds}.{rest // 1000:06d}:{name} {shape[1](numbers, texts)}"

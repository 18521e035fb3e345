"""The interposer's policy page and messages, for hpcore's side of them.

The same as wire.h beside the interposer's C, which says what every field means; a test
compiles a program that prints the layout, and holds it against this.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

VERSION = 4
MAGIC = 0x6870_6770
VCPUS = 512
REGIONS = 4
LINE = 64
"""Bytes of a cache line: the interposer's words of two vCPUs are never in the same one."""

TOLD = 1024
"""How many messages the page remembers."""

HEAD = struct.Struct("<IIIII4x")
"""magic, version, possible vCPUs, the GED's SPI, whether QEMU outlives hpcore."""
REGION = struct.Struct("<QQ")
"""base and size of MMIO that is hpcore's."""
SEEN = struct.Struct("<IIIIQI36x")
"""The interposer's word of a vCPU, see `Seen`."""


class Seen(NamedTuple):
    """The interposer's word of a vCPU; `runs` counts its KVM_RUNs."""

    tid: int
    powered: int
    forced: int
    affinity: int
    runs: int
    gic: int


HEAD_AT = 0
REGION_AT = HEAD_AT + HEAD.size
GRANTED_AT = REGION_AT + REGIONS * REGION.size  # u8 a vCPU
FORCE_AT = GRANTED_AT + VCPUS  # u32 a vCPU
GIC_AT = FORCE_AT + 4 * VCPUS  # u32 a vCPU
ALLOWED_AT = GIC_AT + 4 * VCPUS  # u32
RESETS_AT = ALLOWED_AT + 4  # u32, the interposer's
SEEN_AT = -(-(RESETS_AT + 4) // LINE) * LINE

MESSAGE = struct.Struct("<IIQQQQ")
"""type, vcpu, a, b, c, d."""
COUNT = struct.Struct("<Q")
TOLD_AT = SEEN_AT + VCPUS * SEEN.size
ASKED_AT = TOLD_AT + COUNT.size
LAST_AT = ASKED_AT + COUNT.size
NOTE = struct.Struct("<QQIIII")
"""hpcore's own of a message: see `Note`."""
NOTE_AT = LAST_AT + TOLD * MESSAGE.size
DID_AT = NOTE_AT + TOLD * NOTE.size  # u64 a vCPU, and one for the machine
PAGE_SIZE = -(-(DID_AT + (VCPUS + 1) * COUNT.size) // LINE) * LINE

ANSWER = struct.Struct("<IIQ")
"""The type that is answered, nothing, the value."""


class Note(NamedTuple):
    """What hpcore notes when it is done with a message: the reports and the resets until then, and
    the guest's cursor; `rest` is its command, and 256 for a press of the power button."""

    number: int
    reports: int
    resets: int
    selector: int
    source: int
    rest: int


class Message(IntEnum):
    """What the interposer says."""

    HELLO = 1
    VM = 2
    VCPU = 3
    START = 4
    READ = 5
    WRITE = 6
    CPU_ON = 7
    CPU_OFF = 8
    FORCED = 9
    REWOUND = 10
    RESET = 11
    KEPT_OFF = 12
    GIC = 13
    AGAIN = 14
    RESUMED = 15


ANSWERED = frozenset({
    Message.HELLO, Message.AGAIN, Message.START, Message.READ, Message.WRITE,
})  # fmt: skip
"""The messages after which the interposer waits for an answer."""

UNCOUNTED = frozenset({Message.HELLO, Message.AGAIN, Message.RESUMED})
"""Those about the link itself; all others are counted, and remembered in the page."""

"""A guest of a dozen instructions that makes noise without end: it calls, or it prints.

Written down in words of the CPU, so that no compiler is needed. It is a `kernel` for any machine
that boots one: it has the header of an arm64 Image.
"""

from __future__ import annotations

import struct
from pathlib import Path

from hpcore.run.accelerator import GuestImages

UART = 0x0900_0000
"""The console of QEMU's virt machine."""

CPU_ON = 0xC400_0003
SMC, BACK_6, BACK_1 = 0xD400_0003, 0x17FF_FFFA, 0x17FF_FFFF
SEND = 0x3900_0085  # strb w5, [x4]


def calls(parked: int) -> list[int]:
    """CPU_ON of vCPU `parked`, whose place is below 16, for ever. A call may change x0 to x3."""
    return [
        *_number(0, CPU_ON), _low(1, parked), _low(2, 0x4000), _low(3, 0), SMC, BACK_6,
    ]  # fmt: skip


def prints() -> list[int]:
    """One character, for ever."""
    return [*_number(4, UART), _low(5, ord(".")), SEND, BACK_1]


def guest(directory: Path, words: list[int]) -> GuestImages:
    """The images of a guest that does `words`, in `directory`."""
    code = struct.pack(f"<{len(words)}I", *words)
    # branch to the code; text_offset, image_size, flags, magic: Linux' booting.rst
    header = struct.pack("<IIQQQQQQII", 0x1400_0010, 0, 0, 4096, 0xA, 0, 0, 0, 0x644D_5241, 0)
    kernel, initrd = directory / "noisy", directory / "noisy.cpio"
    kernel.write_bytes(header + code)
    name = b"TRAILER!!!\0"
    initrd.write_bytes(b"070701" + b"0" * 88 + b"%08x" % len(name) + b"0" * 8 + name + b"\0" * 3)
    return GuestImages(kernel, initrd, shell=False)


def _low(register: int, value: int) -> int:
    """movz x`register`, #`value`."""
    return 0xD280_0000 | value << 5 | register


def _number(register: int, value: int) -> list[int]:
    """The 32 bits of `value` in a register: movz, movk."""
    high = 0xF2A0_0000 | value >> 16 << 5 | register
    return [_low(register, value & 0xFFFF), high]

"""A guest of some instructions that does what its serial line tells it: a puppet.

As tests.kvm.programs, which see. An order is six words of 64 bits: what to do, and x0 to x4.
"""

from __future__ import annotations

import struct

from hpcore.guest.kernel import HEADER_SIZE
from hpcore.guest.magic import ARM64_IMAGE
from hpcore.platform import virt
from tests.kvm import programs
from tests.kvm.programs import Program

CALL, STORE, LOAD, STORE_64, LOAD_64, CHURN, TIMER, LOADS = range(1, 9)
"""What to do: an HVC with x0 to x4; x2 to the address in x1, of 32 or 64 bits; a load from
there; CHURN, an HVC that is a CPU_ON, and the target's CPU_OFF, x4 times; TIMER, which
leaves the virtual timer on, and due; and LOADS, loads from the address in x1, x2 times, and how
many ticks of the counter they took."""

ORDER = struct.Struct("<6Q")
RESULT_AT, BEGUN_AT, MAILBOX_SIZE = 48, 56, 64
"""In a mailbox: an order, what came of it, and whether its vCPU has begun."""

MAILBOXES = virt.KERNEL_BASE + 0x8000
"""vCPU 0's, and after it those of the others."""

FIRST: Program = (  # vCPU 0: reads orders from the serial line, and writes what came of them
    ("31: movz x8, #0x0900, lsl #16", 0xD2A1_2008),
    ("movz w10, #0x301", 0x5280_602A),
    ("str w10, [x8, #48]", 0xB900_310A),
    ("1: movz x9, #0x4020, lsl #16", 0xD2A8_0409),
    ("movk x9, #0x8000", 0xF290_0009),
    ("mov x11, x9", 0xAA09_03EB),
    ("mov x12, #48", 0xD280_060C),
    ("2: ldr w10, [x8, #24]", 0xB940_190A),
    ("tbz w10, #4, 22f", 0x3620_00AA),
    ("mov x13, #20000", 0xD289_C40D),
    ("21: subs x13, x13, #1", 0xF100_05AD),
    ("b.ne 21b", 0x54FF_FFE1),
    ("b 2b", 0x17FF_FFFB),
    ("22: ldr w10, [x8]", 0xB940_010A),
    ("strb w10, [x11], #1", 0x3800_156A),
    ("subs x12, x12, #1", 0xF100_058C),
    ("b.ne 2b", 0x54FF_FEE1),
    ("bl 6f", 0x9400_0012),
    ("mov x12, #8", 0xD280_010C),
    ("3: ldr w10, [x8, #24]", 0xB940_190A),
    ("tbnz w10, #5, 3b", 0x372F_FFEA),
    ("str w0, [x8]", 0xB900_0100),
    ("lsr x0, x0, #8", 0xD348_FC00),
    ("subs x12, x12, #1", 0xF100_058C),
    ("b.ne 3b", 0x54FF_FF61),
    ("b 1b", 0x17FF_FFEA),
)

SECOND: Program = (  # any other: its orders are in memory, where x0 points
    ("32: mov x9, x0", 0xAA00_03E9),
    ("mov x10, #1", 0xD280_002A),
    ("str x10, [x9, #56]", 0xF900_1D2A),
    ("4: ldr x10, [x9]", 0xF940_012A),
    ("cbz x10, 4b", 0xB4FF_FFEA),
    ("bl 6f", 0x9400_0004),
    ("str x0, [x9, #48]", 0xF900_1920),
    ("str xzr, [x9]", 0xF900_013F),
    ("b 4b", 0x17FF_FFFB),
)

OBEY: Program = (  # the order at x9; what came of it in x0
    ("6: ldr x10, [x9]", 0xF940_012A),
    ("ldp x0, x1, [x9, #8]", 0xA940_8520),
    ("ldp x2, x3, [x9, #24]", 0xA941_8D22),
    ("ldr x4, [x9, #40]", 0xF940_1524),
    ("cmp x10, #1", 0xF100_055F),
    ("b.eq 11f", 0x5400_0700),
    ("cmp x10, #2", 0xF100_095F),
    ("b.eq 12f", 0x5400_0700),
    ("cmp x10, #3", 0xF100_0D5F),
    ("b.eq 13f", 0x5400_0720),
    ("cmp x10, #4", 0xF100_115F),
    ("b.eq 14f", 0x5400_0720),
    ("cmp x10, #5", 0xF100_155F),
    ("b.eq 15f", 0x5400_0740),
    ("cmp x10, #7", 0xF100_1D5F),
    ("b.eq 24f", 0x5400_0740),
    ("cmp x10, #8", 0xF100_215F),
    ("b.eq 25f", 0x5400_0780),
    # CHURN: CPU_ON of x1, a CPU_OFF of it by its mailbox at x3, x4 times; how many failed
    ("mov x11, x4", 0xAA04_03EB),
    ("mov x12, #0", 0xD280_000C),
    ("mov x14, x0", 0xAA00_03EE),
    ("mov x15, x1", 0xAA01_03EF),
    ("mov x16, x2", 0xAA02_03F0),
    ("mov x17, x3", 0xAA03_03F1),
    ("16: mov x0, x14", 0xAA0E_03E0),
    ("mov x1, x15", 0xAA0F_03E1),
    ("mov x2, x16", 0xAA10_03E2),
    ("mov x3, x17", 0xAA11_03E3),
    ("hvc #0", 0xD400_0002),
    ("cbnz x0, 19f", 0xB500_0360),
    # wait until it has begun, unless it was taken; then it is told to go off, and does
    ("17: ldr x10, [x17, #56]", 0xF940_1E2A),
    ("cbnz x10, 23f", 0xB500_014A),
    ("movz x0, #4", 0xD280_0080),
    ("movk x0, #0xc400, lsl #16", 0xF2B8_8000),
    ("mov x1, x15", 0xAA0F_03E1),
    ("mov x2, #0", 0xD280_0002),
    ("hvc #0", 0xD400_0002),
    ("cmp x0, #1", 0xF100_041F),
    ("b.ne 17b", 0x54FF_FF01),
    ("ldr x10, [x17, #56]", 0xF940_1E2A),
    ("cbz x10, 20f", 0xB400_022A),
    ("23: str xzr, [x17, #56]", 0xF900_1E3F),
    ("movz x10, #2", 0xD280_004A),
    ("movk x10, #0x8400, lsl #16", 0xF2B0_800A),
    ("str x10, [x17, #8]", 0xF900_062A),
    ("mov x10, #1", 0xD280_002A),
    ("str x10, [x17]", 0xF900_022A),
    ("18: movz x0, #4", 0xD280_0080),
    ("movk x0, #0xc400, lsl #16", 0xF2B8_8000),
    ("mov x1, x15", 0xAA0F_03E1),
    ("mov x2, #0", 0xD280_0002),
    ("hvc #0", 0xD400_0002),
    ("cmp x0, #1", 0xF100_041F),
    ("b.ne 18b", 0x54FF_FF41),
    ("str xzr, [x17]", 0xF900_023F),
    ("b 20f", 0x1400_0002),
    ("19: add x12, x12, #1", 0x9100_058C),
    ("20: sub x11, x11, #1", 0xD100_056B),
    ("cbnz x11, 16b", 0xB5FF_FBCB),
    ("mov x0, x12", 0xAA0C_03E0),
    ("ret", 0xD65F_03C0),
    ("11: hvc #0", 0xD400_0002),
    ("ret", 0xD65F_03C0),
    ("12: str w2, [x1]", 0xB900_0022),
    ("mov x0, x2", 0xAA02_03E0),
    ("ret", 0xD65F_03C0),
    ("13: ldr w0, [x1]", 0xB940_0020),
    ("ret", 0xD65F_03C0),
    ("14: str x2, [x1]", 0xF900_0022),
    ("mov x0, x2", 0xAA02_03E0),
    ("ret", 0xD65F_03C0),
    ("15: ldr x0, [x1]", 0xF940_0020),
    ("ret", 0xD65F_03C0),
    ("24: msr cntv_tval_el0, xzr", 0xD51B_E31F),
    ("mov x0, #1", 0xD280_0020),
    ("msr cntv_ctl_el0, x0", 0xD51B_E320),
    ("ret", 0xD65F_03C0),
    ("25: mrs x11, cntvct_el0", 0xD53B_E04B),
    ("26: ldr w10, [x1]", 0xB940_002A),
    ("subs x2, x2, #1", 0xF100_0442),
    ("b.ne 26b", 0x54FF_FFC1),
    ("mrs x10, cntvct_el0", 0xD53B_E04A),
    ("sub x0, x10, x11", 0xCB0B_0140),
    ("ret", 0xD65F_03C0),
)

COUNT: Program = (  # the cycles of this vCPU are counted from here on, by an event of its host's
    ("movz x10, #0x8000, lsl #16", 0xD2B0_000A),
    ("msr pmcntenset_el0, x10", 0xD51B_9C2A),
    ("mov x10, #0x41", 0xD280_082A),
    ("msr pmcr_el0, x10", 0xD51B_9C0A),
)
COUNTED: Program = (  # vCPU 0, and any other, where they begin so
    *COUNT, ("b 31b", 0x17FF_FF85),
    *COUNT, ("b 32b", 0x17FF_FF9A),
)  # fmt: skip

PUPPET: Program = (*FIRST, *SECOND, *OBEY, *COUNTED)
ENTRY = virt.KERNEL_BASE + HEADER_SIZE + 4 * len(FIRST)
"""Where any other vCPU begins, with the address of its mailbox as context."""

COUNTED_AT = HEADER_SIZE + 4 * (len(PUPPET) - len(COUNTED))
COUNTED_ENTRY = virt.KERNEL_BASE + COUNTED_AT + 4 * len(COUNTED) // 2
"""As ENTRY, for a vCPU whose cycles are counted."""

IMAGE_SIZE = 0x1_0000
BRANCH = 0x1400_0000
"""An instruction: what is added to it is how many further it goes on."""

ANYWHERE_4K = 0xA
"""The header's flags: little-endian, pages of 4 KiB, placed anywhere (booting.rst)."""


def kernel(*, counted: bool = False) -> bytes:
    """The puppet as an arm64 Image. `counted` has vCPU 0 count its cycles, which takes a PMU."""
    magic = int.from_bytes(ARM64_IMAGE[1], "little")
    begin = BRANCH + (COUNTED_AT if counted else HEADER_SIZE) // 4
    header = struct.pack("<2I6Q2I", begin, 0, 0, IMAGE_SIZE, ANYWHERE_4K, 0, 0, 0, magic, 0)
    return header + programs.image(PUPPET)

"""Guest programs of a few instructions, as words: where the tests run there is no assembler.

Each line is an instruction and its encoding; tests/kvm_host assembles the one and compares
it with the other. Where x9 is used it holds an address that is no memory, so that a load or
store there ends KVM_RUN; the test sets it, and x0 to x3.
"""

from __future__ import annotations

from collections.abc import Sequence

Program = Sequence[tuple[str, int]]

SPIN: Program = (("b .", 0x1400_0000),)

STORE: Program = (  # an MMIO exit, again and again; x0 counts them
    ("str x0, [x9]", 0xF900_0120),
    ("add x0, x0, #1", 0x9100_0400),
    ("b .-8", 0x17FF_FFFE),
)

COPY: Program = (  # loads of every size, each stored where the test sees it
    ("ldrb w0, [x9]", 0x3940_0120),
    ("str x0, [x9]", 0xF900_0120),
    ("ldrh w0, [x9]", 0x7940_0120),
    ("str x0, [x9]", 0xF900_0120),
    ("ldr w0, [x9]", 0xB940_0120),
    ("str x0, [x9]", 0xF900_0120),
    ("ldr x0, [x9]", 0xF940_0120),
    ("strb w0, [x9]", 0x3900_0120),
    ("strh w0, [x9]", 0x7900_0120),
    ("str w0, [x9]", 0xB900_0120),
    ("b .", 0x1400_0000),
)

HVC: Program = (  # an SMCCC call with x0 to x3, then what it returned
    ("hvc #0", 0xD400_0002),
    ("str x0, [x9]", 0xF900_0120),
    ("b .-8", 0x17FF_FFFE),
)

SMC: Program = (
    ("smc #0", 0xD400_0003),
    ("str x0, [x9]", 0xF900_0120),
    ("b .-8", 0x17FF_FFFE),
)

LOAD: Program = (  # what is at the address in x0
    ("ldr x1, [x0]", 0xF940_0001),
    ("str x1, [x9]", 0xF900_0121),
    ("b .", 0x1400_0000),
)

POLL: Program = (  # reads of a device, again and again
    ("ldr w0, [x9]", 0xB940_0120),
    ("b .-4", 0x17FF_FFFF),
)

POLL_ONCE: Program = (  # one read of a device, and then nothing
    ("ldr w0, [x9]", 0xB940_0120),
    ("wfi", 0xD503_207F),
    ("b .-4", 0x17FF_FFFF),
)

TOUCH: Program = (  # one read of the device at the address in x0, and then nothing
    ("ldr w1, [x0]", 0xB940_0001),
    ("wfi", 0xD503_207F),
    ("b .-4", 0x17FF_FFFF),
)

IDLE: Program = (
    ("wfi", 0xD503_207F),
    ("b .-4", 0x17FF_FFFF),
)

ACKNOWLEDGE: Program = (  # wait for an interrupt, take it, say which it was, end it
    ("wfi", 0xD503_207F),
    ("mrs x0, S3_0_C12_C12_0", 0xD538_CC00),  # ICC_IAR1_EL1
    ("dsb sy", 0xD503_3F9F),
    ("str x0, [x9]", 0xF900_0120),
    ("msr S3_0_C12_C12_1, x0", 0xD518_CC20),  # ICC_EOIR1_EL1
    ("b .-20", 0x17FF_FFFB),
)

CALLER: Program = (  # does what a mailbox says, at x9 + 0; a second vCPU begins at the third
    ("movz x9, #0x0a00, lsl #16", 0xD2A1_4009),
    ("b .+8", 0x1400_0002),
    ("mov x9, x0", 0xAA00_03E9),
    ("ldr x10, [x9]", 0xF940_012A),
    ("cbz x10, .-4", 0xB4FF_FFEA),
    ("ldr x0, [x9, #8]", 0xF940_0520),
    ("ldr x1, [x9, #16]", 0xF940_0921),
    ("ldr x2, [x9, #24]", 0xF940_0D22),
    ("ldr x3, [x9, #32]", 0xF940_1123),
    ("cmp x10, #1", 0xF100_055F),
    ("b.eq .+20", 0x5400_00A0),
    ("cmp x10, #2", 0xF100_095F),
    ("b.eq .+20", 0x5400_00A0),
    ("ldr w0, [x1]", 0xB940_0020),  # 3: load from the address in x1
    ("b .+20", 0x1400_0005),
    ("hvc #0", 0xD400_0002),  # 1: call
    ("b .+12", 0x1400_0003),
    ("str w2, [x1]", 0xB900_0022),  # 2: store w2 at the address in x1
    ("mov x0, x2", 0xAA02_03E0),
    ("str x0, [x9, #40]", 0xF900_1520),
    ("b .-68", 0x17FF_FFEF),
)

COUNTERS: Program = (  # what both counters say, again and again
    ("movz x9, #0x0a00, lsl #16", 0xD2A1_4009),
    ("mrs x0, cntvct_el0", 0xD53B_E040),
    ("mrs x1, cntpct_el0", 0xD53B_E021),
    ("str x0, [x9]", 0xF900_0120),
    ("str x1, [x9]", 0xF900_0121),
    ("b .-16", 0x17FF_FFFC),
)

CALL_FOR_VCPU_1: Program = (  # CPU_ON (SMC64) of vCPU 1, entry and context 0
    ("movz x0, #0x0003", 0xD280_0060),
    ("movk x0, #0xc400, lsl #16", 0xF2B8_8000),
    ("movz x1, #1", 0xD280_0021),
    ("hvc #0", 0xD400_0002),
    ("b .", 0x1400_0000),
)

WRITER: Program = (  # a number into every page of 1 MiB, the next number then, and so on
    ("movz x3, #0x4800, lsl #16", 0xD2A9_0003),
    ("movz x2, #0x4810, lsl #16", 0xD2A9_0202),
    ("mov x0, #0", 0xD280_0000),
    ("mov x1, x3", 0xAA03_03E1),
    ("str x0, [x1]", 0xF900_0020),
    ("add x1, x1, #1, lsl #12", 0x9140_0421),
    ("cmp x1, x2", 0xEB02_003F),
    ("b.lo .-12", 0x54FF_FFA3),
    ("add x0, x0, #1", 0x9100_0400),
    ("b .-24", 0x17FF_FFFA),
)

UNDECODABLE: Program = (  # KVM is not told which register a load with writeback fills
    ("adr x2, .", 0x1000_0002),  # the vectors; only the one of a fault in EL1 is used
    ("msr vbar_el1, x2", 0xD518_C002),
    ("isb", 0xD503_3FDF),
    ("movz x9, #0x0a00, lsl #16", 0xD2A1_4009),
    ("mov x10, x9", 0xAA09_03EA),
    ("ldr x0, [x9], #8", 0xF840_8520),
    *(("b .", 0x1400_0000),) * 122,
    ("mrs x0, esr_el1", 0xD538_5200),  # at 0x200: why, and where, then power off
    ("str x0, [x10]", 0xF900_0140),
    ("mrs x0, far_el1", 0xD538_6000),
    ("str x0, [x10]", 0xF900_0140),
    ("movz x0, #0x0008", 0xD280_0100),
    ("movk x0, #0x8400, lsl #16", 0xF2B0_8000),
    ("hvc #0", 0xD400_0002),
)

ALL: dict[str, Program] = {
    "spin": SPIN, "store": STORE, "copy": COPY, "hvc": HVC, "smc": SMC, "load": LOAD,
    "poll": POLL, "poll_once": POLL_ONCE, "touch": TOUCH,
    "idle": IDLE, "acknowledge": ACKNOWLEDGE, "caller": CALLER, "undecodable": UNDECODABLE,
    "counters": COUNTERS, "call_for_vcpu_1": CALL_FOR_VCPU_1,
    "writer": WRITER,
}  # fmt: skip


def image(program: Program) -> bytes:
    """The program as it lies in memory."""
    return b"".join(word.to_bytes(4, "little") for _, word in program)

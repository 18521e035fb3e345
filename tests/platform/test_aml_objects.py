"""AML of every kind that the encoder knows, equal to what iasl compiles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hpcore.platform.aml import resources as res
from hpcore.platform.aml import statements as do
from hpcore.platform.aml.encoding import AmlError, eisa_id, string
from hpcore.platform.aml.objects import (
    Access,
    Bits,
    Gap,
    Space,
    buffer,
    data_package,
    device,
    field,
    method,
    mutex,
    name,
    operation_region,
    ref,
    scope,
)
from tests.platform.iasl import body, compile_source

Case = tuple[str, Callable[[], bytes]]

X, Y = do.local(0), do.arg(0)


def _in_method(*terms: bytes) -> bytes:
    return method("TEST", *terms, args=1)


CASES: dict[str, Case] = {
    "names, strings, ids and packages": (
        r"""Scope (\_SB) { Device (DEV0) {
            Name (_HID, "ACPI0007") Name (_CID, EisaId ("PNP0A05")) Name (_UID, 0x12345)
            Name (BUFF, Buffer () { 1, 2, 3 })
            Name (PACK, Package () { Zero, One, 0xFFFF, "x" }) } }""",
        lambda: scope(
            r"\_SB",
            device(
                "DEV0",
                name("_HID", string("ACPI0007")),
                name("_CID", eisa_id("PNP0A05")),
                name("_UID", 0x12345),
                name("BUFF", buffer(b"\1\2\3")),
                name("PACK", data_package(0, 1, 0xFFFF, string("x"))),
            ),
        ),
    ),
    "fields with gaps": (
        """OperationRegion (REGN, SystemMemory, 0x90C0000, 0x20)
           Field (REGN, DWordAcc, NoLock, Preserve) { Offset (4), AAAA, 32, , 3, BBBB, 64 }""",
        lambda: (
            operation_region("REGN", Space.SYSTEM_MEMORY, 0x90C0000, 0x20)
            + field("REGN", Access.DWORD, Gap(32), Bits("AAAA", 32), Gap(3), Bits("BBBB", 64))
        ),
    ),
    "arithmetic": (
        """Method (TEST, 1, Serialized) { Local0 = Arg0 Local0 = Arg0 + 2 Local0 = Arg0 - 3
           Local0 = Arg0 << 4 Local0 = Arg0 >> 5 Local0 = Arg0 & 6 Local0 = Arg0 | 7
           Local0++ Return (Local0 + (Arg0 & 0xFF)) }""",
        lambda: _in_method(
            do.store(Y, X),
            do.add(Y, 2, X),
            do.subtract(Y, 3, X),
            do.shift_left(Y, 4, X),
            do.shift_right(Y, 5, X),
            do.bit_and(Y, 6, X),
            do.bit_or(Y, 7, X),
            do.increment(X),
            do.give(do.add(X, do.bit_and(Y, 0xFF))),
        ),
    ),
    "conditions and loops": (
        """Method (TEST, 1, Serialized) {
           If ((Arg0 == 1) && (Arg0 != 2)) { Local0 = 1 } Else { Local0 = 2 }
           If ((Arg0 > 3) || !(Arg0 < 4)) { Return (5) }
           While (Arg0 >= 6) { Sleep (7) Stall (8) } }""",
        lambda: _in_method(
            do.when(do.both(do.equal(Y, 1), do.not_equal(Y, 2)), do.store(1, X)),
            do.otherwise(do.store(2, X)),
            do.when(do.either(do.greater(Y, 3), do.negate(do.less(Y, 4))), do.give(5)),
            do.repeat(do.not_less(Y, 6), do.sleep(7), do.stall(8)),
        ),
    ),
    "locks, calls and notifications": (
        r"""Mutex (MUTX, 0) Device (DEV0) { Name (_HID, "ACPI0007") }
           Method (CALL, 2, NotSerialized) { Return (Arg1) }
           Method (TEST, 1, Serialized) { Acquire (MUTX, 0xFFFF) CALL (Arg0, 2)
           Notify (DEV0, 3) Release (MUTX) Return (DEV0) }""",
        lambda: (
            mutex("MUTX")
            + device("DEV0", name("_HID", string("ACPI0007")))
            + method("CALL", do.give(do.arg(1)), args=2, serialized=False)
            + _in_method(
                do.acquire("MUTX"),
                do.call("CALL", Y, 2),
                do.notify("DEV0", 3),
                do.release("MUTX"),
                do.give(ref("DEV0")),
            )
        ),
    ),
    "resources": (
        """Name (_CRS, ResourceTemplate () {
           Memory32Fixed (ReadWrite, 0x09000000, 0x1000)
           Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { 47 }
           Interrupt (ResourceConsumer, Level, ActiveHigh, Exclusive) { 33 }
           WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode, 0, 0, 255, 0, 256)
           DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable,
             ReadWrite, 0, 0x10000000, 0x3EFEFFFF, 0, 0x2EFF0000)
           DWordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
             0, 0, 0xFFFF, 0x3EFF0000, 0x10000, , , , TypeTranslation)
           QWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable,
             ReadWrite, 0, 0x8000000000, 0xFFFFFFFFFF, 0, 0x8000000000) })""",
        lambda: name(
            "_CRS",
            res.template(
                res.memory32(0x0900_0000, 0x1000),
                res.interrupt(47, res.InterruptMode.EDGE),
                res.interrupt(33, res.InterruptMode.LEVEL),
                res.word_window(res.Window(res.Range.BUS, 0, 256, res.BUS_NONE)),
                res.dword_window(
                    res.Window(res.Range.MEMORY, 0x1000_0000, 0x2EFF_0000, res.MEMORY_READ_WRITE)
                ),
                res.dword_window(
                    res.Window(
                        res.Range.IO, 0, 0x1_0000, res.IO_ENTIRE_RANGE_TRANSLATED, 0x3EFF_0000
                    )
                ),
                res.qword_window(
                    res.Window(res.Range.MEMORY, 1 << 39, 1 << 39, res.MEMORY_READ_WRITE)
                ),
            ),
        ),
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_encoder_writes_what_iasl_writes(case: Case, tmp_path: Path) -> None:
    source, ours = case
    head = 'DefinitionBlock ("", "DSDT", 2, "HPCORE", "HPVIRT  ", 1)'
    assert ours() == body(compile_source(f"{head} {{ {source} }}", tmp_path))


def test_a_window_that_its_descriptor_cannot_hold_is_refused() -> None:
    beyond = res.Window(res.Range.MEMORY, 0xFFFF_0000, 0x2_0000, res.MEMORY_READ_WRITE)
    with pytest.raises(AmlError, match="32-bit descriptor"):
        res.dword_window(beyond)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: do.local(8),
        lambda: do.arg(7),
        lambda: method("TEST", args=8),
        lambda: data_package(*range(256)),
        lambda: field("REGN", Access.BYTE, Bits("A.B", 8)),
    ],
    ids=["local", "argument", "arguments", "package", "field unit"],
)
def test_what_aml_has_no_form_for_is_refused(wrong: Callable[[], bytes]) -> None:
    with pytest.raises(AmlError):
        wrong()

"""The DSDT as iasl reads it, at every size that matters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import attrs
import pytest

from hpcore.model.config import MachineConfig
from hpcore.platform import hotplug_page, virt
from hpcore.platform.acpi.dsdt import dsdt
from hpcore.platform.acpi.notify import notify_dispatch
from hpcore.platform.acpi.page_transport import PageTransport
from hpcore.platform.acpi.register_transport import RegisterTransport
from hpcore.platform.acpi.transport import CPU_SCOPE, GedInterrupt, HotplugTransport
from hpcore.platform.aml.resources import InterruptMode
from hpcore.platform.aml.statements import call, give, sleep
from hpcore.platform.firmware import (
    HPCORE_VIRT,
    QEMU_KVM_REGISTERS,
    QEMU_KVM_VIRT,
    QEMU_VIRT,
    Board,
    build,
)
from tests.platform.iasl import Verdict, body, judge
from tests.platform.machines import SIZES, machine


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Verdict:
    return judge(dsdt(machine(6), PageTransport()), tmp_path_factory.mktemp("six"))


def block(source: str, head: str) -> str:
    """The braces behind `head` in ASL, nested ones included."""
    start = source.index(head)
    depth = 0
    for end in range(source.index("{", start), len(source)):
        depth += {"{": 1, "}": -1}.get(source[end], 0)
        if depth == 0:
            return source[start : end + 1]
    raise AssertionError(f"{head} has no end")


@pytest.mark.parametrize("possible", SIZES)
def test_iasl_reads_it_without_complaint_and_writes_the_same_bytes(
    possible: int, tmp_path: Path
) -> None:
    table = dsdt(machine(possible), PageTransport())
    verdict = judge(table, tmp_path)
    assert (verdict.errors, verdict.warnings) == (0, 0), verdict.said
    assert body(verdict.recompiled) == body(table)


def test_every_possible_vcpu_is_a_processor_device_with_its_uid(six: Verdict) -> None:
    for index in range(6):
        device = block(six.source, f"Device (C{index:03X})")
        assert '"ACPI0007"' in device
        uid = re.search(r"_UID, (\w+)\)", device)
        assert uid is not None
        assert {"Zero": 0, "One": 1}.get(uid[1], int(uid[1], 16) if "0x" in uid[1] else -1) == index


def test_a_cold_booted_vcpu_is_always_enabled_and_cannot_be_ejected(six: Verdict) -> None:
    for index in range(2):
        device = block(six.source, f"Device (C{index:03X})")
        assert "Name (_STA, 0x0F)" in device
        assert "_EJ0" not in device


def test_an_eject_disables_before_it_reports(six: Verdict) -> None:
    for index in range(2, 6):
        eject = block(block(six.source, f"Device (C{index:03X})"), "Method (_EJ0")
        steps = [f"S{index:03X} = 0x0D", f"PUT (0x000{index}0005", "BELL ()"]
        places = [eject.index(step) for step in steps]
        assert places == sorted(places)


def test_the_scan_looks_at_both_cells_of_a_vcpu(six: Verdict) -> None:
    """An insert must never hide a removal: no Else anywhere in the scan."""
    scan = block(six.source, "Method (X000")
    assert "Else" not in scan
    for index in range(6):
        for cell, event in (("I", "One"), ("R", "0x03")):
            part = block(scan, f"If ({cell}{index:03X})")
            cleared = part.index(f"{cell}{index:03X} = Zero")
            acknowledged = part.index("PUT (")
            assert cleared < acknowledged < part.index(f"Notify (C{index:03X}, {event})")


def test_only_the_end_of_a_scan_rings_the_doorbell(six: Verdict) -> None:
    scan = block(six.source, "Method (SCAN")
    assert scan.count("BELL ()") == 1
    assert scan.index("PUT (0x02, Zero)") < scan.index("BELL ()")
    assert "BELL" not in block(six.source, "Method (X000")


def test_the_cells_lie_where_the_monitor_looks(six: Verdict) -> None:
    assert f"OperationRegion (PAGE, SystemMemory, 0x{hotplug_page.PAGE_BASE:X}" in six.source
    for cell, offset in (
        ("S", hotplug_page.STA),
        ("I", hotplug_page.INSERT),
        ("R", hotplug_page.REMOVE),
    ):
        assert re.search(
            rf"ByteAcc, NoLock, Preserve\)\s*{{\s*Offset \(0x{offset:X}\), \s*{cell}000,",
            six.source,
        )


def test_the_event_device_has_an_edge_on_its_own_interrupt(six: Verdict) -> None:
    ged = block(six.source, "Device (GED0)")
    assert '"ACPI0013"' in ged
    assert "Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive" in ged
    assert f"0x{virt.GED_GSI:08X}," in ged


def test_a_group_of_the_scan_ends_with_the_last_vcpu(tmp_path: Path) -> None:
    source = judge(dsdt(machine(13), PageTransport()), tmp_path).source
    assert "Notify (C00C, 0x03)" in block(source, "Method (X001")
    assert "C00D" not in source


WITH_MMIO = attrs.evolve(QEMU_VIRT, virtio_mmio=True)


@pytest.mark.parametrize(
    "board",
    [QEMU_VIRT, WITH_MMIO, QEMU_KVM_VIRT, HPCORE_VIRT],
    ids=["qemu", "virtio-mmio", "qemu-kvm", "hpcore"],
)
@pytest.mark.parametrize("possible", SIZES)
def test_iasl_has_nothing_to_say_of_a_boards_dsdt(
    possible: int, board: Board, tmp_path: Path
) -> None:
    table = build(machine(possible), board).tables["DSDT"]
    verdict = judge(table, tmp_path)
    assert (verdict.errors, verdict.warnings) == (0, 0), verdict.said
    assert body(verdict.recompiled) == body(table)


def test_a_board_has_what_it_has_and_nothing_else(tmp_path: Path) -> None:
    qemu, own = (
        judge(build(machine(2), board).tables["DSDT"], tmp_path).source
        for board in (QEMU_VIRT, HPCORE_VIRT)
    )
    for device, base in (("FWCF", virt.FW_CFG_BASE), ("PWRB", None), ("GED1", virt.GED_BASE)):
        text = block(qemu, f"Device ({device})")
        assert device != "FWCF" or all(line in text for line in ("(_STA, 0x0B)", "(_CCA, One)"))
        assert base is None or f"0x{base:08X}," in text
        assert f"Device ({device})" not in own
    assert "PNP0A08" in qemu
    assert "PNP0A08" not in own
    assert (qemu.count("Method (_OSC, 4,"), own.count("Method (_OSC, 4,")) == (2, 1)


def test_the_board_for_kvm_has_qemus_devices_and_one_event_device_for_all(tmp_path: Path) -> None:
    source = judge(build(machine(2), QEMU_KVM_VIRT).tables["DSDT"], tmp_path).source
    for device in ("FWCF", "PWRB", "PCI0", "GED0"):
        assert f"Device ({device})" in source
    assert "GED1" not in source
    assert f"0x{virt.ACPI_GED_GSI:08X}," in block(source, "Device (GED0)")
    assert f"SystemMemory, 0x{virt.KVM_CPU_HOTPLUG_BASE:08X}, 0x0C)" in source
    assert f"0x{virt.CPU_HOTPLUG_BASE:08X}" not in source


def test_the_registers_for_kvm_are_apart_from_every_device_of_qemus() -> None:
    """QEMU's map between UART and virtio-mmio: hw/arm/virt.c of 10.1, base_memmap."""
    taken = [
        (0x0900_0000, 0x1000), (0x0901_0000, 0x1000), (0x0902_0000, 0x18), (0x0903_0000, 0x1000),
        (0x0904_0000, 0x1000), (0x0905_0000, 0x2_0000), (0x0907_0000, 0x18), (0x0908_0000, 0x18),
        (0x0909_0000, 0x4), (0x090A_0000, 0x1_0000), (0x090B_0000, 0x1000), (0x090C_0000, 0x18),
        (0x0A00_0000, 32 * 0x200),
    ]  # fmt: skip
    page = 0x1_0000  # a guest may map by 64 KiB
    mine = QEMU_KVM_REGISTERS.base
    assert mine % page == 0
    assert all(base + size <= mine or mine + page <= base for base, size in taken)


def test_two_event_devices_never_share_a_register() -> None:
    with pytest.raises(AssertionError):
        dsdt(machine(2), QEMU_KVM_REGISTERS, button=QEMU_VIRT.power_button)


def test_the_power_buttons_event_device_has_its_own_interrupt(tmp_path: Path) -> None:
    source = judge(build(machine(2)).tables["DSDT"], tmp_path).source
    first, second = (block(source, f"Device (GED{n})") for n in (0, 1))
    assert "(_UID, Zero)" in first
    assert "(_UID, One)" in second
    assert f"0x{virt.GED_GSI:08X}," in first
    assert "Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive" in second
    assert f"0x{virt.ACPI_GED_GSI:08X}," in second


def test_virtio_mmio_is_described_where_a_board_has_it_place_by_place(tmp_path: Path) -> None:
    source = judge(build(machine(2), WITH_MMIO).tables["DSDT"], tmp_path).source
    for index in range(32):
        device = block(source, f"Device (VR{index:02X})")
        assert '"LNRO0005"' in device
        assert f"0x{0x0A00_0000 + 0x200 * index:08X}," in device
        assert f"0x{48 + index:08X}," in device
        assert "Level, ActiveHigh, Exclusive" in device
        assert "(_CCA, One)" in device
    assert source.count('"LNRO0005"') == 32
    assert b"LNRO0005" not in build(machine(2)).tables["DSDT"]


class IndexTransport:
    """A transport of another kind: it knows indexes, and uses the notify dispatch."""

    @property
    def interrupt(self) -> GedInterrupt:
        return GedInterrupt(41, InterruptMode.LEVEL)

    @property
    def power_button(self) -> bool:
        return False

    def declarations(self, possible: int) -> bytes:
        return notify_dispatch(possible)

    def status(self, index: int) -> bytes:
        return give(0x0D + 2 * (index % 2))

    def eject(self, index: int) -> bytes:
        return sleep(index)

    def ost(self, index: int) -> bytes:
        return sleep(index)

    def event_handler(self) -> bytes:
        return call(f"{CPU_SCOPE}.CTFY", 3, 1)

    def memory(self, config: MachineConfig) -> Mapping[int, bytes]:
        return {}


@pytest.mark.parametrize("possible", [1, 16, 17, 512])
def test_a_transport_can_be_replaced_and_notify_by_index(possible: int, tmp_path: Path) -> None:
    transport: HotplugTransport = IndexTransport()
    table = dsdt(machine(possible, booted=1), transport)
    verdict = judge(table, tmp_path)
    assert (verdict.errors, verdict.warnings) == (0, 0), verdict.said
    assert body(verdict.recompiled) == body(table)
    assert "PAGE" not in verdict.source
    assert "Level" in block(verdict.source, "Device (GED0)")
    last = possible - 1
    assert f"Notify (C{last:03X}, Arg1)" in block(verdict.source, f"Method (CT{last // 16:02X}")


@pytest.mark.parametrize("possible", SIZES)
def test_the_register_transport_is_read_without_complaint_and_written_the_same(
    possible: int, tmp_path: Path
) -> None:
    table = dsdt(machine(possible), RegisterTransport(), pci=False)
    verdict = judge(table, tmp_path)
    assert (verdict.errors, verdict.warnings) == (0, 0), verdict.said
    assert body(verdict.recompiled) == body(table)
    assert "PNP0A08" not in verdict.source


def test_the_register_scan_looks_at_both_flags_and_clears_before_it_notifies(
    tmp_path: Path,
) -> None:
    source = judge(dsdt(machine(6), RegisterTransport(), pci=False), tmp_path).source
    scan = block(source, "Method (CSCN")
    assert "Else" not in scan
    for clear, event in (("CFLG = 0x02", "One"), ("CFLG = 0x04", "0x03")):
        assert scan.index(clear) < scan.index(f"CTFY (Local0, {event})")

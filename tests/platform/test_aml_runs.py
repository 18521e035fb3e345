"""The AML over the hotplug registers, run by ACPICA: what it does to them, and that it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import attrs
import pytest

from hpcore.guest.played.aml import PlayedAml
from hpcore.model import acpi
from hpcore.platform import virt
from hpcore.platform.acpi.dsdt import dsdt
from hpcore.platform.acpi.register_transport import RegisterTransport
from hpcore.platform.firmware import QEMU_KVM_REGISTERS, QEMU_KVM_VIRT, QEMU_VIRT, build
from hpcore.platform.ged import GedEvent
from hpcore.platform.hotplug_registers import (
    COMMAND,
    DATA,
    FLAGS,
    SELECTOR,
    Flag,
    RegisterCommand,
    Store,
)
from tests.platform.acpiexec import Access, evaluate
from tests.platform.machines import machine
from tests.support.hardware import NoPsci

POSSIBLE = 6
TABLE = dsdt(machine(POSSIBLE), RegisterTransport(), pci=False)
CPUS = r"\_SB.CPUS"
BLOCK = virt.CPU_HOTPLUG_BASE


class Memory(NoPsci):
    """What acpiexec's regions are, for a played guest: every byte `fill` until stored to."""

    def __init__(self, fill: int) -> None:
        self.fill = fill
        self.bytes: dict[int, int] = {}
        self.accesses: list[Access] = []

    async def read(self, address: int, size: int) -> int:
        data = bytes(self.bytes.get(address + n, self.fill) for n in range(size))
        value = int.from_bytes(data, "little")
        self.accesses.append(Access(False, address, size, value))
        return value

    async def write(self, address: int, size: int, value: int) -> None:
        for n, byte in enumerate(value.to_bytes(size, "little")):
            self.bytes[address + n] = byte
        self.accesses.append(Access(True, address, size, value))


def played(fill: int, act: Callable[[PlayedAml], Awaitable[object]]) -> tuple[Access, ...]:
    """The accesses of a played guest's firmware."""
    memory = Memory(fill)

    async def main() -> None:
        await act(PlayedAml(memory, POSSIBLE))

    asyncio.run(main())
    return tuple(memory.accesses)


@pytest.mark.parametrize(
    ("fill", "status"), [(0, acpi.STA_PRESENT), (int(Flag.ENABLED), acpi.STA_ENABLED)]
)
def test_sta_follows_the_enabled_flag(fill: int, status: int, tmp_path: Path) -> None:
    run = evaluate(TABLE, tmp_path, rf"{CPUS}.C002._STA", fill)
    assert run.integer == status
    assert run.accesses == (
        Access(True, BLOCK + SELECTOR, 4, 2), Access(False, BLOCK + FLAGS, 1, fill),
    )  # fmt: skip


def test_a_scan_of_no_event_is_one_search_and_ends(tmp_path: Path) -> None:
    run = evaluate(TABLE, tmp_path, rf"{CPUS}.CSCN")
    assert run.accesses == (
        Access(True, BLOCK + SELECTOR, 4, 0),
        Access(True, BLOCK + COMMAND, 1, RegisterCommand.NEXT_WITH_EVENT),
        Access(False, BLOCK + DATA, 4, 0),
        Access(False, BLOCK + FLAGS, 1, 0),
    )


def test_an_eject_is_one_store_to_its_slot(tmp_path: Path) -> None:
    run = evaluate(TABLE, tmp_path, rf"{CPUS}.C005._EJ0 1")
    assert run.accesses == (
        Access(True, BLOCK + SELECTOR, 4, 5), Access(True, BLOCK + FLAGS, 1, Store.EJECT),
    )  # fmt: skip


def test_the_event_device_scans_only_if_a_vcpu_has_an_event(tmp_path: Path) -> None:
    method = rf"\_SB.GED0._EVT {virt.ACPI_GED_GSI}"
    taken = evaluate(TABLE, tmp_path, method, 0x09).accesses
    assert taken[0] == Access(False, virt.GED_BASE, 4, 0x0909_0909)
    assert len(taken) == 5
    assert evaluate(TABLE, tmp_path, method, 0x10).accesses == (
        Access(False, virt.GED_BASE, 4, 0x1010_1010),
    )


@pytest.mark.parametrize(
    ("events", "pressed"), [(GedEvent.POWER_DOWN, 1), (~GedEvent.POWER_DOWN, 0), (0xFF, 1)]
)
def test_qemus_event_device_presses_the_power_button_and_no_other(
    events: int, pressed: int, tmp_path: Path
) -> None:
    table = build(machine(2), QEMU_VIRT).tables["DSDT"]
    run = evaluate(table, tmp_path, rf"\_SB.GED1._EVT {virt.ACPI_GED_GSI}", int(events))
    assert run.accesses == (Access(False, virt.GED_BASE, 4, int(events) * 0x0101_0101),)
    assert run.said.count("Device Notify on [PWRB]") == pressed
    assert run.said.count("Notify on") == run.said.count("Value 0x80") == pressed


@pytest.mark.parametrize(
    ("events", "pressed", "scans"),
    [
        (GedEvent.POWER_DOWN, 1, 0),
        (GedEvent.CPU_HOTPLUG, 0, 1),
        (GedEvent.POWER_DOWN | GedEvent.CPU_HOTPLUG, 1, 1),
        (~(GedEvent.POWER_DOWN | GedEvent.CPU_HOTPLUG), 0, 0),
    ],
)
def test_one_event_device_takes_button_and_vcpus_by_one_load(
    events: int, pressed: int, scans: int, tmp_path: Path
) -> None:
    table = build(machine(POSSIBLE), QEMU_KVM_VIRT).tables["DSDT"]
    fill, method = int(events) & 0xFF, rf"\_SB.GED0._EVT {virt.ACPI_GED_GSI}"
    # after an eject the flags are what it stored, whatever the memory was: no vCPU has an event
    run = evaluate(table, tmp_path, method, fill, first=rf"{CPUS}.C005._EJ0 1")
    first, *scan = run.accesses
    assert first == Access(False, virt.GED_BASE, 4, fill * 0x0101_0101)
    assert run.said.count("Device Notify on [PWRB]") == pressed
    assert run.said.count("Value 0x80") == pressed
    assert len(scan) == 4 * scans  # as `test_a_scan_of_no_event_is_one_search_and_ends` has it
    assert all(access.address >= virt.KVM_CPU_HOTPLUG_BASE for access in scan)


def test_the_registers_are_where_the_transport_has_them(tmp_path: Path) -> None:
    table = dsdt(machine(POSSIBLE), QEMU_KVM_REGISTERS)
    there = evaluate(table, tmp_path, rf"{CPUS}.C005._EJ0 1").accesses
    here = evaluate(TABLE, tmp_path, rf"{CPUS}.C005._EJ0 1").accesses
    moved = QEMU_KVM_REGISTERS.base - BLOCK
    assert moved
    assert there == tuple(attrs.evolve(a, address=a.address + moved) for a in here)


def test_a_played_guest_does_what_the_aml_does(tmp_path: Path) -> None:
    def ran(method: str, fill: int = 0) -> tuple[Access, ...]:
        return evaluate(TABLE, tmp_path, method, fill).accesses

    assert ran(rf"{CPUS}.C003._STA") == played(0, lambda firmware: firmware.enabled(3))
    assert ran(rf"{CPUS}.C003._EJ0 1") == played(0, lambda firmware: firmware.eject(3))
    assert ran(rf"{CPUS}.C004._OST 259 132 (00)") == played(
        0, lambda firmware: firmware.ost(4, 259, 132)
    )
    for fill in (0x00, 0x09, 0x10):
        assert ran(rf"\_SB.GED0._EVT {virt.ACPI_GED_GSI}", fill) == played(fill, PlayedAml.events)

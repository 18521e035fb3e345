"""Where a guest of ours sees something else than QEMU's: what QEMU does, and what we do.

One test for each of hpcore.platform.hotplug_device.DEVIATIONS, by its name. QEMU's side is
our block with QEMU's host, which the recordings hold against the real one.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from hpcore.guest.played.aml import PlayedAml
from hpcore.model.acpi import Notification
from hpcore.model.config import MachineConfig
from hpcore.model.effects import Step
from hpcore.model.stimuli import EjectCalled, GuestCall
from hpcore.platform import virt
from hpcore.platform.ged import GedEvent
from hpcore.platform.hotplug_device import DEVIATIONS, HotplugDevice
from hpcore.platform.hotplug_registers import (
    COMMAND,
    DATA,
    FLAGS,
    SELECTOR,
    Flag,
    RegisterCommand,
    Store,
)
from tests.conformance.qemu_host import QemuHost, Told
from tests.support.hardware import NoPsci

POSSIBLE = 4
CHANGING = Flag.ENABLED | Flag.INSERT | Flag.REMOVE
NOTHING = Flag(0)


class Side(Protocol):
    """A machine with one slot of `POSSIBLE` that stays, slot 0."""

    def read(self, offset: int, size: int) -> int: ...
    def write(self, offset: int, size: int, value: int) -> None: ...
    def plug(self, slot: int) -> None: ...
    def unplug(self, slot: int) -> None: ...


class Qemus:
    """QEMU's."""

    def __init__(self, booted: int = 1) -> None:
        self.told: list[Told] = []
        self.host = QemuHost(POSSIBLE, self.told.append, lambda _first: None, booted=booted)
        self.read, self.write = self.host.block.read, self.host.block.write

    def plug(self, slot: int) -> None:
        assert self.host.plug(slot)

    def unplug(self, slot: int) -> None:
        assert self.host.unplug(slot)


class Ours:
    """Ours, with no core behind: a test does what one would."""

    def __init__(self, booted: int = 1) -> None:
        self.said: list[GuestCall] = []
        config = MachineConfig.of(booted, POSSIBLE)
        self.device = HotplugDevice(config, self.said.append, lambda: None)
        for slot in range(booted):
            self.device.apply(Step.ENABLE, slot)

    def read(self, offset: int, size: int) -> int:
        return self.device.read(virt.CPU_HOTPLUG_BASE + offset, size)

    def write(self, offset: int, size: int, value: int) -> None:
        self.device.write(virt.CPU_HOTPLUG_BASE + offset, size, value)

    def plug(self, slot: int) -> None:
        self.device.apply(Step.ENABLE, slot)
        self.device.apply(Step.NOTIFY_INSERT, slot)

    def unplug(self, slot: int) -> None:
        self.device.apply(Step.NOTIFY_REMOVE, slot)


def flags(side: Side, slot: int, shown: Flag = CHANGING) -> Flag:
    """Those of `shown` that are set."""
    side.write(SELECTOR, 4, slot)
    return Flag(side.read(FLAGS, 1)) & shown


def store(side: Side, slot: int, value: Store) -> None:
    side.write(SELECTOR, 4, slot)
    side.write(FLAGS, 1, value)


def test_stale_remove() -> None:
    def ejected_without_a_look(side: Side) -> None:
        side.plug(1)
        store(side, 1, Store.CLEAR_INSERT)
        side.unplug(1)
        store(side, 1, Store.EJECT)

    qemus, ours = Qemus(), Ours()
    ejected_without_a_look(qemus)
    assert flags(qemus, 1) == Flag.REMOVE
    qemus.plug(1)
    assert flags(qemus, 1) == Flag.ENABLED | Flag.INSERT | Flag.REMOVE  # 7: born with a request

    ejected_without_a_look(ours)
    ours.device.apply(Step.DISABLE, 1)
    assert flags(ours, 1) == NOTHING
    ours.plug(1)
    assert flags(ours, 1) == Flag.ENABLED | Flag.INSERT


def test_a_stale_insert_goes_with_it() -> None:
    qemus, ours = Qemus(), Ours()
    for side in (qemus, ours):
        side.plug(1)
        store(side, 1, Store.EJECT)
    ours.device.apply(Step.DISABLE, 1)
    assert (flags(qemus, 1), flags(ours, 1)) == (Flag.INSERT, NOTHING)


def scan_of_qemu(side: Side) -> list[tuple[int, Notification]]:
    """CSCN of hw/acpi/cpu.c (build_cpus_aml): insert, else remove; then the next slot."""
    told, added, slot = [], [], 0
    while slot < POSSIBLE:
        side.write(SELECTOR, 4, slot)
        side.write(COMMAND, 1, RegisterCommand.NEXT_WITH_EVENT)
        found = side.read(DATA, 4)
        pending = Flag(side.read(FLAGS, 1))
        if found < slot or not pending & (Flag.INSERT | Flag.REMOVE):
            break
        if pending & Flag.INSERT:
            added.append(found)
        else:
            told.append((found, Notification.EJECT_REQUEST))
            side.write(FLAGS, 1, Store.CLEAR_REMOVE)
        slot = found + 1
    for slot in added:
        told.append((slot, Notification.DEVICE_CHECK))
        store(side, slot, Store.CLEAR_INSERT)
    return told


class Wired(NoPsci):
    """A played guest's way to `Ours`; only the registers are of use here."""

    def __init__(self, ours: Ours) -> None:
        self._device = ours.device

    async def read(self, address: int, size: int) -> int:
        return self._device.read(address, size)

    async def write(self, address: int, size: int, value: int) -> None:
        self._device.write(address, size, value)


def test_lost_remove() -> None:
    qemus, ours = Qemus(), Ours()
    for side in (qemus, ours):
        side.plug(1)
        side.unplug(1)
        assert flags(side, 1) == Flag.ENABLED | Flag.INSERT | Flag.REMOVE

    assert qemus.host.ged.read(0, 4) == GedEvent.CPU_HOTPLUG
    assert scan_of_qemu(qemus) == [(1, Notification.DEVICE_CHECK)]
    assert flags(qemus, 1) == Flag.ENABLED | Flag.REMOVE
    assert not qemus.host.ged.events  # nothing left to tell the guest of the removal

    told = asyncio.run(PlayedAml(Wired(ours), POSSIBLE).events())
    assert told == [(1, Notification.DEVICE_CHECK), (1, Notification.EJECT_REQUEST)]
    assert flags(ours, 1) == Flag.ENABLED


def test_eject_unrequested() -> None:
    qemus, ours = Qemus(), Ours()
    for side in (qemus, ours):
        side.plug(1)
        store(side, 1, Store.CLEAR_INSERT)
        store(side, 1, Store.EJECT)
        assert flags(side, 1) == NOTHING
    assert qemus.told == [("deleted", 1)]
    assert EjectCalled(1) in ours.said
    ours.device.reassert(1)  # what the core has done where it refuses
    assert flags(ours, 1) == Flag.ENABLED


def test_eject_at_once() -> None:
    qemus, ours = Qemus(), Ours()
    for side in (qemus, ours):
        side.plug(1)
        side.unplug(1)
        store(side, 1, Store.EJECT)
    assert qemus.told == [("deleted", 1)]
    assert qemus.host.plug(1), "the slot is free"
    # disabled and no more: until DISABLE the slot keeps what it had
    assert ours.said == [EjectCalled(1)]
    assert ours.device.pending(1) == (True, True)
    assert not ours.device.enabled(1)


def test_reset_drops_pending() -> None:
    qemus, ours = Qemus(), Ours()
    for side in (qemus, ours):
        side.plug(1)
        side.unplug(1)
        side.write(SELECTOR, 4, 1)
        side.write(COMMAND, 1, RegisterCommand.ARCH_ID)
    # QEMU's two devices have no reset at all (recordings, case system_reset)
    assert qemus.read(DATA, 4) == 1
    assert flags(qemus, 1) == Flag.ENABLED | Flag.INSERT | Flag.REMOVE
    assert qemus.host.ged.events

    ours.device.reset()
    assert ours.read(DATA, 4) == 0  # slot 0, by the first command
    ours.device.apply(Step.ENABLE, 1)  # RESTART
    assert flags(ours, 1) == Flag.ENABLED
    assert not ours.device.ged_events


def test_cold_booted_stay() -> None:
    qemus, ours = Qemus(booted=2), Ours(booted=2)
    for side in (qemus, ours):
        for slot in (0, 1):
            store(side, slot, Store.EJECT)
    assert qemus.told == [("deleted", 1)]
    assert [flags(qemus, slot) for slot in (0, 1)] == [Flag.ENABLED, NOTHING]
    assert [flags(ours, slot) for slot in (0, 1)] == [Flag.ENABLED, Flag.ENABLED]


def test_always_present() -> None:
    everything = Flag(0xFF)
    qemus, ours = Qemus(), Ours()
    assert [flags(qemus, slot, everything) for slot in (0, 1)] == [Flag.ENABLED, NOTHING]
    assert [flags(ours, slot, everything) for slot in (0, 1)] == [
        Flag.PRESENT | Flag.ENABLED, Flag.PRESENT,
    ]  # fmt: skip


def test_deviations_and_tests_are_the_same() -> None:
    tests = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    others = {"a_stale_insert_goes_with_it", "deviations_and_tests_are_the_same"}
    assert set(DEVIATIONS) == tests - others
    assert all(DEVIATIONS.values())

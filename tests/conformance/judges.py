"""What holds of a hotplug register block: each judge takes a module that has one.

The recordings are one of them. The others are about what loongarch64 can't show, such as
arm's present bit, and what only the block's host hears. Each raises AssertionError.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType

from attrs import field, frozen

from hpcore.platform.hotplug_registers import (
    COMMAND,
    DATA,
    FLAGS,
    SELECTOR,
    Flag,
    Host,
    HotplugRegisters,
    RegisterCommand,
    Store,
)
from tests.conformance.recording import differences, load

Judge = Callable[[ModuleType], None]

ARCH_IDS = (0x0, 0x1, 0x81_0000_0100, 0x1_FEDC_BAFE)


@frozen
class Listener:
    """A host that does nothing but write down what it hears."""

    heard: list[tuple[object, ...]] = field(factory=list)

    def insert_cleared(self, slot: int) -> None:
        """Written down."""
        self.heard.append(("insert", slot))

    def remove_cleared(self, slot: int) -> None:
        """Written down."""
        self.heard.append(("remove", slot))

    def eject_asked(self, slot: int) -> None:
        """Written down."""
        self.heard.append(("eject", slot))

    def ost_reported(self, slot: int, source: int, status: int) -> None:
        """Written down."""
        self.heard.append(("ost", slot, source, status))

    def events_exhausted(self) -> None:
        """Written down."""
        self.heard.append(("none",))


def block(module: ModuleType) -> tuple[HotplugRegisters, Listener]:
    """An arm block of the module, no slot of which is enabled, and its listener."""
    listener = Listener()
    made: HotplugRegisters = module.HotplugRegisters(ARCH_IDS, listener)
    return made, listener


def answers_as_qemu_did(module: ModuleType) -> None:
    """No step of the recordings is answered otherwise."""

    def make(arch_ids: Sequence[int], host: Host) -> HotplugRegisters:
        made: HotplugRegisters = module.HotplugRegisters(arch_ids, host, arm=False)
        return made

    for case in load("cpuhp_loongarch64_virt"):
        for found in differences(case, make):
            raise AssertionError(found)


def every_arm_vcpu_is_present(module: ModuleType) -> None:
    """The present bit is there whatever else is, for every slot and for no other selector."""
    registers, _ = block(module)
    registers.slots[1].enabled = True
    for slot in range(len(ARCH_IDS)):
        registers.write(SELECTOR, 4, slot)
        expected = Flag.PRESENT | (Flag.ENABLED if slot == 1 else 0)
        assert registers.read(FLAGS, 1) == expected
    registers.write(SELECTOR, 4, len(ARCH_IDS))
    assert registers.read(FLAGS, 1) == 0


def an_arch_id_has_64_bits(module: ModuleType) -> None:
    """ARCH_ID reads its low half from the data, its high half from offset 0."""
    registers, _ = block(module)
    registers.write(COMMAND, 1, RegisterCommand.ARCH_ID)
    for slot, arch_id in enumerate(ARCH_IDS):
        registers.write(SELECTOR, 4, slot)
        assert registers.read(DATA, 4) == arch_id & 0xFFFF_FFFF
        assert registers.read(SELECTOR, 4) == arch_id >> 32
        assert registers.read(COMMAND, 1) == registers.read(6, 2) == registers.read(9, 1) == 0
    registers.write(COMMAND, 1, RegisterCommand.NEXT_WITH_EVENT)
    registers.write(SELECTOR, 4, 2)
    assert registers.read(SELECTOR, 4) == 0


def a_host_hears_what_the_guest_asks_for(module: ModuleType) -> None:
    """A bit that was cleared, an eject, an `_OST`: each once; of a bit not set, nothing."""
    registers, listener = block(module)
    registers.slots[2].insert = registers.slots[2].remove = True
    registers.write(SELECTOR, 4, 2)
    for store in (Store.CLEAR_INSERT, Store.CLEAR_REMOVE, Store.EJECT):
        for _ in range(2):
            registers.write(FLAGS, 1, store)
    registers.write(COMMAND, 1, RegisterCommand.OST_EVENT)
    registers.write(DATA, 4, 0x103)
    registers.write(COMMAND, 1, RegisterCommand.OST_STATUS)
    registers.write(DATA, 4, 0x84)
    eject = ("eject", 2)
    assert listener.heard == [("insert", 2), ("remove", 2), eject, eject, ("ost", 2, 0x103, 0x84)]


def a_host_hears_that_no_slot_has_an_event(module: ModuleType) -> None:
    """Only of a search that finds none, and of every such search."""
    registers, listener = block(module)
    for slot, bit in ((1, "insert"), (2, "remove"), (3, "firmware")):
        setattr(registers.slots[slot], bit, True)
        registers.write(COMMAND, 1, RegisterCommand.NEXT_WITH_EVENT)
        assert registers.read(DATA, 4) == slot
        assert not listener.heard
        setattr(registers.slots[slot], bit, False)
    for command in (RegisterCommand.OST_EVENT, RegisterCommand.OST_STATUS, RegisterCommand.ARCH_ID):
        registers.write(COMMAND, 1, command)
    assert not listener.heard
    for times in (1, 2):
        registers.write(COMMAND, 1, RegisterCommand.NEXT_WITH_EVENT)
        assert listener.heard == [("none",)] * times
    assert registers.read(DATA, 4) == 3  # where it was


def a_host_is_told_after_the_fact(module: ModuleType) -> None:
    """The bit is off already, and the values stored, when the host is called."""
    seen: list[object] = []

    class Looking(Listener):
        def insert_cleared(self, slot: int) -> None:
            seen.append(registers.slots[slot].insert)

        def remove_cleared(self, slot: int) -> None:
            seen.append(registers.slots[slot].remove)

        def ost_reported(self, slot: int, source: int, status: int) -> None:
            seen.append((registers.slots[slot].source, registers.slots[slot].status))

    registers: HotplugRegisters = module.HotplugRegisters(ARCH_IDS, Looking())
    registers.slots[0].insert = registers.slots[0].remove = True
    registers.write(FLAGS, 1, Store.CLEAR_INSERT)
    registers.write(FLAGS, 1, Store.CLEAR_REMOVE)
    registers.write(COMMAND, 1, RegisterCommand.OST_STATUS)
    registers.write(DATA, 4, 0x84)
    assert seen == [False, False, (0, 0x84)]


def an_access_has_no_more_than_its_size(module: ModuleType) -> None:
    """A narrow load gives the low bytes; of a store's value only `size` bytes count."""
    registers, _ = block(module)
    registers.write(COMMAND, 1, RegisterCommand.ARCH_ID)
    registers.write(SELECTOR, 1, 0x1_0202)
    assert registers.read(DATA, 4) == 0x100
    for size, low in ((1, 0), (2, 0x100), (4, 0x100)):
        assert registers.read(DATA, size) == low
    registers.write(SELECTOR, 2, 0xFFFF_0003)
    for size, low in ((1, 0xFE), (2, 0xBAFE), (4, 0xFEDC_BAFE)):
        assert registers.read(DATA, size) == low


def a_wide_store_acts_on_each_register_where_it_starts(module: ModuleType) -> None:
    """Split where alignment splits it, lowest first, each piece with its own bytes."""
    registers, listener = block(module)
    registers.slots[2].insert = registers.slots[2].remove = True
    registers.write(SELECTOR, 8, Store.CLEAR_INSERT << 32 | 2)
    registers.write(3, 4, Store.CLEAR_REMOVE << 8 | 1)
    assert listener.heard == [("insert", 2), ("remove", 2)]
    registers.write(COMMAND, 4, 0x55 << 24 | 0xAAAA << 8 | RegisterCommand.OST_EVENT)
    registers.write(COMMAND, 4, 0x66 << 24 | 0xAAAA << 8 | RegisterCommand.OST_STATUS)
    assert listener.heard[2:] == [("ost", 2, 0x55, 0x66)]
    registers.write(FLAGS, 8, 0x1234_5678 << 32 | RegisterCommand.ARCH_ID << 8)  # flags: one piece
    assert listener.heard[3:] == [("ost", 2, 0x55, 0x1234_5678)]


def a_store_elsewhere_changes_nothing(module: ModuleType) -> None:
    """Nor does one to the data under a command that has no use for it."""
    registers, listener = block(module)
    registers.slots[1].insert = registers.slots[1].remove = registers.slots[1].enabled = True
    registers.select(1, RegisterCommand.NEXT_WITH_EVENT)
    before = repr(registers.slots)
    for value in (0xFF, *Store):
        for offset in (1, 2, 3, 6, 7, 9, 10, 11):
            registers.write(offset, 1, value)
        for command in (RegisterCommand.NEXT_WITH_EVENT, RegisterCommand.ARCH_ID):
            registers.select(1, command)
            registers.write(DATA, 4, value)
    assert repr(registers.slots) == before
    assert not listener.heard
    assert registers.read(DATA, 4) == 1


def nothing_but_a_selector_is_taken_while_no_slot_is_selected(module: ModuleType) -> None:
    """A command is lost, though it is no slot's."""
    registers, listener = block(module)
    registers.slots[0].insert = True
    registers.select(len(ARCH_IDS), RegisterCommand.ARCH_ID)
    for command in reversed(RegisterCommand):
        registers.write(COMMAND, 1, command)
        registers.write(DATA, 4, 0x84)
    registers.write(SELECTOR, 4, 2)
    assert registers.read(DATA, 4) == 0x100
    assert not listener.heard


def a_migration_takes_selector_and_command(module: ModuleType) -> None:
    """`select` puts both, and starts nothing."""
    registers, listener = block(module)
    registers.select(2, RegisterCommand.ARCH_ID)
    assert registers.read(DATA, 4) == 0x100
    registers.select(3, RegisterCommand.NEXT_WITH_EVENT)
    assert registers.read(DATA, 4) == 3
    assert not listener.heard


JUDGES: tuple[Judge, ...] = (
    answers_as_qemu_did,
    every_arm_vcpu_is_present,
    an_arch_id_has_64_bits,
    a_host_hears_what_the_guest_asks_for,
    a_host_hears_that_no_slot_has_an_event,
    a_host_is_told_after_the_fact,
    an_access_has_no_more_than_its_size,
    a_wide_store_acts_on_each_register_where_it_starts,
    a_store_elsewhere_changes_nothing,
    nothing_but_a_selector_is_taken_while_no_slot_is_selected,
    a_migration_takes_selector_and_command,
)

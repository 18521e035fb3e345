"""The register block by itself: what each access reads and does, as QEMU documents it."""

from __future__ import annotations

import pytest

from hpcore.platform.hotplug_registers import (
    COMMAND,
    DATA,
    FLAGS,
    SELECTOR,
    Flag,
    HotplugRegisters,
    RegisterCommand,
    SlotRegisters,
    Store,
    pieces,
)

WIDE = 0x12_3456_789A
"""An architecture id with more than 32 bits."""


class Heard:
    """A host that writes down what it hears."""

    def __init__(self) -> None:
        self.said: list[tuple[object, ...]] = []

    def insert_cleared(self, slot: int) -> None:
        self.said.append(("insert", slot))

    def remove_cleared(self, slot: int) -> None:
        self.said.append(("remove", slot))

    def eject_asked(self, slot: int) -> None:
        self.said.append(("eject", slot))

    def ost_reported(self, slot: int, source: int, status: int) -> None:
        self.said.append(("ost", slot, source, status))

    def events_exhausted(self) -> None:
        self.said.append(("exhausted",))


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def block(heard: Heard) -> HotplugRegisters:
    """A block of three, the second selected."""
    block = HotplugRegisters([5, WIDE, 7], heard)
    block.select(1, RegisterCommand.NEXT_WITH_EVENT)
    return block


def test_a_new_slot_is_empty_and_can_leave() -> None:
    slot = SlotRegisters()
    assert not (slot.enabled or slot.insert or slot.remove or slot.firmware)
    assert (slot.hotpluggable, slot.source, slot.status) == (True, 0, 0)


def test_a_new_block_has_the_first_slot_and_the_first_command_selected(heard: Heard) -> None:
    block = HotplugRegisters([5, 6], heard)
    assert block.read(DATA, 4) == 0
    block.write(COMMAND, 1, RegisterCommand.ARCH_ID)
    assert block.read(DATA, 4) == 5


def test_data_reads_what_the_command_says(block: HotplugRegisters) -> None:
    read = {}
    for command in (*RegisterCommand, 0x55):
        block.select(1, command)
        read[command] = block.read(DATA, 4), block.read(SELECTOR, 4)
    assert read == {
        RegisterCommand.NEXT_WITH_EVENT: (1, 0),
        RegisterCommand.OST_EVENT: (0, 0),
        RegisterCommand.OST_STATUS: (0, 0),
        RegisterCommand.ARCH_ID: (WIDE & 0xFFFF_FFFF, WIDE >> 32),
        0x55: (0, 0),
    }


@pytest.mark.parametrize("flag", ["enabled", "insert", "remove", "firmware"])
@pytest.mark.parametrize("arm", [False, True])
def test_each_flag_is_read_by_itself(heard: Heard, flag: str, arm: bool) -> None:
    block = HotplugRegisters([0, 1], heard, arm=arm)
    setattr(block.slots[0], flag, True)
    assert block.read(FLAGS, 1) == Flag[flag.upper()] | (Flag.PRESENT if arm else 0)


def test_a_selector_beyond_the_last_reads_zeros_and_drops_what_is_stored(
    block: HotplugRegisters, heard: Heard
) -> None:
    for beyond in (3, 0xFFFF_FFFF):
        block.write(SELECTOR, 4, beyond)
        block.write(COMMAND, 1, RegisterCommand.ARCH_ID)
        block.write(FLAGS, 1, Store.EJECT)
        assert [block.read(offset, 1) for offset in range(12)] == [0] * 12
    block.write(SELECTOR, 4, 2)
    assert block.read(DATA, 4) == 2  # the command is as before
    assert heard.said == []


def test_of_several_bits_stored_the_lowest_is_heeded(
    block: HotplugRegisters, heard: Heard
) -> None:
    slot = block.slots[1]
    slot.enabled = slot.insert = slot.remove = True
    everything = int(Store.CLEAR_INSERT | Store.CLEAR_REMOVE | Store.EJECT | Store.FIRMWARE)
    for _ in range(2):
        block.write(FLAGS, 1, everything)
    assert (slot.insert, slot.remove) == (False, True)
    block.write(FLAGS, 1, everything & ~Store.CLEAR_INSERT)
    assert (slot.remove, slot.firmware) == (False, False)
    block.write(FLAGS, 1, int(Store.EJECT | Store.FIRMWARE))
    assert not slot.firmware
    assert heard.said == [("insert", 1), ("remove", 1), ("eject", 1)]
    assert slot.enabled  # what comes of an eject is the host's


@pytest.mark.parametrize("enabled", [False, True])
@pytest.mark.parametrize("hotpluggable", [False, True])
def test_firmware_is_left_the_removal_of_what_is_there_and_can_leave(
    block: HotplugRegisters, enabled: bool, hotpluggable: bool
) -> None:
    slot = block.slots[1]
    slot.enabled, slot.hotpluggable = enabled, hotpluggable
    block.write(FLAGS, 1, Store.FIRMWARE)
    assert slot.firmware is (enabled and hotpluggable)


def test_the_search_goes_once_around_from_the_selected_slot_itself(
    block: HotplugRegisters, heard: Heard
) -> None:
    def found(*slots: int) -> int:
        for index, slot in enumerate(block.slots):
            slot.remove = index in slots
        block.select(1, RegisterCommand.ARCH_ID)
        block.write(COMMAND, 1, RegisterCommand.NEXT_WITH_EVENT)
        return block.read(DATA, 4)

    assert [found(0, 1, 2), found(0, 2), found(0), found(2)] == [1, 2, 0, 2]
    assert heard.said == []
    assert found() == 1
    assert heard.said == [("exhausted",)]


def test_a_command_that_is_none_leaves_the_one_before(
    block: HotplugRegisters, heard: Heard
) -> None:
    block.write(COMMAND, 1, RegisterCommand.ARCH_ID)
    block.write(COMMAND, 1, RegisterCommand.ARCH_ID + 1)
    assert block.read(DATA, 4) == WIDE & 0xFFFF_FFFF
    assert heard.said == []


def test_an_ost_is_told_with_the_source_that_was_stored_before(
    block: HotplugRegisters, heard: Heard
) -> None:
    block.write(COMMAND, 1, RegisterCommand.OST_EVENT)
    block.write(DATA, 4, 0x103)
    assert heard.said == []
    block.write(COMMAND, 1, RegisterCommand.OST_STATUS)
    block.write(DATA, 4, 0x81)
    assert heard.said == [("ost", 1, 0x103, 0x81)]
    slot = block.slots[1]
    assert (slot.source, slot.status) == (0x103, 0x81)
    block.write(COMMAND, 1, RegisterCommand.ARCH_ID)
    block.write(DATA, 4, 9)
    assert heard.said == [("ost", 1, 0x103, 0x81)]


def test_an_access_acts_in_its_aligned_pieces(block: HotplugRegisters) -> None:
    assert list(pieces(0, 4)) == [(0, 4)]
    assert list(pieces(0, 8)) == [(0, 4), (4, 4)]
    assert list(pieces(1, 4)) == [(1, 1), (2, 2), (4, 1)]
    assert list(pieces(6, 2)) == [(6, 2)]
    assert list(pieces(5, 2)) == [(5, 1), (6, 1)]
    block.select(1, RegisterCommand.ARCH_ID)
    low, high = WIDE & 0xFFFF_FFFF, WIDE >> 32
    assert block.read(DATA, 4) == low
    assert block.read(SELECTOR, 8) == high | Flag.PRESENT << 32
    assert block.read(DATA, 2) == low & 0xFFFF


def test_a_store_of_several_pieces_gives_each_its_bytes(block: HotplugRegisters) -> None:
    block.slots[2].enabled = True
    block.write(SELECTOR, 8, 2 | int(Store.FIRMWARE) << 32 | 0xFF << 64)
    assert block.slots[2].firmware
    block.write(SELECTOR, 4, 1 | 1 << 32)  # of a value that is too wide, the low bytes
    block.write(COMMAND, 1, RegisterCommand.ARCH_ID)
    assert block.read(SELECTOR, 4) == WIDE >> 32

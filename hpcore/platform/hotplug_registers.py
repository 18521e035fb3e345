"""The ACPI CPU hotplug register block, as QEMU documents it and as QEMU's own behaves.

Source: docs/specs/acpi_cpu_hotplug.rst and hw/acpi/cpu.c; what those leave open was read
off loongarch64 `virt` (tests/conformance). Offsets and sizes in bytes:

    +0 selector (4, write)    +4 flags (1)    +5 command (1, write)    +8 data (4)

The block keeps what a guest reads, and tells a `Host` what the guest asks for. Who plugs,
who ejects, and whether they may, is the host's: the block holds no rule of the protocol.
Nothing that a guest writes raises an exception; what means nothing is dropped, reads as 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import IntEnum, IntFlag
from typing import Any, Protocol

from attrs import define

LENGTH = 0x0C
SELECTOR, FLAGS, COMMAND, DATA = 0x0, 0x4, 0x5, 0x8
WIDEST = 4


class Flag(IntFlag):
    """What a read of the flags says of the selected slot."""

    ENABLED = 1 << 0
    INSERT = 1 << 1
    REMOVE = 1 << 2
    FIRMWARE = 1 << 4  # its removal is left to firmware
    PRESENT = 1 << 5  # arm only: the research series' addition, always set there


class Store(IntFlag):
    """What a store to the flags asks for; of several bits, the lowest alone is heeded."""

    CLEAR_INSERT = 1 << 1
    CLEAR_REMOVE = 1 << 2
    EJECT = 1 << 3
    FIRMWARE = 1 << 4


class RegisterCommand(IntEnum):
    """What `data` means. Any other value leaves the command as it was."""

    NEXT_WITH_EVENT = 0
    OST_EVENT = 1
    OST_STATUS = 2
    ARCH_ID = 3


class Host(Protocol):
    """Who hears what the guest asks for. Called after the block has changed."""

    def insert_cleared(self, slot: int) -> None:
        """The guest has cleared the insert bit, which was set."""

    def remove_cleared(self, slot: int) -> None:
        """The guest has cleared the remove bit, which was set."""

    def eject_asked(self, slot: int) -> None:
        """The guest has stored EJECT; nothing in the block has changed."""

    def ost_reported(self, slot: int, source: int, status: int) -> None:
        """The guest has stored an `_OST` status; `source` is the last OST event stored."""

    def events_exhausted(self) -> None:
        """The guest looked for a slot with an event, and there is none."""


@define
class SlotRegisters:
    """What the block holds for one slot. `hotpluggable` is False for one that can't leave."""

    enabled: bool = False
    insert: bool = False
    remove: bool = False
    firmware: bool = False
    hotpluggable: bool = True
    source: int = 0
    status: int = 0

    @property
    def has_event(self) -> bool:
        """Whether NEXT_WITH_EVENT stops here."""
        return self.insert or self.remove or self.firmware


class HotplugRegisters:
    """The block of a machine with `len(arch_ids)` possible vCPUs.

    `arch_ids` are what ARCH_ID reads: mp-affinity on arm. `arm` shows Flag.PRESENT.
    """

    def __init__(self, arch_ids: Sequence[int], host: Host, *, arm: bool = True) -> None:
        self.slots = [SlotRegisters() for _ in arch_ids]
        self._arch_ids, self._host, self._arm = arch_ids, host, arm
        self._selector = 0
        self._command = 0

    @property
    def selected(self) -> tuple[int, int]:
        """Selector and command, as the guest, or `select`, has put them."""
        return self._selector, self._command

    def select(self, selector: int, command: int) -> None:
        """Put selector and command where a machine's reset or a migration wants them."""
        self._selector, self._command = selector, command

    def saved(self) -> dict[str, object]:
        """All that it holds but what a slot is for good, as JSON takes it."""
        slots = [
            [s.enabled, s.insert, s.remove, s.firmware, s.source, s.status] for s in self.slots
        ]
        return {"selector": self._selector, "command": self._command, "slots": slots}

    def load(self, saved: Mapping[str, Any]) -> None:
        """Hold what `saved` has. Raises ValueError, KeyError or TypeError for what it isn't."""
        self._selector, self._command = int(saved["selector"]), int(saved["command"])
        for slot, held in zip(self.slots, saved["slots"], strict=True):
            slot.enabled, slot.insert, slot.remove, slot.firmware = map(bool, held[:4])
            slot.source, slot.status = map(int, held[4:])

    # An access is split into naturally aligned pieces of at most 4 bytes, each of which
    # acts by the offset it starts at (QEMU: access_with_adjusted_size).

    def read(self, offset: int, size: int) -> int:
        """The `size` bytes at `offset`, little endian."""
        value = 0
        for start, width in pieces(offset, size):
            piece = self._read(start) & (1 << 8 * width) - 1
            value |= piece << 8 * (start - offset)
        return value

    def write(self, offset: int, size: int, value: int) -> None:
        """Store the low `size` bytes of `value` at `offset`."""
        for start, width in pieces(offset, size):
            self._write(start, value >> 8 * (start - offset) & (1 << 8 * width) - 1)

    def _read(self, offset: int) -> int:
        if self._selector >= len(self.slots):
            return 0
        slot = self.slots[self._selector]
        if offset == FLAGS:
            return self._flags(slot)
        if offset == DATA and self._command == RegisterCommand.NEXT_WITH_EVENT:
            return self._selector
        if offset == DATA and self._command == RegisterCommand.ARCH_ID:
            return self._arch_ids[self._selector] & 0xFFFF_FFFF
        if offset == SELECTOR and self._command == RegisterCommand.ARCH_ID:  # `data 2` in the text
            return self._arch_ids[self._selector] >> 32
        return 0

    def _flags(self, slot: SlotRegisters) -> int:
        flags = Flag(0)
        for holds, flag in (
            (slot.enabled, Flag.ENABLED),
            (slot.insert, Flag.INSERT),
            (slot.remove, Flag.REMOVE),
            (slot.firmware, Flag.FIRMWARE),
            (self._arm, Flag.PRESENT),
        ):
            if holds:
                flags |= flag
        return int(flags)

    def _write(self, offset: int, value: int) -> None:
        if offset == SELECTOR:
            self._selector = value
        elif self._selector >= len(self.slots):
            return
        elif offset == FLAGS:
            self._store_flags(self._selector, value)
        elif offset == COMMAND:
            self._store_command(value)
        elif offset == DATA:
            self._store_data(self._selector, value)

    def _store_flags(self, index: int, value: int) -> None:
        slot = self.slots[index]
        if value & Store.CLEAR_INSERT:
            was, slot.insert = slot.insert, False
            if was:
                self._host.insert_cleared(index)
        elif value & Store.CLEAR_REMOVE:
            was, slot.remove = slot.remove, False
            if was:
                self._host.remove_cleared(index)
        elif value & Store.EJECT:
            self._host.eject_asked(index)
        elif value & Store.FIRMWARE and slot.enabled and slot.hotpluggable:
            slot.firmware = True

    def _store_command(self, value: int) -> None:
        if value > max(RegisterCommand):
            return
        self._command = value
        if value == RegisterCommand.NEXT_WITH_EVENT:
            self._find_next()

    def _find_next(self) -> None:
        count = len(self.slots)
        for step in range(count):  # from the selected slot itself, once around
            index = (self._selector + step) % count
            if self.slots[index].has_event:
                self._selector = index
                return
        self._host.events_exhausted()

    def _store_data(self, index: int, value: int) -> None:
        slot = self.slots[index]
        if self._command == RegisterCommand.OST_EVENT:
            slot.source = value
        elif self._command == RegisterCommand.OST_STATUS:
            slot.status = value
            self._host.ost_reported(index, slot.source, value)


def pieces(offset: int, size: int) -> Iterator[tuple[int, int]]:
    """(offset, width) of the naturally aligned pieces of an access."""
    end = offset + size
    while offset < end:
        width = WIDEST
        while width > end - offset or offset % width:
            width //= 2
        yield offset, width
        offset += width

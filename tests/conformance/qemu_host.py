"""What QEMU does with its hotplug block, around ours: plug, unplug, eject, and what is told.

The block holds no rule of the protocol, so that with this host nothing may differ from
QEMU. Source: hw/acpi/cpu.c, and what tests/conformance/recordings has of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hpcore.platform.ged import EventRegister, GedEvent
from hpcore.platform.hotplug_registers import Host, HotplugRegisters

Told = tuple[object, ...]
"""("ost", slot, source, status) or ("deleted", slot): what QEMU tells its user."""

Block = Callable[[Sequence[int], Host], HotplugRegisters]


def stock_block(arch_ids: Sequence[int], host: Host) -> HotplugRegisters:
    """The block as QEMU has it, which knows nothing of arm's present bit."""
    return HotplugRegisters(arch_ids, host, arm=False)


class QemuHost:
    """A machine of `possible` vCPUs, of which the first `booted` are there.

    `told` is called with whatever QEMU tells its user; `event` after an event was set in
    `ged`, with whether none had been there. No vCPU but the first is kept from leaving.
    """

    def __init__(
        self,
        possible: int,
        told: Callable[[Told], None],
        event: Callable[[bool], None],
        *,
        booted: int = 1,
        block: Block = stock_block,
    ) -> None:
        self._told, self._event = told, event
        self.ged = EventRegister()
        self.block = block(range(possible), self)
        for registers in self.block.slots[:booted]:
            registers.enabled = True
        self.block.slots[0].hotpluggable = False

    def plug(self, slot: int) -> bool:
        """`device_add`; False where there is a vCPU."""
        registers = self.block.slots[slot]
        if registers.enabled:
            return False
        registers.enabled = registers.insert = True
        self.raise_event(GedEvent.CPU_HOTPLUG)
        return True

    def unplug(self, slot: int) -> bool:
        """`device_del`, a request to the guest; False where no vCPU is, or one that stays."""
        registers = self.block.slots[slot]
        if not registers.enabled or not registers.hotpluggable:
            return False
        registers.remove = True
        self.raise_event(GedEvent.CPU_HOTPLUG)
        return True

    def raise_event(self, event: GedEvent) -> None:
        """Set an event for the guest to take."""
        first = not self.ged.events
        self.ged.events |= event
        self._event(first)

    # the block's Host

    def insert_cleared(self, slot: int) -> None:
        """Nobody listens."""

    def remove_cleared(self, slot: int) -> None:
        """Nobody listens."""

    def events_exhausted(self) -> None:
        """Nobody listens."""

    def eject_asked(self, slot: int) -> None:
        """Carried out within the store, asked for or not; insert and remove stay as they are."""
        registers = self.block.slots[slot]
        if registers.enabled and registers.hotpluggable:
            registers.enabled = registers.firmware = False
            self._told(("deleted", slot))

    def ost_reported(self, slot: int, source: int, status: int) -> None:
        """ACPI_DEVICE_OST."""
        self._told(("ost", slot, source, status))

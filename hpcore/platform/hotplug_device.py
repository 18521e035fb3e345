"""The CPU hotplug registers and the GED of one machine: what the guest meets, what the core sets.

Between two sides: the guest's loads and stores come in by address, from any vCPU's
thread; the core's steps come in by name. What the guest does goes out as the core's
stimuli. The device holds no rule of the protocol but one, which can't wait for the core:
`_EJ0` leaves the vCPU not enabled at once, as the guest looks at `_STA` next; the core
takes that back with `reassert` where it refuses the eject.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import RLock
from typing import Any

from attrs import frozen

from hpcore.model.config import MachineConfig
from hpcore.model.effects import RaiseGed, Reassert, Step
from hpcore.model.machines import SlotState
from hpcore.model.rules import RULES, Rules
from hpcore.model.states import State
from hpcore.model.stimuli import (
    EjectCalled,
    GuestCall,
    InsertAcked,
    OstReported,
    RemoveAcked,
    ScanEnded,
    ScanStarted,
)
from hpcore.model.topology import mp_affinity
from hpcore.model.under_way import under_way
from hpcore.platform import virt
from hpcore.platform.ged import EventRegister, GedEvent
from hpcore.platform.hotplug_registers import HotplugRegisters

DEVIATIONS = {
    "stale_remove": "QEMU leaves insert and remove set when a vCPU is ejected, so the next one "
    "in the slot is born with an eject request; DISABLE clears both",
    "lost_remove": "QEMU's AML looks at remove only where insert is not set and loses the "
    "removal; RegisterTransport looks at both",
    "eject_unrequested": "QEMU ejects whatever the guest asks to; the core refuses what was not "
    "requested, and `reassert` shows the vCPU enabled again",
    "eject_at_once": "QEMU destroys the vCPU within the store; here the store only disables it, "
    "and the core takes the vCPU down step by step",
    "reset_drops_pending": "QEMU's block keeps event bits, selector, command and OST values over "
    "a reset; here a reset clears them, and the guest finds what is plugged in the MADT and _STA",
    "cold_booted_stay": "QEMU protects only the first vCPU from an eject; here every vCPU that "
    "was there at boot stays",
    "always_present": "Stock QEMU has no present flag; the research series adds one, which on "
    "arm64 is set for every possible vCPU",
}
"""Where a guest sees something else than from QEMU's block, and why."""

VERSION = 1
"""Of the form in which the device's state is saved."""


@frozen
class Cursor:
    """What the guest has set of the registers, and no state of the model has.

    The slot that it looks at, what `data` means, the event that it has stored for that slot's
    next `_OST`; and whether it has yet to take a press of the power button.
    """

    selector: int = 0
    command: int = 0
    source: int = 0
    power: bool = False


class HotplugDevice:
    """The device of `config`'s machine.

    `report` gets the guest's calls, `raise_ged` pulses the GED's interrupt (an edge on
    virt.ACPI_GED_GSI). Both are called under the device's lock, so that the order of calls
    is the order of what happened; they must not block, nor call back from another thread.
    `base` is where the board's RegisterTransport has the registers, and `rules` say which
    vCPUs stay: these a guest can't eject.
    """

    def __init__(
        self,
        config: MachineConfig,
        report: Callable[[GuestCall], None],
        raise_ged: Callable[[], None],
        base: int = virt.CPU_HOTPLUG_BASE,
        rules: Rules = RULES,
    ) -> None:
        self._report, self._pulse = report, raise_ged
        self._stays = [rules.stays(i, cold=config.cold_booted(i)) for i in range(config.possible)]
        self._base = base
        self._lock = RLock()
        self._scanning = False
        self._ejected: set[int] = set()  # enabled, until the guest's _EJ0
        self._arch_ids = tuple(mp_affinity(slot) for slot in range(config.possible))
        self._ged = EventRegister()
        self._block = self._new_block()

    @property
    def regions(self) -> tuple[tuple[int, int], ...]:
        """(address, size) of what a machine must direct here."""
        return (
            (self._base, virt.CPU_HOTPLUG_SIZE),
            (virt.GED_BASE, virt.GED_SIZE),
        )

    def read(self, address: int, size: int) -> int:
        """A guest's load of `size` bytes at `address`, little endian."""
        with self._lock:
            if self._in_block(address):
                return self._block.read(address - self._base, size)
            taken = self._ged.read(address - virt.GED_BASE, size)
            if taken & GedEvent.CPU_HOTPLUG:
                self._scanning = True
                self._report(ScanStarted())
            return int(taken)

    def write(self, address: int, size: int, value: int) -> None:
        """A guest's store of the low `size` bytes of `value`."""
        with self._lock:
            if self._in_block(address):
                self._block.write(address - self._base, size, value)

    def enabled(self, slot: int) -> bool:
        """Whether `_STA` of `slot` says so."""
        with self._lock:
            return self._block.slots[slot].enabled

    def pending(self, slot: int) -> tuple[bool, bool]:
        """The insert and the remove bit of `slot`."""
        with self._lock:
            registers = self._block.slots[slot]
            return registers.insert, registers.remove

    @property
    def ged_events(self) -> GedEvent:
        """What the guest has not yet taken from the GED."""
        with self._lock:
            return self._ged.events

    # ---------------------------------------------------------- the core's side

    def apply(self, step: Step, slot: int) -> None:
        """Let the guest see `step` of `slot`; steps that no register shows change nothing."""
        with self._lock:
            registers = self._block.slots[slot]
            if step in (Step.ENABLE, Step.DISABLE):
                self._ejected.discard(slot)
            match step:
                case Step.ENABLE:
                    registers.enabled = True
                case Step.NOTIFY_INSERT:
                    registers.insert = True
                    self.raise_ged()
                case Step.NOTIFY_REMOVE:
                    registers.remove = True
                    self.raise_ged()
                case Step.DISABLE:
                    registers.enabled = registers.insert = registers.remove = False
                    registers.firmware = False

    def reassert(self, slot: int) -> None:
        """`_STA` of `slot` back to what it was before its `_EJ0`, which was refused.

        That of a slot which was not enabled stays so: a guest may eject what is not there.
        """
        with self._lock:
            if slot in self._ejected:
                self._ejected.discard(slot)
                self._block.slots[slot].enabled = True

    def raise_ged(self) -> None:
        """Tell the guest that a vCPU has an event: set the GED's bit and pulse its interrupt."""
        self._tell(GedEvent.CPU_HOTPLUG)

    def press_power_button(self) -> None:
        """Tell the guest that the power button was pressed, if its board's transport has one.

        What comes of it is the guest's business. A reset forgets it, if the guest has not yet
        taken it.
        """
        self._tell(GedEvent.POWER_DOWN)

    @property
    def cursor(self) -> Cursor:
        """Where the guest is."""
        with self._lock:
            selector, command = self._block.selected
            source = self._block.slots[selector].source if selector < len(self._arch_ids) else 0
            return Cursor(selector, command, source, GedEvent.POWER_DOWN in self._ged.events)

    def stand(self, state: State, cursor: Cursor) -> None:
        """Show what `state` says, to a guest that is at `cursor`: of a machine taken up again.

        A vCPU that is on its way out is not enabled: the guest has ejected it, or it is taken by
        force. Forgotten is that a removal was left to firmware, which no guest of hpcore's
        tables does. Nothing is told of this.
        """
        with self._lock:
            self.reset()
            self._scanning = state.shared.scanning
            if state.shared.ged:
                self._ged.events |= GedEvent.CPU_HOTPLUG
            if cursor.power:
                self._ged.events |= GedEvent.POWER_DOWN
            for registers, slot in zip(self._block.slots, state.slots, strict=True):
                registers.enabled = slot.enabled and slot.lifecycle is not SlotState.EJECTING
                registers.insert, registers.remove = slot.insert, slot.remove
            self._block.select(cursor.selector, cursor.command)
            if cursor.selector < len(self._arch_ids):
                self._block.slots[cursor.selector].source = cursor.source

    def reset(self) -> None:
        """The machine's reset: no slot enabled, no event, nothing selected.

        Which slots are plugged is the core's to say anew, by ENABLE.
        """
        with self._lock:
            self._scanning = False
            self._ejected.clear()
            self._ged = EventRegister()
            self._block = self._new_block()

    def do_again(self, state: State) -> None:
        """What a machine's log with `state` has no outcome of, and may be done twice.

        For one that is restored: what was saved of the device may be from just before it.
        """
        for effect in under_way(state):
            match effect:
                case Reassert(slot=slot):
                    self.reassert(slot)
                case RaiseGed():
                    self.raise_ged()

    def saved(self) -> dict[str, object]:
        """Its state, of the form `VERSION`, as JSON takes it. No guest reaches it meanwhile."""
        with self._lock:
            return {
                "scanning": self._scanning,
                "ejected": sorted(self._ejected),
                "ged": int(self._ged.events),
                "block": self._block.saved(),
            }

    def load(self, saved: Mapping[str, Any]) -> None:
        """Take up the state that `saved` gave, on a machine of the same slots.

        Nothing is told of it. Raises ValueError, KeyError or TypeError for what it isn't.
        """
        with self._lock:
            self._scanning = bool(saved["scanning"])
            self._ejected = set(map(int, saved["ejected"]))
            self._ged.events = GedEvent(int(saved["ged"]))
            self._block.load(saved["block"])

    # ------------------------------------------- the block's side (its `Host`)

    def insert_cleared(self, slot: int) -> None:
        """The guest will act on the device check."""
        self._report(InsertAcked(slot))

    def remove_cleared(self, slot: int) -> None:
        """The guest will act on the eject request."""
        self._report(RemoveAcked(slot))

    def eject_asked(self, slot: int) -> None:
        """`_EJ0`: not enabled from here on, and the core decides about the rest."""
        registers = self._block.slots[slot]
        if registers.hotpluggable:
            if registers.enabled:
                self._ejected.add(slot)
            registers.enabled = registers.firmware = False
        self._report(EjectCalled(slot))

    def ost_reported(self, slot: int, source: int, status: int) -> None:
        """`_OST`."""
        self._report(OstReported(slot, source, status))

    def events_exhausted(self) -> None:
        """The scan that began with the GED's register ends here."""
        if self._scanning:
            self._scanning = False
            self._report(ScanEnded())

    # ----------------------------------------------------------------- details

    def _tell(self, event: GedEvent) -> None:
        with self._lock:
            self._ged.events |= event
            self._pulse()

    def _new_block(self) -> HotplugRegisters:
        block = HotplugRegisters(self._arch_ids, self)
        for slot, registers in enumerate(block.slots):
            registers.hotpluggable = not self._stays[slot]
        return block

    def _in_block(self, address: int) -> bool:
        return 0 <= address - self._base < virt.CPU_HOTPLUG_SIZE

"""The orders of the protocol, what of it can be switched off, and what others do otherwise.

`BUILD` and `TEARDOWN` are the whole sequence of a plug and of an eject. A `Rules` value
is the protocol as data: the real one is `RULES`; a mutant, for the checker and the
tests, is `RULES` with a guard or a habit left out or an order changed. Another protocol, such as a
revision of the series, has other orders, and traits that hpcore's own has not (`revision`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum

import attrs
from attrs import field, frozen

from hpcore.model.acpi import MadtFlag, gicc_flags
from hpcore.model.effects import Step
from hpcore.model.machines import GiccState, SlotState
from hpcore.model.states import BOOT_VCPU, Slot

BUILD: tuple[Step, ...] = (
    Step.REALIZE,
    Step.BIND,
    Step.WIRE,
    Step.ENABLE,
    Step.NOTIFY_INSERT,
)
"""A plug, in order. A cold-booted vCPU takes the same way, without the notification."""

TEARDOWN: tuple[Step, ...] = (
    Step.DISABLE,
    Step.POWER_OFF,
    Step.UNWIRE,
    Step.UNBIND,
    Step.STOP,
    Step.RELEASE,
    Step.PARK,
)
"""An eject, and the way back of a failed plug, in order; `Rules.needed` leaves some out."""


def _enabled(slot: Slot) -> bool:
    return slot.enabled


def _powered(slot: Slot) -> bool:
    return slot.powered


def _wired(slot: Slot) -> bool:
    return slot.gicc is GiccState.WIRED


def _bound(slot: Slot) -> bool:
    return slot.gicc is not GiccState.UNBOUND


def _has_thread(slot: Slot) -> bool:
    return slot.thread


def _has_space(slot: Slot) -> bool:
    return slot.space


def _always(_slot: Slot) -> bool:
    return True


def _has_no_space(slot: Slot) -> bool:
    return not slot.space


def _parked(slot: Slot) -> bool:
    return slot.lifecycle is SlotState.PARKED


def _unbound(slot: Slot) -> bool:
    return slot.gicc is GiccState.UNBOUND


def _bound_alone(slot: Slot) -> bool:
    return slot.gicc is GiccState.BOUND


def _shut(slot: Slot) -> bool:
    return slot.gicc is GiccState.SHUT


NEEDED: Mapping[Step, Callable[[Slot], bool]] = {
    Step.DISABLE: _enabled,
    Step.POWER_OFF: _powered,
    Step.UNWIRE: _wired,
    Step.UNBIND: _bound,
    Step.STOP: _has_thread,
    Step.RELEASE: _has_space,
    Step.PARK: _always,
    Step.SHUT: _wired,
    Step.HALT: _always,
}
"""Whether a step of the teardown is still to be done, read off the slot's facts. Functions
with names, so that rules can be sent to another process."""

MISSING: Mapping[Step, Callable[[Slot], bool]] = {
    Step.REALIZE: _has_no_space,
    Step.WAKE: _parked,
    Step.BIND: _unbound,
    Step.WIRE: _bound_alone,
    Step.OPEN: _shut,
}
"""Whether a step of a plug is still to be done, of a vCPU that an unplug has left whole."""


class Habit(StrEnum):
    """What the core does of its own accord, beside refusing."""

    REMOVE_WAITS_FOR_INSERT = "remove_waits_for_insert"
    """An eject request waits until the guest has taken the device check, so that no scan
    meets both bits (peer bug 3, a removal lost to the ElseIf)."""
    DISABLE_CLEARS_EVENTS = "disable_clears_events"
    """An ejected slot keeps no event bit (peer bug 4, a vCPU born with a removal)."""
    SCAN_END_REARMS_GED = "scan_end_rearms_ged"
    """A scan that leaves event bits set is followed by another."""
    RESET_DROPS_PENDING = "reset_drops_pending"
    """A reset clears event bits and eject requests (QEMU's own registers do not)."""
    RESET_KEEPS_PLUGGED = "reset_keeps_plugged"
    RESTART_WAITS_FOR_RESUME = "restart_waits_for_resume"
    """A machine that was reset in a pause, or while it was off, starts when it is resumed."""
    POWER_OFF_ENDS_COMMANDS = "power_off_ends_commands"
    """A guest's power-off ends every `device_del` that waits for the guest, with an error."""
    RESET_ENDS_COMMANDS = "reset_ends_commands"
    """A reset ends every `device_del` that the guest was asked for, with an error. One that
    it was not asked for yet is put to it after the reset."""
    MIGRATION_KEEPS_HOTPLUGGABLE = "migration_keeps_hotpluggable"
    """A plugged vCPU can still be unplugged after migration (peer bug 6)."""
    EJECT_WAITS_FOR_MIGRATION = "eject_waits_for_migration"
    """What a guest ejects while the machine migrates or is saved is taken down once that has
    ended, by whoever has the machine then: nothing is under way while its state is carried."""
    PLUG_WAITS_FOR_CONFIRMATION = "plug_waits_for_confirmation"
    """A slot that the guest has ejected is built anew once the guest is through with that: it
    looks at `_STA` after `_EJ0`, and takes an eject for incomplete where it says enabled
    (RFC, E.8 g; drivers/acpi/scan.c, acpi_scan_hot_remove)."""
    FAILED_PLUG_IS_UNDONE = "failed_plug_is_undone"
    UNPLUG_ASKS_ANEW = "unplug_asks_anew"
    """A `device_del` asks a guest that was asked before and has not answered, as QEMU's does:
    one in early boot may have lost the event."""
    GUEST_REFUSAL_ENDS_UNPLUG = "guest_refusal_ends_unplug"
    """`_OST` with a refusal ends the `device_del` (the peer never says so)."""


class Trait(StrEnum):
    """What another protocol does that hpcore's own does not; each is off unless it is named."""

    COLD_BOOTED_CAN_GO = "cold_booted_can_go"
    """A vCPU that was there at boot is unplugged like any other, but for vCPU 0 (v7)."""
    DISABLED_STAY_BEHIND = "disabled_stay_behind"
    """A migration carries the enabled vCPUs. Any other is at the destination as if it had
    never been enabled (v6, v7)."""
    REALIZED_AT_START = "realized_at_start"
    """Every possible vCPU is realized before the boot, and wired, its GICC shut. Without it a
    vCPU is realized at its first plug."""
    THREAD_AT_CPU_ON = "thread_at_cpu_on"
    """A vCPU has no thread before its first CPU_ON (the "deferred" experiment)."""
    FINALIZED_WHEN_CREATED = "finalized_when_created"
    """The SVE lengths of a vCPU that does not boot are made final as it is created (v6)."""
    NO_FORCE = "no_force"
    """`device_del` knows no `force` (QEMU's)."""
    NO_DEADLINE = "no_deadline"
    """Whatever the guest owes is waited for without end (QEMU's)."""


@frozen
class Rules:
    """The protocol as data: orders, what of them is needed, habits, and guards that are off.

    `traits` are what it has that hpcore's own has not.
    """

    build: tuple[Step, ...] = BUILD
    teardown: tuple[Step, ...] = TEARDOWN
    needed: Mapping[Step, Callable[[Slot], bool]] = field(default=NEEDED, hash=False)
    """Of which slots a step of the teardown is asked; of the others it is left out."""
    habits: frozenset[Habit] = field(default=frozenset(Habit))
    guards_off: frozenset[str] = frozenset()
    traits: frozenset[Trait] = frozenset()

    def without(self, name: str) -> Rules:
        """These rules with the guard or habit `name` switched off."""
        if name in {str(h) for h in Habit}:
            return attrs.evolve(self, habits=self.habits - {Habit(name)})
        return attrs.evolve(self, guards_off=self.guards_off | {name})

    def stays(self, index: int, *, cold: bool) -> bool:
        """Whether the vCPU is there for the machine's life: it has no `_EJ0` then."""
        return cold and (index == BOOT_VCPU or Trait.COLD_BOOTED_CAN_GO not in self.traits)

    def madt_flags(self, index: int, *, cold: bool) -> MadtFlag:
        """What the MADT says of the vCPU. The tables that a guest reads are made of this."""
        return gicc_flags(stays=self.stays(index, cold=cold))

    @property
    def keeps_vcpus(self) -> bool:
        """Whether an unplug leaves the vCPU whole, for a plug to wake it."""
        return Step.WAKE in self.build

    def build_step_after(self, step: Step | None, slot: Slot) -> Step | None:
        """The step of a plug of `slot` that follows `step`; the first one after None."""
        at = 0 if step is None else self.build.index(step) + 1
        for later in self.build[at:]:
            if not self.keeps_vcpus or MISSING.get(later, _always)(slot):
                return later
        return None

    def teardown_step(self, slot: Slot) -> Step:
        """The next step of an eject, from the slot's facts."""
        return next(step for step in self.teardown if self.needed[step](slot))


RULES = Rules()

"""What must hold of the whole machine: of its start, its reset and its end, and when it is carried.

The numbers are those of the list of orders that must hold.
"""

from __future__ import annotations

from hpcore.model import events as ev
from hpcore.model.effects import CARRYING, MachineStep
from hpcore.model.machines import Phase, SlotState
from hpcore.model.properties import Change, Property, always
from hpcore.model.states import Owed, Shared, Slot


def _reset_keeps(c: Change) -> bool:
    if isinstance(c.event, ev.MachineStepBegun) and c.event.step in (
        MachineStep.START,
        MachineStep.RESTART,
    ):
        return (c.index in c.event.enabled) == c.after.enabled
    if not isinstance(c.event, ev.MachineWasReset):
        return True
    pending = c.after.insert or c.after.remove or c.after.requested
    pending |= c.before.requested and c.before.command in (Owed.UNPLUG, Owed.REVOKE)
    kept = c.after.enabled == c.before.enabled and c.after.gicc is c.before.gicc
    return kept and not pending and not c.after.powered and (
        (c.index in c.event.enabled) == c.after.enabled
    )  # fmt: skip


def _only_boot_vcpu_on(index: int, slot: Slot, shared: Shared) -> bool:
    # A power-down may come while vCPU 0 is being started again; it takes over the step.
    begun = shared.step in (MachineStep.RESTART, MachineStep.POWER_DOWN)
    waits = shared.phase is Phase.RESETTING and not begun
    return not (waits and slot.powered)


def _nothing_under_way(index: int, slot: Slot, shared: Shared) -> bool:
    if not shared.migrating:
        return True
    ejected = slot.command is Owed.UNPLUG and slot.lifecycle is SlotState.EJECTING
    return slot.step is None and (ejected or not slot.busy)


def _migration_carries(c: Change) -> bool:
    match c.event:
        case ev.MachineStepBegun(step=step) if step in CARRYING:
            return not c.before.busy
        case ev.MachineStepDone(step=step) | ev.MachineStepFailed(step=step) if step in CARRYING:
            return c.after == c.before
    return True


def _restored_as_saved(c: Change) -> bool:
    if not isinstance(c.event, ev.Restored):
        return True
    told = (c.shared_before.ged, c.shared_before.scanning, c.shared_before.phase)
    return (
        c.shared_before.step is MachineStep.SAVE
        and c.after == c.before
        and told == (c.shared.ged, c.shared.scanning, c.shared.phase)
        and c.shared.paused
        and c.shared.step is None
    )


def _starts_in_order(c: Change) -> bool:
    match c.event:
        case ev.MachineStepBegun(step=MachineStep.START):
            return c.before.enabled or not (c.before.cold or c.before.command is Owed.PLUG)
        case ev.MachineStepBegun(step=MachineStep.RESTART):
            return not c.shared_before.paused
    return True


def _off_is_still(index: int, slot: Slot, shared: Shared) -> bool:
    return shared.phase is not Phase.OFF or not (slot.powered or slot.requested)


def _off_keeps(c: Change) -> bool:
    if not isinstance(c.event, ev.MachinePoweredOff) or c.shared.phase is not Phase.OFF:
        return True
    kept = c.after.enabled == c.before.enabled and c.after.gicc is c.before.gicc
    return kept and c.after.id == c.before.id and c.after.lifecycle is not SlotState.ONLINE


MACHINE_STEPS = (ev.MachineStepBegun, ev.MachineStepDone, ev.MachineStepFailed)


MACHINE_INVARIANTS: tuple[Property, ...] = (
    always(
        "reset_keeps_plugged",
        "A reset keeps what is plugged, drops what is pending, and starts vCPU 0 alone with "
        "the enabled slots told to the firmware.",
        _only_boot_vcpu_on,
        _reset_keeps,
        at_rest=True,
        of=(ev.MachineStepBegun, ev.MachineWasReset),
        number=12,
    ),
    always(
        "off_keeps_plugged",
        "A machine that its guest has powered off keeps what is plugged; no vCPU is on, and the "
        "guest is asked for none.",
        _off_is_still,
        _off_keeps,
        of=(ev.MachinePoweredOff,),
        number=12,
        since=(0, 4),
    ),
    always(
        "starts_in_order",
        "vCPU 0 starts once all is enabled that is there at boot, or was plugged before; and "
        "again after a reset, but not in a pause.",
        on_event=_starts_in_order,
        of=(ev.MachineStepBegun,),
        number=12,
        since=(0, 4),
    ),
    always(
        "migration_carries_all",
        "A migration, or a save, starts when nothing is owed and carries the whole state. "
        "Meanwhile nothing is under way, and nothing comes to be owed but what the guest ejects; "
        "it leaves every slot as it is, also when it fails.",
        _nothing_under_way,
        _migration_carries,
        at_rest=True,
        of=MACHINE_STEPS,
        number=12,
    ),
    always(
        "restored_as_saved",
        "A machine that is restored owes what it owed when it was saved and has been told no "
        "more and no less; it stands still until it is resumed.",
        on_event=_restored_as_saved,
        of=(ev.Restored,),
        number=12,
    ),
)  # fmt: skip

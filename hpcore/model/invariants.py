"""What must hold, by name: in every state, and over every event.

The numbers are those of the list of orders that must hold. The names are what a replay, the
checker and a refusal speak of. What a property may look at is in `properties`.
"""

from __future__ import annotations

from hpcore.model import events as ev
from hpcore.model.acpi import MadtFlag
from hpcore.model.answers import ANSWERS
from hpcore.model.consequences import CONSEQUENCES
from hpcore.model.effects import CARRYING, MachineStep, Step
from hpcore.model.machines import GiccState, Phase, SlotState
from hpcore.model.properties import Change, Invariants, Property, always
from hpcore.model.states import Owed, Shared, Slot, madt_flags, sta
from hpcore.model.topology import mp_affinity

_MADT = (MadtFlag.ENABLED, MadtFlag.ONLINE_CAPABLE)


def _begins(change: Change, *steps: Step) -> bool:
    return isinstance(change.event, ev.StepBegun) and change.event.step in steps


def _in_build_order(c: Change) -> bool:
    if isinstance(c.event, ev.ColdBootDone | ev.PlugCompleted):
        return c.before.enabled
    if not isinstance(c.event, ev.StepBegun):
        return True
    match c.event.step:
        case Step.REALIZE:
            return not c.before.thread and c.before.lifecycle is SlotState.PARKED
        case Step.BIND:
            return c.before.thread and c.before.gicc is GiccState.UNBOUND
        case Step.WIRE:
            return c.before.thread and c.before.gicc is GiccState.BOUND
        case Step.ENABLE:
            return c.before.gicc is GiccState.WIRED and not c.before.enabled
        case _:
            return True


def _in_eject_order(c: Change) -> bool:
    if not isinstance(c.event, ev.StepBegun):
        return True
    s = c.before
    match c.event.step:
        case Step.DISABLE:
            return s.enabled
        case Step.POWER_OFF:
            return s.powered and not s.enabled
        case Step.UNWIRE:
            return not s.enabled and s.gicc is GiccState.WIRED
        case Step.UNBIND:
            return not s.enabled and s.gicc is GiccState.BOUND
        case Step.STOP:
            return s.thread and s.gicc is GiccState.UNBOUND
        case Step.RELEASE:
            return s.space and not s.thread
        case Step.PARK:
            return not s.space and not s.thread and s.gicc is GiccState.UNBOUND
        case _:
            return True


def _ejected_rightly(c: Change) -> bool:
    if isinstance(c.event, ev.EjectAccepted):
        return c.before.requested and not c.before.powered
    if _begins(c, Step.UNWIRE, Step.UNBIND, Step.STOP, Step.RELEASE, Step.PARK):
        return not c.before.powered
    return True


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


def _owed_by_someone(index: int, slot: Slot, shared: Shared) -> bool:
    if shared.ended:
        return slot.command is Owed.NONE and slot.step is None
    if shared.phase is Phase.OFF:
        return not slot.waits_for_guest
    if slot.lifecycle is SlotState.EJECTING and slot.step is None and not slot.stalled:
        return shared.migrating and slot.command is Owed.UNPLUG
    being_reset = shared.phase is Phase.RESETTING
    match slot.command:
        case Owed.NONE:
            return slot.step is None or slot.lifecycle in (
                SlotState.EJECTING, SlotState.ENABLED, SlotState.ONLINE,
            )  # fmt: skip
        case Owed.UNPLUG:
            return slot.step is not None or slot.insert or slot.requested or being_reset
        case Owed.PLUG:
            built = slot.enabled and shared.phase is Phase.READY
            waits = being_reset or _before_plugs(shared)
            return slot.step is not None or slot.unconfirmed or built or waits
        case _:
            return slot.step is not None
    return True


def _before_plugs(shared: Shared) -> bool:
    """Whether a plug waits for the machine's boot, or for the end that overtook it."""
    starts = shared.step in (MachineStep.START, MachineStep.POWER_DOWN)
    return shared.phase in (Phase.DEFINED, Phase.CREATED) or (
        shared.phase is Phase.READY and starts
    )


def _one_at_a_time(c: Change) -> bool:
    match c.event:
        case ev.StepBegun():
            return c.before.step is None
        case ev.StepDone(step=step) | ev.StepFailed(step=step):
            return c.before.step is step
        case ev.MachineStepBegun(step=MachineStep.POWER_DOWN):
            return True  # the user can always end the machine
        case ev.MachineStepBegun(step=MachineStep.RESTART):
            return c.shared_before.step in (None, MachineStep.RESTART)
        case ev.MachineStepBegun():
            return c.shared_before.step is None
        case ev.MachineStepDone(step=whole) | ev.MachineStepFailed(step=whole):
            return c.shared_before.step is whole
    return True


def _accepted_while_up(c: Change) -> bool:
    match c.event:
        case ev.PlugAccepted():
            return c.shared.phase not in _OVER and not c.shared.migrating
        case ev.UnplugAccepted() | ev.UnplugRepeated():
            # What was plugged before the boot can be taken back before the boot.
            up = c.shared.phase in (Phase.RUNNING, Phase.RESETTING, Phase.DEFINED)
            return up and not c.shared.migrating
        case ev.MachineStepBegun(
            step=MachineStep.PAUSE | MachineStep.MIGRATE | MachineStep.SAVE
        ):
            return c.shared_before.phase is Phase.RUNNING
        case ev.MachineStepBegun(step=MachineStep.RESUME):
            return c.shared_before.phase is Phase.RUNNING or _reset_in_a_pause(c.shared_before)
        case ev.MachineStepBegun(step=MachineStep.RESET):
            return c.shared_before.phase in (Phase.RUNNING, Phase.OFF) or _reset_in_a_pause(
                c.shared_before
            )
    return True


_OVER = (Phase.OFF, Phase.ENDED, Phase.FAILED)


def _reset_in_a_pause(shared: Shared) -> bool:
    return shared.phase is Phase.RESETTING and shared.paused


def _ends_undisturbed(c: Change) -> bool:
    match c.event:
        case ev.PlugAccepted() | ev.UnplugAccepted() | ev.UnplugRepeated():
            return not c.shared_before.ending
        case ev.MachineStepBegun(step=step):
            return step is MachineStep.POWER_DOWN or not c.shared_before.ending
    return True


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


_ACCEPTED = (ev.PlugAccepted, ev.UnplugAccepted, ev.ColdBootBegun, ev.EjectAccepted)
_ENDED = (
    ev.PlugCompleted, ev.PlugFailed, ev.UnplugCompleted, ev.UnplugFailed, ev.ColdBootDone,
    ev.MachinePoweredOff, ev.MachineLost,
)  # fmt: skip


_GIVEN = (ev.PlugAccepted, ev.UnplugAccepted, ev.UnplugRepeated, ev.MachineStepBegun)
_MACHINE_STEPS = (ev.MachineStepBegun, ev.MachineStepDone, ev.MachineStepFailed)


def _command_ends_once(c: Change) -> bool:
    was, now = c.before.command, c.after.command
    if isinstance(c.event, ev.UnplugRepeated):
        return was is now is Owed.UNPLUG
    if isinstance(c.event, _ACCEPTED):
        escalates = isinstance(c.event, ev.UnplugAccepted) and c.event.forced
        if isinstance(c.event, ev.EjectAccepted):
            return now is (was if was is not Owed.NONE else Owed.UNPLUG)
        return was is Owed.NONE or (was is Owed.UNPLUG and escalates)
    if now is Owed.NONE and was is not Owed.NONE:
        return isinstance(c.event, _ENDED)
    return True


INVARIANTS: tuple[Property, ...] = (
    always(
        "vcpus_before_gic",
        "All possible vCPUs are created before the GIC is initialised, none after, and "
        "none is destroyed.",
        lambda i, s, m: (m.gic_inits == 0 or s.created) and (s.created or not s.thread),
        lambda c: c.after.created or not c.before.created,
        number=1,
    ),
    always(
        "gic_sized_once",
        "The GIC is initialised once, for all possible vCPUs.",
        lambda i, s, m: m.gic_inits <= 1 and (m.phase is not Phase.RUNNING or m.gic_inits == 1),
        number=2,
    ),
    always(
        "parked_is_inert",
        "A parked vCPU has no thread and no GICC, is powered off and not enabled.",
        lambda i, s, m: s.lifecycle is not SlotState.PARKED
        or not (s.thread or s.space or s.powered or s.enabled or s.registered
                or s.gicc is not GiccState.UNBOUND),
        number=3,
    ),
    always(
        "enabled_is_wired",
        "_STA always says present; enabled only if the vCPU is realized and its GICC wired.",
        lambda i, s, m: bool(sta(s) & 1)
        and (not s.enabled or (s.thread and s.space and s.gicc is GiccState.WIRED)),
        number=4,
    ),
    always(
        "built_in_order",
        "A plug realizes, binds, wires and enables, in that order, each once, before it ends.",
        on_event=_in_build_order,
        of=(ev.StepBegun, ev.ColdBootDone, ev.PlugCompleted),
        number=4,
    ),
    always(
        "notified_only_enabled",
        "A device check or an eject request concerns an enabled slot.",
        lambda i, s, m: s.enabled or not (s.insert or s.remove or s.requested),
        lambda c: c.before.enabled
        or not _begins(c, Step.NOTIFY_INSERT, Step.NOTIFY_REMOVE),
        of=(ev.StepBegun,),
        number=5,
    ),
    always(
        "cpu_on_only_enabled",
        "CPU_ON is granted to an enabled vCPU that is off, and to no other.",
        on_event=lambda c: not isinstance(c.event, ev.CpuOnGranted)
        or (c.before.enabled and not c.before.powered),
        of=(ev.CpuOnGranted,),
        number=6,
    ),
    always(
        "online_is_enabled",
        "An online vCPU is enabled and on; an enabled one that is not online is off.",
        lambda i, s, m: (s.lifecycle is not SlotState.ONLINE or (s.enabled and s.powered))
        and (s.lifecycle is not SlotState.ENABLED or (s.enabled and not s.powered))
        and (not s.powered or s.lifecycle in (SlotState.ONLINE, SlotState.EJECTING)),
        number=6,
    ),
    always(
        "eject_requested_and_off",
        "An eject is carried out if it was requested and the vCPU is off, by the "
        "accelerator's word.",
        on_event=_ejected_rightly,
        of=(ev.EjectAccepted, ev.StepBegun),
        number=7,
    ),
    always(
        "eject_in_order",
        "An eject disables, unwires, unbinds, stops the thread, releases the address space "
        "and parks, in that order, each once.",
        on_event=_in_eject_order,
        of=(ev.StepBegun,),
        number=8,
    ),
    always(
        "eject_confirmed_first",
        "A slot that the guest has ejected is not enabled again before the guest is through "
        "with the eject, or silent.",
        lambda i, s, m: not (s.unconfirmed and s.enabled and s.lifecycle is not SlotState.EJECTING),
        number=8,
        since=(0, 3),
    ),
    always(
        "cold_booted_stays",
        "A cold-booted vCPU is never ejected, whoever asks.",
        lambda i, s, m: not s.cold
        or not (s.lifecycle is SlotState.EJECTING or s.requested or s.remove),
        number=9,
    ),
    always(
        "gicc_touched_while_bound",
        "The registers of a GICC are touched only while it is bound.",
        on_event=lambda c: not _begins(c, Step.WIRE, Step.UNWIRE)
        or c.before.gicc is not GiccState.UNBOUND,
        of=(ev.StepBegun,),
        number=10,
    ),
    always(
        "gicc_matches_affinity",
        "A slot's GICC is the one whose GICR_TYPER has the slot's mp-affinity, always the same.",
        lambda i, s, m: s.affinity is None or s.affinity == mp_affinity(i),
        lambda c: c.before.affinity is None or c.after.affinity == c.before.affinity,
        number=10,
    ),
    always(
        "madt_fixed",
        "The MADT says enabled or online-capable, one of the two, for the machine's life.",
        lambda i, s, m: madt_flags(s) in _MADT,
        lambda c: madt_flags(c.before) == madt_flags(c.after),
        number=11,
    ),
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
        of=_MACHINE_STEPS,
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
    always(
        "no_command_lost",
        "An accepted command is always waited for by someone, and has ended when the machine has.",
        _owed_by_someone,
        at_rest=True,
        number=13,
    ),
    always(
        "commands_while_up",
        "A command is accepted while the machine runs, a reset and what follows it also in a "
        "pause and when it is off; a plug before the boot, too, and one about a vCPU while it is "
        "reset, but not while it migrates.",
        on_event=_accepted_while_up,
        of=_GIVEN,
        number=13,
    ),
    always(
        "ends_undisturbed",
        "While the user ends the machine, no command is accepted and nothing of it is begun.",
        on_event=_ends_undisturbed,
        of=_GIVEN,
        number=13,
        since=(0, 5),
    ),
    always(
        "command_ends_once",
        "A command is accepted when none is owed, and ends with its own completion or error.",
        on_event=_command_ends_once,
        number=13,
    ),
    always(
        "no_notification_lost",
        "An event bit that is set has the GED raised, or a scan under way that will see it.",
        lambda i, s, m: not (s.insert or s.remove) or m.ged or m.scanning,
        at_rest=True,
        number=13,
    ),
    always(
        "removal_not_shadowed",
        "A slot never has both event bits set: the guest would take the insertion alone.",
        lambda i, s, m: not (s.insert and s.remove),
        number=13,
    ),
    always(
        "one_step_at_a_time",
        "One effect is under way for a slot, and one for the machine, and an outcome is that "
        "effect's.",
        on_event=_one_at_a_time,
        of=(ev.StepBegun, ev.StepDone, ev.StepFailed, *_MACHINE_STEPS),
        number=13,
    ),
    *CONSEQUENCES,
    *ANSWERS,
)  # fmt: skip


BY_NAME = {i.name: i for i in INVARIANTS}

HELD = Invariants(INVARIANTS)
"""hpcore's own invariants, as they are held wherever no others are given."""


def kept_by(version: str) -> Invariants:
    """The invariants that the core of hpcore `version`, such as "0.2.0", has kept.

    All of them where `version` is none.
    """
    try:
        wrote = tuple(int(part) for part in version.split("."))
    except ValueError:
        return HELD
    return Invariants(i for i in INVARIANTS if i.since <= wrote)

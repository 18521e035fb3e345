"""What must hold, by name: in every state, and over every event.

The numbers are those of the design's list. An invariant looks at one slot and the shared
part, never at two slots, so that a checker can hold it against tables of slots. `on_state`
is asked of a state; `on_event` of an event with the slot before and after it. The names
are what a replay, the checker and a refusal speak of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from attrs import frozen

from hpcore.model import events as ev
from hpcore.model.acpi import MadtFlag
from hpcore.model.effects import MachineStep, Step
from hpcore.model.machines import GiccState, Phase, SlotState
from hpcore.model.states import (
    Owed,
    Shared,
    Slot,
    State,
    madt_flags,
    sta,
)
from hpcore.model.topology import mp_affinity


@frozen
class Change:
    """One event, as one slot saw it."""

    index: int
    before: Slot
    shared_before: Shared
    event: ev.Event
    after: Slot
    shared: Shared


@frozen
class Invariant:
    """A rule with a name; `says` is the sentence shown when it is broken."""

    name: str
    number: int
    says: str
    on_state: Callable[[int, Slot, Shared], bool] | None = None
    on_event: Callable[[Change], bool] | None = None
    at_rest: bool = False
    """Asked of the state that a whole decision leads to, not between its events."""


TRANSITION = "transition"
"""Named like an invariant: an event that a machine's table has no transition for."""


@frozen
class Violation:
    """An invariant that does not hold, and for which slot."""

    invariant: str
    slot: int
    says: str


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
    kept = c.after.enabled == c.before.enabled and c.after.gicc is c.before.gicc
    return kept and not pending and not c.after.powered and (
        (c.index in c.event.enabled) == c.after.enabled
    )  # fmt: skip


def _only_boot_vcpu_on(index: int, slot: Slot, shared: Shared) -> bool:
    # A power-down may come while vCPU 0 is being started again; it takes over the step.
    begun = shared.step in (MachineStep.RESTART, MachineStep.POWER_DOWN)
    waits = shared.phase is Phase.RESETTING and not begun
    return not (waits and slot.powered)


def _migration_carries(c: Change) -> bool:
    if isinstance(c.event, ev.MachineStepDone) and c.event.step is MachineStep.MIGRATE:
        return c.after == c.before
    return True


def _owed_by_someone(index: int, slot: Slot, shared: Shared) -> bool:
    if shared.ended:
        return slot.command is Owed.NONE and slot.step is None
    if slot.lifecycle is SlotState.EJECTING and slot.step is None and not slot.stalled:
        return False
    match slot.command:
        case Owed.NONE:
            return slot.step is None or slot.lifecycle in (
                SlotState.EJECTING, SlotState.ENABLED, SlotState.ONLINE,
            )  # fmt: skip
        case Owed.UNPLUG:
            return slot.step is not None or slot.insert or slot.requested
        case _:
            return slot.step is not None
    return True


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


_ACCEPTED = (ev.PlugAccepted, ev.UnplugAccepted, ev.ColdBootBegun, ev.EjectAccepted)
_ENDED = (
    ev.PlugCompleted, ev.PlugFailed, ev.UnplugCompleted, ev.UnplugFailed, ev.ColdBootDone,
    ev.MachinePoweredOff, ev.MachineLost,
)  # fmt: skip


def _command_ends_once(c: Change) -> bool:
    was, now = c.before.command, c.after.command
    if isinstance(c.event, _ACCEPTED):
        escalates = isinstance(c.event, ev.UnplugAccepted) and c.event.forced
        if isinstance(c.event, ev.EjectAccepted):
            return now is (was if was is not Owed.NONE else Owed.UNPLUG)
        return was is Owed.NONE or (was is Owed.UNPLUG and escalates)
    if now is Owed.NONE and was is not Owed.NONE:
        return isinstance(c.event, _ENDED)
    return True


INVARIANTS: tuple[Invariant, ...] = (
    Invariant(
        "vcpus_before_gic", 1,
        "All possible vCPUs are created before the GIC is initialised, none after, and "
        "none is destroyed.",
        lambda i, s, m: (m.gic_inits == 0 or s.created) and (s.created or not s.thread),
        lambda c: c.after.created or not c.before.created,
    ),
    Invariant(
        "gic_sized_once", 2,
        "The GIC is initialised once, for all possible vCPUs.",
        lambda i, s, m: m.gic_inits <= 1 and (m.phase is not Phase.RUNNING or m.gic_inits == 1),
    ),
    Invariant(
        "parked_is_inert", 3,
        "A parked vCPU has no thread and no GICC, is powered off and not enabled.",
        lambda i, s, m: s.lifecycle is not SlotState.PARKED
        or not (s.thread or s.space or s.powered or s.enabled or s.registered
                or s.gicc is not GiccState.UNBOUND),
    ),
    Invariant(
        "enabled_is_wired", 4,
        "_STA always says present; enabled only if the vCPU is realized and its GICC wired.",
        lambda i, s, m: bool(sta(s) & 1)
        and (not s.enabled or (s.thread and s.space and s.gicc is GiccState.WIRED)),
    ),
    Invariant(
        "built_in_order", 4,
        "A plug realizes, binds, wires and enables, in that order, each once, before it ends.",
        on_event=_in_build_order,
    ),
    Invariant(
        "notified_only_enabled", 5,
        "A device check or an eject request concerns an enabled slot.",
        lambda i, s, m: s.enabled or not (s.insert or s.remove or s.requested),
        lambda c: c.before.enabled
        or not _begins(c, Step.NOTIFY_INSERT, Step.NOTIFY_REMOVE),
    ),
    Invariant(
        "cpu_on_only_enabled", 6,
        "CPU_ON is granted to an enabled vCPU that is off, and to no other.",
        on_event=lambda c: not isinstance(c.event, ev.CpuOnGranted)
        or (c.before.enabled and not c.before.powered),
    ),
    Invariant(
        "online_is_enabled", 6,
        "An online vCPU is enabled and on; an enabled one that is not online is off.",
        lambda i, s, m: (s.lifecycle is not SlotState.ONLINE or (s.enabled and s.powered))
        and (s.lifecycle is not SlotState.ENABLED or (s.enabled and not s.powered))
        and (not s.powered or s.lifecycle in (SlotState.ONLINE, SlotState.EJECTING)),
    ),
    Invariant(
        "eject_requested_and_off", 7,
        "An eject is carried out if it was requested and the vCPU is off, by the "
        "accelerator's word.",
        on_event=_ejected_rightly,
    ),
    Invariant(
        "eject_in_order", 8,
        "An eject disables, unwires, unbinds, stops the thread, releases the address space "
        "and parks, in that order, each once.",
        on_event=_in_eject_order,
    ),
    Invariant(
        "cold_booted_stays", 9,
        "A cold-booted vCPU is never ejected, whoever asks.",
        lambda i, s, m: not s.cold
        or not (s.lifecycle is SlotState.EJECTING or s.requested or s.remove),
    ),
    Invariant(
        "gicc_touched_while_bound", 10,
        "The registers of a GICC are touched only while it is bound.",
        on_event=lambda c: not _begins(c, Step.WIRE, Step.UNWIRE)
        or c.before.gicc is not GiccState.UNBOUND,
    ),
    Invariant(
        "gicc_matches_affinity", 10,
        "A slot's GICC is the one whose GICR_TYPER has the slot's mp-affinity, always the same.",
        lambda i, s, m: s.affinity is None or s.affinity == mp_affinity(i),
        lambda c: c.before.affinity is None or c.after.affinity == c.before.affinity,
    ),
    Invariant(
        "madt_fixed", 11,
        "The MADT says enabled or online-capable, one of the two, for the machine's life.",
        lambda i, s, m: madt_flags(s) in tuple(MadtFlag),
        lambda c: madt_flags(c.before) == madt_flags(c.after),
    ),
    Invariant(
        "reset_keeps_plugged", 12,
        "A reset keeps what is plugged, drops what is pending, and starts vCPU 0 alone with "
        "the enabled slots told to the firmware.",
        _only_boot_vcpu_on,
        _reset_keeps,
        at_rest=True,
    ),
    Invariant(
        "migration_carries_all", 12,
        "Migration starts when nothing is owed and carries the whole state.",
        lambda i, s, m: not (m.migrating and s.busy),
        _migration_carries,
    ),
    Invariant(
        "no_command_lost", 13,
        "An accepted command is always waited for by someone, and has ended when the machine has.",
        _owed_by_someone,
        at_rest=True,
    ),
    Invariant(
        "commands_while_running", 13,
        "A command is accepted while the machine runs and does not migrate.",
        on_event=lambda c: not isinstance(c.event, ev.PlugAccepted | ev.UnplugAccepted)
        or (c.shared.phase is Phase.RUNNING and not c.shared.migrating),
    ),
    Invariant(
        "command_ends_once", 13,
        "A command is accepted when none is owed, and ends with its own completion or error.",
        on_event=_command_ends_once,
    ),
    Invariant(
        "no_notification_lost", 13,
        "An event bit that is set has the GED raised, or a scan under way that will see it.",
        lambda i, s, m: not (s.insert or s.remove) or m.ged or m.scanning,
        at_rest=True,
    ),
    Invariant(
        "removal_not_shadowed", 13,
        "A slot never has both event bits set: the guest would take the insertion alone.",
        lambda i, s, m: not (s.insert and s.remove),
    ),
    Invariant(
        "one_step_at_a_time", 13,
        "One effect is under way for a slot, and one for the machine, and an outcome is that "
        "effect's.",
        on_event=_one_at_a_time,
    ),
)  # fmt: skip

BY_NAME = {i.name: i for i in INVARIANTS}


def check_slot(index: int, slot: Slot, shared: Shared, *, rest: bool) -> Iterator[Violation]:
    """What does not hold of one slot in a state; with `rest`, of one between decisions."""
    for rule in INVARIANTS:
        if rule.on_state is None or (rule.at_rest and not rest):
            continue
        if not rule.on_state(index, slot, shared):
            yield Violation(rule.name, index, rule.says)


def check_change(change: Change) -> Iterator[Violation]:
    """What one event breaks, as one slot saw it."""
    for rule in INVARIANTS:
        if rule.on_event is not None and not rule.on_event(change):
            yield Violation(rule.name, change.index, rule.says)


def check_state(state: State) -> Iterator[Violation]:
    """What does not hold in a state between decisions."""
    for index, slot in enumerate(state.slots):
        yield from check_slot(index, slot, state.shared, rest=True)


def check_event(
    before: State, event: ev.Event, after: State, *, rest: bool = False
) -> Iterator[Violation]:
    """What an event breaks: of the change itself, and of the state it leads to.

    `rest` says that the event is the last of its decision. Looks only at the slots that
    the event can concern.
    """
    slot = ev.slot_of(event)
    whole = slot is None or before.shared != after.shared
    for i in range(len(after.slots)) if whole or slot is None else (slot,):
        if not 0 <= i < len(after.slots):
            continue
        if slot is None or slot == i:
            yield from check_change(
                Change(i, before.slots[i], before.shared, event, after.slots[i], after.shared)
            )
        yield from check_slot(i, after.slots[i], after.shared, rest=rest)

"""How an event changes the state. Pure, total over the events that `decide` makes.

`evolve_slot` and `evolve_shared` never look at another slot: an event that concerns the
whole machine is applied to each slot by itself. Raises IllegalTransition where an event
asks a machine for a transition that its table does not have; `decide` never makes one,
a damaged or forged log may.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpcore.model.acpi import ends_eject
from hpcore.model.effects import CARRYING, MachineStep, Step
from hpcore.model.events import (
    USER,
    ColdBootBegun,
    ColdBootDone,
    CpuOnGranted,
    CpuWentOff,
    EjectAccepted,
    EjectRefused,
    EjectUnconfirmed,
    Event,
    GedRaised,
    InsertCleared,
    MachineLost,
    MachinePoweredOff,
    MachineStepBegun,
    MachineStepDone,
    MachineStepFailed,
    MachineWasReset,
    OstReceived,
    PlugAccepted,
    PlugCompleted,
    PlugFailed,
    Refused,
    Registered,
    RemoveCleared,
    Restored,
    ScanBegun,
    ScanFinished,
    StepBegun,
    StepDone,
    StepFailed,
    TakenByForce,
    UnplugAccepted,
    UnplugCompleted,
    UnplugFailed,
    UnplugRepeated,
    slot_of,
)
from hpcore.model.machines import (
    GiccState,
    Phase,
    SlotState,
    Trigger,
    next_gicc,
    next_phase,
    next_slot,
)
from hpcore.model.rules import RULES, Habit, Rules, Trait
from hpcore.model.states import BOOT_VCPU, Owed, Shared, Slot, State

if TYPE_CHECKING:
    from attrs import evolve as changed  # a type checker knows which fields it takes
else:

    def changed(value, **fields):
        """A copy of a slot or a shared part with some fields changed: `attrs.evolve`, faster.

        A fifth of a check's time was spent in attrs' own, which asks the class for its fields
        and runs its `__init__` each time.
        """
        out = object.__new__(type(value))
        out.__dict__.update(value.__dict__, **fields)
        if len(out.__dict__) != len(value.__dict__):
            raise TypeError(f"{type(value).__name__} has no such field: {', '.join(fields)}")
        return out


_PHASE_TRIGGERS = {
    MachineStep.CREATE_VCPUS: Trigger.CREATE_VCPUS,
    MachineStep.INIT_GIC: Trigger.INIT_GIC,
    MachineStep.START: Trigger.START,
    MachineStep.RESTART: Trigger.RESTART,
}
"""The steps of the machine that, once done, lead it on to its next phase."""

_GICC_TRIGGERS = {
    Step.BIND: Trigger.BIND,
    Step.WIRE: Trigger.WIRE,
    Step.UNWIRE: Trigger.UNWIRE,
    Step.UNBIND: Trigger.UNBIND,
    Step.OPEN: Trigger.OPEN,
    Step.SHUT: Trigger.SHUT,
}
"""The steps of a slot that, once done, change its GIC CPU interface."""


class NoSuchSlot(Exception):
    """An event names a slot that the machine does not have."""


def evolve(state: State, event: Event, rules: Rules = RULES) -> State:
    """The state after `event`."""
    shared = evolve_shared(state.shared, event)
    slot = slot_of(event)
    if slot is None:
        if isinstance(event, _MACHINE_WIDE):
            slots = [
                evolve_slot(s, event, boot=i == BOOT_VCPU, rules=rules)
                for i, s in enumerate(state.slots)
            ]
            return State(state.config, shared, tuple(slots))
        return state if shared is state.shared else State(state.config, shared, state.slots)
    if not 0 <= slot < len(state.slots):
        if isinstance(event, Refused):
            return state
        raise NoSuchSlot(f"there is no slot {slot}; the machine has {len(state.slots)}")
    before = state.slots[slot]
    after = evolve_slot(before, event, boot=slot == BOOT_VCPU, rules=rules)
    if shared is not state.shared:
        state = State(state.config, shared, state.slots)
    return state.with_slot(slot, after)


_MACHINE_WIDE = (
    MachineStepBegun,
    MachineStepDone,
    MachineWasReset,
    MachinePoweredOff,
    Restored,
    MachineLost,
)
"""Events without a slot that change every slot."""


# ------------------------------------------------------------------ shared part


def evolve_shared(shared: Shared, event: Event) -> Shared:
    """The shared part after `event`."""
    match event:
        case MachineStepBegun(step=step):
            return changed(shared, step=step, migrating=shared.migrating or step in CARRYING)
        case MachineStepDone(step=step):
            return _machine_step_done(shared, step)
        case MachineStepFailed(step=step):
            return changed(shared, step=None, migrating=shared.migrating and step not in CARRYING)
        case Restored():
            return changed(shared, step=None, migrating=False, paused=True)
        case MachineWasReset():
            phase = next_phase(shared.phase, Trigger.RESET)
            return changed(shared, phase=phase, ged=False, scanning=False)
        case MachinePoweredOff(by=by):
            return _ended(shared, Trigger.END) if by == USER else _off(shared)
        case MachineLost():
            return _ended(shared, Trigger.FAIL)
        case StepBegun(step=Step.NOTIFY_INSERT | Step.NOTIFY_REMOVE) | GedRaised():
            return changed(shared, ged=True)
        case ScanBegun():
            return changed(shared, ged=False, scanning=True)
        case ScanFinished():
            return changed(shared, scanning=False)
    return shared


def _machine_step_done(shared: Shared, step: MachineStep) -> Shared:
    shared = changed(shared, step=None)
    match step:
        case MachineStep.CREATE_VCPUS | MachineStep.START | MachineStep.RESTART:
            return changed(shared, phase=next_phase(shared.phase, _PHASE_TRIGGERS[step]))
        case MachineStep.INIT_GIC:
            return changed(
                shared,
                phase=next_phase(shared.phase, _PHASE_TRIGGERS[step]),
                gic_inits=min(2, shared.gic_inits + 1),
            )
        case MachineStep.PAUSE | MachineStep.RESUME:
            # A machine that went off meanwhile stands still, though it was just resumed.
            return changed(shared, paused=step is MachineStep.PAUSE or shared.phase is Phase.OFF)
        case MachineStep.MIGRATE | MachineStep.SAVE:
            return changed(shared, migrating=False)
    return shared


def _off(shared: Shared) -> Shared:
    return changed(
        shared, phase=next_phase(shared.phase, Trigger.POWER_OFF),
        ged=False, scanning=False, paused=True,
    )  # fmt: skip


def _ended(shared: Shared, trigger: Trigger) -> Shared:
    return changed(
        shared, phase=next_phase(shared.phase, trigger),
        step=None, ged=False, scanning=False, migrating=False, paused=False,
    )  # fmt: skip


# ----------------------------------------------------------------------- a slot


def evolve_slot(slot: Slot, event: Event, *, boot: bool, rules: Rules = RULES) -> Slot:  # noqa: PLR0912 - one return a case
    """One slot after `event`; `boot` marks vCPU 0."""
    match event:
        case StepBegun(step=step):
            return _step_begun(slot, step)
        case StepDone(step=step, affinity=affinity):
            return _step_done(changed(slot, step=None), step, affinity, rules)
        case StepFailed(step=step):
            return _step_failed(changed(slot, step=None), step)
        case ColdBootBegun():
            return changed(slot, command=Owed.COLD_BOOT)
        case PlugAccepted(id=id_):
            return changed(slot, command=Owed.PLUG, id=id_)
        case ColdBootDone() | PlugCompleted() | UnplugCompleted():
            return changed(slot, command=Owed.NONE)
        case PlugFailed():
            return _plug_failed(changed(slot, command=Owed.NONE))
        case UnplugAccepted(forced=True):
            return changed(slot, command=Owed.REVOKE, stalled=False)
        case UnplugAccepted() | UnplugRepeated():
            # The guest is asked anew: what it was asked before counts no more.
            asked = slot.requested and slot.step is Step.NOTIFY_REMOVE
            return changed(slot, command=Owed.UNPLUG, stalled=False, requested=asked)
        case UnplugFailed(still_asked=still_asked):
            asked = slot.requested and still_asked
            return changed(slot, command=Owed.NONE, requested=asked)
        case TakenByForce():
            lifecycle = next_slot(slot.lifecycle, Trigger.REVOKE)
            return changed(slot, lifecycle=lifecycle, requested=False)
        case EjectAccepted():
            # A guest that answers after its deadline re-opens the command, so that the
            # vCPU's end is reported like any other.
            command = Owed.UNPLUG if slot.command is Owed.NONE else slot.command
            return changed(
                slot, lifecycle=next_slot(slot.lifecycle, Trigger.EJECT),
                command=command, requested=False, registered=False, unconfirmed=True,
            )  # fmt: skip
        case OstReceived(source=source, status=status):
            return changed(slot, unconfirmed=False) if ends_eject(source, status) else slot
        case EjectUnconfirmed():
            return changed(slot, unconfirmed=False)
        case EjectRefused():
            return changed(slot, registered=False)
        case InsertCleared():
            return changed(slot, insert=False)
        case RemoveCleared():
            return changed(slot, remove=False)
        case Registered():
            return changed(slot, registered=True)
        case CpuOnGranted():
            return _powered_on(slot, rules)
        case CpuWentOff():
            return _powered_off(slot, Trigger.CPU_OFF)
        case MachineStepBegun(step=MachineStep.START | MachineStep.RESTART):
            slot = changed(slot, registered=slot.enabled)  # a kernel that boots finds it
            return _started(slot, rules) if boot else slot
        case MachineStepDone(step=MachineStep.CREATE_VCPUS):
            return _created(slot, rules)
        case MachineStepDone(step=MachineStep.INIT_GIC):
            return _realized_at_start(slot, rules)
        case MachineStepDone(step=MachineStep.MIGRATE) | Restored():
            return _migrated(slot, rules)
        case MachineWasReset():
            return _reset(slot, rules)
        case MachinePoweredOff() if event.by != USER:
            return _without_guest(slot)
        case MachinePoweredOff() | MachineLost():
            return changed(_without_guest(slot), step=None)
    return slot


def _step_begun(slot: Slot, step: Step) -> Slot:
    slot = changed(slot, step=step)
    # The guest may react before the accelerator has said that the bit is set.
    if step is Step.NOTIFY_INSERT:
        return changed(slot, insert=True)
    if step is Step.NOTIFY_REMOVE:
        return changed(slot, remove=True, requested=True)
    return slot


def _step_done(slot: Slot, step: Step, affinity: int | None, rules: Rules) -> Slot:
    match step:
        case Step.REALIZE:
            lifecycle = next_slot(slot.lifecycle, Trigger.REALIZE)
            thread = Trait.THREAD_AT_CPU_ON not in rules.traits
            return changed(slot, lifecycle=lifecycle, thread=thread, space=True)
        case Step.WAKE:
            return changed(slot, lifecycle=next_slot(slot.lifecycle, Trigger.WAKE))
        case Step.BIND:
            return changed(slot, gicc=next_gicc(slot.gicc, Trigger.BIND), affinity=affinity)
        case Step.WIRE | Step.UNWIRE | Step.UNBIND | Step.OPEN | Step.SHUT:
            return changed(slot, gicc=next_gicc(slot.gicc, _GICC_TRIGGERS[step]))
        case Step.ENABLE:
            lifecycle = next_slot(slot.lifecycle, Trigger.ENABLE)
            return changed(slot, lifecycle=lifecycle, enabled=True)
        case Step.DISABLE:
            return _disabled(slot, rules)
        case Step.POWER_OFF:
            return changed(slot, powered=False)
        case Step.STOP:
            return changed(slot, thread=False)
        case Step.RELEASE:
            return changed(slot, space=False)
        case Step.PARK | Step.HALT:
            trigger = Trigger.PARK if step is Step.PARK else Trigger.HALT
            lifecycle = next_slot(slot.lifecycle, trigger)
            return changed(slot, lifecycle=lifecycle, id=None, registered=False)
    return slot


def _disabled(slot: Slot, rules: Rules) -> Slot:
    slot = changed(slot, enabled=False)
    if Habit.DISABLE_CLEARS_EVENTS in rules.habits:
        slot = changed(slot, insert=False, remove=False, requested=False)
    return slot


def _step_failed(slot: Slot, step: Step) -> Slot:
    if step is Step.NOTIFY_INSERT:
        return changed(slot, insert=False)
    if step is Step.NOTIFY_REMOVE:
        return changed(slot, remove=False, requested=False)
    # A failed way in is taken back from where it stands; a failed way out waits for a retry.
    return changed(slot, stalled=slot.lifecycle is SlotState.EJECTING)


def _plug_failed(slot: Slot) -> Slot:
    if slot.lifecycle is SlotState.PARKED:
        return changed(slot, id=None)
    return changed(slot, lifecycle=next_slot(slot.lifecycle, Trigger.ABANDON))


def _created(slot: Slot, rules: Rules) -> Slot:
    final = Trait.FINALIZED_WHEN_CREATED in rules.traits and not slot.cold
    return changed(slot, created=True, finalized=final)


def _realized_at_start(slot: Slot, rules: Rules) -> Slot:
    if slot.cold or Trait.REALIZED_AT_START not in rules.traits:
        return slot
    return changed(slot, thread=True, space=True, gicc=GiccState.SHUT)


def _powered_on(slot: Slot, rules: Rules) -> Slot:
    if Trait.THREAD_AT_CPU_ON in rules.traits:
        slot = changed(slot, thread=True)
    if slot.lifecycle is SlotState.EJECTING:
        # Granted by the accelerator before it was told to disable: it is taken off next.
        return changed(slot, powered=True)
    return changed(slot, powered=True, lifecycle=next_slot(slot.lifecycle, Trigger.CPU_ON))


def _started(slot: Slot, rules: Rules) -> Slot:
    if Trait.THREAD_AT_CPU_ON in rules.traits:
        slot = changed(slot, thread=True)
    lifecycle = next_slot(slot.lifecycle, Trigger.START)
    return changed(slot, lifecycle=lifecycle, powered=True)


def _powered_off(slot: Slot, trigger: Trigger) -> Slot:
    if slot.lifecycle is SlotState.ONLINE:
        slot = changed(slot, lifecycle=next_slot(slot.lifecycle, trigger))
    return changed(slot, powered=False)


def _reset(slot: Slot, rules: Rules) -> Slot:
    slot = changed(_powered_off(slot, Trigger.RESET), registered=False, unconfirmed=False)
    if Habit.RESET_DROPS_PENDING in rules.habits:
        slot = changed(slot, insert=False, remove=False, requested=False)
    if Habit.RESET_KEEPS_PLUGGED not in rules.habits and not slot.cold:
        slot = changed(slot, enabled=False)
    return slot


def _migrated(slot: Slot, rules: Rules) -> Slot:
    if Trait.DISABLED_STAY_BEHIND in rules.traits and slot.lifecycle is SlotState.PARKED:
        slot = changed(slot, thread=False, space=False, gicc=GiccState.UNBOUND)
    if Habit.MIGRATION_KEEPS_HOTPLUGGABLE in rules.habits:
        return slot
    return changed(slot, cold=slot.cold or slot.enabled)


def _without_guest(slot: Slot) -> Slot:
    cold_boot = slot.command is Owed.COLD_BOOT
    return changed(
        _powered_off(slot, Trigger.RESET),
        insert=False, remove=False, requested=False, unconfirmed=False,
        command=Owed.NONE if cold_boot else slot.command,
    )  # fmt: skip

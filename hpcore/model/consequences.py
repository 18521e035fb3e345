"""What follows for a slot from each event, and from what a slot is: a second account of it.

`evolve` says how an event changes a state. Here stands, written a second time on purpose, what
an event must leave behind, and which events alone may change a fact; `evolve` is held against it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hpcore.model import events as ev
from hpcore.model.acpi import OstSource, OstStatus
from hpcore.model.effects import CARRYING, MachineStep, Step
from hpcore.model.machines import GiccState, Phase, SlotState
from hpcore.model.properties import Change, Property, always
from hpcore.model.states import BOOT_VCPU, Owed, Shared, Slot, madt_flags, sta

_NOBODY_YET = (Phase.DEFINED, Phase.CREATED)
_STARTS = (MachineStep.START, MachineStep.RESTART)

# ------------------------------------------------------------- which event does what

Cause = type[ev.Event] | Step | tuple[str, Step | MachineStep]
"""An event by its class; the end of a step by the step; its begin or failure with a word."""


def _cause(event: ev.Event) -> Cause:
    match event:
        case ev.StepDone(step=step):
            return step
        case ev.StepBegun(step=step):
            return "begun", step
        case ev.StepFailed(step=step):
            return "failed", step
        case ev.MachineStepBegun(step=whole):
            return "begun", whole
        case ev.MachineStepDone(step=whole):
            return "done", whole
        case ev.MachineStepFailed(step=whole):
            return "failed", whole
    return type(event)


_NO_GUEST: tuple[Cause, ...] = (ev.MachineWasReset, ev.MachinePoweredOff, ev.MachineLost)
_LAST_STEPS: tuple[Cause, ...] = (Step.PARK, Step.HALT)
_STARTED: tuple[Cause, ...] = tuple(("begun", step) for step in _STARTS)
_NOTIFY_INSERT, _NOTIFY_REMOVE = ("begun", Step.NOTIFY_INSERT), ("begun", Step.NOTIFY_REMOVE)
_NOT_INSERTED, _NOT_REMOVED = ("failed", Step.NOTIFY_INSERT), ("failed", Step.NOTIFY_REMOVE)

_CAUSES: Mapping[str, frozenset[Cause]] = {
    "created": frozenset({("done", MachineStep.CREATE_VCPUS)}),
    "thread": frozenset({Step.REALIZE, Step.STOP}),
    "space": frozenset({Step.REALIZE, Step.RELEASE}),
    "gicc": frozenset({Step.BIND, Step.WIRE, Step.UNWIRE, Step.UNBIND, Step.OPEN, Step.SHUT}),
    "affinity": frozenset({Step.BIND}),
    "enabled": frozenset({Step.ENABLE, Step.DISABLE}),
    "powered": frozenset({
        ev.CpuOnGranted, ev.CpuWentOff, Step.POWER_OFF, *_STARTED, *_NO_GUEST,
    }),
    "insert": frozenset({
        _NOTIFY_INSERT, _NOT_INSERTED, ev.InsertCleared, Step.DISABLE, *_NO_GUEST,
    }),
    "remove": frozenset({
        _NOTIFY_REMOVE, _NOT_REMOVED, ev.RemoveCleared, Step.DISABLE, *_NO_GUEST,
    }),
    "requested": frozenset({
        _NOTIFY_REMOVE, _NOT_REMOVED, ev.UnplugAccepted, ev.UnplugRepeated, ev.UnplugFailed,
        ev.TakenByForce, ev.EjectAccepted, ev.OstReceived, Step.DISABLE, *_NO_GUEST,
    }),
    "unconfirmed": frozenset({
        ev.EjectAccepted, ev.OstReceived, ev.EjectUnconfirmed, *_NO_GUEST,
    }),
    "registered": frozenset({
        ev.Registered, ev.EjectAccepted, ev.EjectRefused, *_LAST_STEPS, *_STARTED, *_NO_GUEST,
    }),
    "id": frozenset({ev.PlugAccepted, ev.PlugFailed, *_LAST_STEPS}),
}  # fmt: skip
"""Each fact of a slot, and the events that may change it."""

def _changes_rightly(causes: Mapping[str, frozenset[Cause]]) -> Callable[[Change], bool]:
    facts = tuple(causes.items())

    def changed_rightly(c: Change) -> bool:
        if c.before is c.after:
            return True
        cause = _cause(c.event)
        return all(
            cause in causes or getattr(c.before, fact) == getattr(c.after, fact)
            for fact, causes in facts
        )

    return changed_rightly


_changed_rightly = _changes_rightly(_CAUSES)

_AT_ONCE: tuple[Cause, ...] = (
    ("done", MachineStep.INIT_GIC), ("done", MachineStep.MIGRATE), ev.Restored,
)  # fmt: skip
changed_rightly_by_others = _changes_rightly({
    **_CAUSES,
    "thread": _CAUSES["thread"] | {*_AT_ONCE, *_STARTED, ev.CpuOnGranted},
    "space": _CAUSES["space"] | {*_AT_ONCE},
    "gicc": _CAUSES["gicc"] | {*_AT_ONCE},
})  # fmt: skip
"""The same for protocols that realize all vCPUs at once, leave the disabled ones behind when they
migrate or are restored, or start a thread by CPU_ON."""


_Leaves = Callable[[Slot, Slot, Change], bool]

_LEAVES: Mapping[Cause, _Leaves] = {
    ("done", MachineStep.CREATE_VCPUS): lambda b, a, c: a.created,
    Step.REALIZE: lambda b, a, c: a.thread and a.space and not a.powered,
    Step.BIND: lambda b, a, c: a.gicc is GiccState.BOUND,
    Step.WIRE: lambda b, a, c: a.gicc is GiccState.WIRED,
    Step.ENABLE: lambda b, a, c: a.enabled and a.lifecycle is SlotState.ENABLED,
    Step.DISABLE: lambda b, a, c: not (a.enabled or a.requested),
    Step.POWER_OFF: lambda b, a, c: not a.powered,
    Step.UNWIRE: lambda b, a, c: a.gicc is GiccState.BOUND,
    Step.UNBIND: lambda b, a, c: a.gicc is GiccState.UNBOUND,
    Step.STOP: lambda b, a, c: not a.thread,
    Step.RELEASE: lambda b, a, c: not a.space,
    Step.PARK: lambda b, a, c: a.lifecycle is SlotState.PARKED and a.id is None,
    Step.WAKE: lambda b, a, c: a.lifecycle is SlotState.REALIZED and not a.powered,
    Step.OPEN: lambda b, a, c: a.gicc is GiccState.WIRED,
    Step.SHUT: lambda b, a, c: a.gicc is GiccState.SHUT,
    Step.HALT: lambda b, a, c: a.lifecycle is SlotState.PARKED and a.id is None,
    _NOTIFY_INSERT: lambda b, a, c: a.insert and c.shared.ged,
    _NOTIFY_REMOVE: lambda b, a, c: a.remove and a.requested and c.shared.ged,
    _NOT_INSERTED: lambda b, a, c: not a.insert,
    _NOT_REMOVED: lambda b, a, c: not (a.remove or a.requested),
    ev.InsertCleared: lambda b, a, c: not a.insert,
    ev.RemoveCleared: lambda b, a, c: not a.remove,
    ev.Registered: lambda b, a, c: a.registered,
    ev.EjectRefused: lambda b, a, c: not a.registered,
    ev.CpuOnGranted: lambda b, a, c: a.powered,
    ev.CpuWentOff: lambda b, a, c: not a.powered,
    ev.PlugAccepted: lambda b, a, c: a.command is Owed.PLUG and a.id is not None,
    ev.ColdBootBegun: lambda b, a, c: a.command is Owed.COLD_BOOT,
    ev.PlugFailed: lambda b, a, c: (a.id is None) == (a.lifecycle is SlotState.PARKED),
    ev.UnplugAccepted: lambda b, a, c: a.command in (Owed.UNPLUG, Owed.REVOKE) and not a.stalled,
    ev.TakenByForce: lambda b, a, c: a.lifecycle is SlotState.EJECTING and not a.requested,
    ev.EjectAccepted: lambda b, a, c: (
        a.lifecycle is SlotState.EJECTING and a.unconfirmed and not (a.requested or a.registered)
    ),
    ev.EjectUnconfirmed: lambda b, a, c: not a.unconfirmed,
    ev.MachineWasReset: lambda b, a, c: not (a.powered or a.registered or a.unconfirmed),
    ev.MachinePoweredOff: lambda b, a, c: not (a.powered or a.insert or a.remove or a.unconfirmed),
    ev.MachineLost: lambda b, a, c: not a.powered,
    ev.ScanBegun: lambda b, a, c: c.shared.scanning and not c.shared.ged,
    ev.ScanFinished: lambda b, a, c: not c.shared.scanning,
    ev.GedRaised: lambda b, a, c: c.shared.ged,
    **{begun: (lambda b, a, c: a.registered == a.enabled) for begun in _STARTED},
}  # fmt: skip
"""What must be so after an event, of the slot `b` before and `a` after it, in the change `c`."""


def _leaves_it_so(c: Change) -> bool:
    leaves = _LEAVES.get(_cause(c.event))
    if leaves is not None and not leaves(c.before, c.after, c):
        return False
    match c.event:  # a step is under way from its begin to its end
        case ev.StepBegun(step=step):
            return c.after.step is step
        case ev.StepDone() | ev.StepFailed():
            return c.after.step is None
        case ev.OstReceived(source=source, status=status):
            through = status != OstStatus.IN_PROGRESS and source != OstSource.DEVICE_CHECK
            known = source in (OstSource.EJECT_REQUEST, OstSource.OSPM_EJECT)
            return c.after.unconfirmed == (c.before.unconfirmed and not (through and known))
    return True


_SHARED: Mapping[str, Callable[[Change], bool]] = {
    "paused": lambda c: _cause(c.event) in (
        ("done", MachineStep.PAUSE), ("done", MachineStep.RESUME),
        ev.MachinePoweredOff, ev.MachineLost, ev.Restored),
    "migrating": lambda c: _cause(c.event) in (
        ev.MachinePoweredOff, ev.MachineLost, ev.Restored) or (
        isinstance(c.event, ev.MachineStepBegun | ev.MachineStepDone | ev.MachineStepFailed)
        and c.event.step in CARRYING),
    "gic_inits": lambda c: _cause(c.event) == ("done", MachineStep.INIT_GIC),
    "step": lambda c: isinstance(c.event, (
        ev.MachineStepBegun, ev.MachineStepDone, ev.MachineStepFailed, ev.MachinePoweredOff,
        ev.MachineLost, ev.Restored)),
}  # fmt: skip
"""Each fact of the machine, and whether an event may change it."""


def _machine_changed_rightly(c: Change) -> bool:
    before, after = c.shared_before, c.shared
    if before is after:
        return not isinstance(c.event, ev.MachineStepBegun) or before.step is c.event.step
    for fact, may in _SHARED.items():
        if getattr(before, fact) != getattr(after, fact) and not may(c):
            return False
    match c.event:
        case ev.MachineStepBegun(step=step):
            return after.step is step and (after.migrating or step not in CARRYING)
        case ev.MachineStepDone(step=step):
            return after.step is None and _phase_after(step, before, after)
        case ev.MachineStepFailed(step=step):
            return after.step is None and not (after.migrating and step in CARRYING)
        case ev.Restored():
            return after.paused and after.step is None and not after.migrating
        case ev.MachineWasReset():
            return after.phase is Phase.RESETTING and not (after.ged or after.scanning)
        case ev.MachinePoweredOff(by=by):
            ends = Phase.ENDED if by == ev.USER else Phase.OFF
            return after.phase is ends and not (after.ged or after.scanning)
        case ev.MachineLost():
            return after.phase is Phase.FAILED and after.step is None
    return True


def _phase_after(step: MachineStep, before: Shared, after: Shared) -> bool:
    match step:
        case MachineStep.CREATE_VCPUS:
            return after.phase is Phase.CREATED
        case MachineStep.INIT_GIC:
            return after.phase is Phase.READY and after.gic_inits == before.gic_inits + 1
        case MachineStep.START | MachineStep.RESTART:
            return after.phase is Phase.RUNNING
        case MachineStep.PAUSE:
            return after.paused
        case MachineStep.RESUME:
            return after.paused == (before.phase is Phase.OFF)
        case MachineStep.MIGRATE | MachineStep.SAVE:
            return not after.migrating
    return True


# ------------------------------------------------------------------- what is so


def _tables_say_what_is(index: int, slot: Slot, shared: Shared) -> bool:
    # ACPI 6.5, 6.3.7: bits 0 present, 1 enabled, 2 shown, 3 functioning; 5.2.12.14: bit 0 of
    # a GICC is enabled, bit 3 online-capable.
    there = slot.lifecycle in (SlotState.ENABLED, SlotState.ONLINE)
    told = sta(slot) == (0b1111 if slot.enabled else 0b1101)
    listed = madt_flags(slot) == (0b0001 if slot.cold else 0b1000)
    return told and listed and (slot.enabled == there or slot.lifecycle is SlotState.EJECTING)


def _untouched_before_the_boot(index: int, slot: Slot, shared: Shared) -> bool:
    if shared.phase not in _NOBODY_YET:
        return True
    waits = slot.command in (Owed.NONE, Owed.PLUG)
    built = slot.step is not None or slot.thread or slot.lifecycle is not SlotState.PARKED
    return waits and not built and (slot.created == (shared.phase is Phase.CREATED))


def _asked_may_follow(index: int, slot: Slot, shared: Shared) -> bool:
    return not slot.remove or slot.requested or slot.lifecycle is SlotState.EJECTING


def _stands(index: int, slot: Slot, shared: Shared) -> bool:
    return (slot.space or not slot.thread) and (slot.thread or slot.gicc is GiccState.UNBOUND)


def _realized_as_new(c: Change) -> bool:
    if not isinstance(c.event, ev.StepBegun) or c.event.step is not Step.REALIZE:
        return True
    b = c.before
    left = b.thread or b.space or b.enabled or b.powered or b.insert or b.remove or b.requested
    return b.created and b.gicc is GiccState.UNBOUND and not (left or b.stalled or b.registered)


def _boot_vcpu_alone(c: Change) -> bool:
    if not isinstance(c.event, ev.MachineStepBegun) or c.event.step not in _STARTS:
        return True
    on = c.index == BOOT_VCPU
    return c.after.powered == on and (c.after.lifecycle is SlotState.ONLINE) == on


def _sized_for_all(c: Change) -> bool:
    if not isinstance(c.event, ev.MachineStepBegun) or c.event.step is not MachineStep.INIT_GIC:
        return True
    return c.before.created and c.shared_before.gic_inits == 0


_ENDS: Mapping[type[ev.Event], tuple[Owed, ...]] = {
    ev.PlugCompleted: (Owed.PLUG,),
    ev.PlugFailed: (Owed.PLUG,),
    ev.UnplugCompleted: (Owed.UNPLUG, Owed.REVOKE),
    ev.UnplugFailed: (Owed.UNPLUG, Owed.REVOKE),
    ev.ColdBootDone: (Owed.COLD_BOOT,),
}


def _ends_as_it_began(c: Change) -> bool:
    owed = _ENDS.get(type(c.event))
    if owed is None:
        return True
    return c.before.command in owed and c.after.command is Owed.NONE and c.after.step is (
        c.before.step)  # fmt: skip


_SINCE = (0, 6)

CONSEQUENCES: tuple[Property, ...] = (
    always(
        "gic_sized_for_all",
        "The GIC is initialised, the first and only time, once every possible vCPU is created.",
        on_event=_sized_for_all, number=2, since=_SINCE, of=(ev.MachineStepBegun,),
    ),
    always(
        "untouched_before_boot",
        "Before the GIC is there a vCPU is created and nothing more; a plug waits.",
        _untouched_before_the_boot, at_rest=True, number=1, since=_SINCE,
    ),
    always(
        "tables_say_what_is",
        "_STA says enabled of what is enabled, and the MADT of what was there at boot; of "
        "anything else _STA says present, and the MADT online-capable.",
        _tables_say_what_is, number=4, since=_SINCE,
    ),
    always(
        "realized_as_new",
        "A vCPU that is realized has nothing of the one before it: no bit, no GICC, no power.",
        on_event=_realized_as_new, number=4, since=_SINCE, of=(ev.StepBegun,),
    ),
    always(
        "nothing_without_base",
        "A thread has its address space, and a GICC that is bound has its vCPU's thread.",
        _stands, number=8, since=_SINCE,
    ),
    always(
        "facts_have_causes",
        "What is so of a vCPU changes by the outcome, the call or the command that stands for it.",
        on_event=_changed_rightly, number=13, since=_SINCE,
    ),
    always(
        "events_have_effect",
        "An event leaves its slot as it says: done is done, cleared is clear, off is off.",
        on_event=_leaves_it_so, number=13, since=_SINCE,
    ),
    always(
        "machine_follows_events",
        "The machine's phase, its pause and its migration are what its steps have made of them.",
        on_event=_machine_changed_rightly, number=13, since=_SINCE,
    ),
    always(
        "request_withdrawn_whole",
        "A remove bit that the guest has yet to take is of a request that it may follow.",
        _asked_may_follow, at_rest=True, number=13, since=_SINCE,
    ),
    always(
        "boot_vcpu_alone",
        "A start, and a restart after a reset, powers vCPU 0 on and no other.",
        on_event=_boot_vcpu_alone, number=12, since=_SINCE, of=(ev.MachineStepBegun,),
    ),
    always(
        "ends_as_it_began",
        "A device_add ends as a plug and a device_del as an unplug, each where it is owed.",
        on_event=_ends_as_it_began, number=13, since=_SINCE, of=tuple(_ENDS),
    ),
)  # fmt: skip

"""What other protocols than hpcore's own promise, where hpcore's own promises something else.

A revision (`hpcore.model.revision`) says which of hpcore's invariants it gives up, and which of
these it keeps instead.
"""

from __future__ import annotations

from hpcore.model import events as ev
from hpcore.model.answers import GUESTS_CALLS, guest_heard_where_cold_can_go
from hpcore.model.consequences import changed_rightly_by_others
from hpcore.model.effects import MachineStep, Step
from hpcore.model.machines import GiccState, Phase, SlotState
from hpcore.model.properties import Change, Property, always
from hpcore.model.states import BOOT_VCPU, Shared, Slot

_TAKES_APART = frozenset({Step.UNWIRE, Step.UNBIND, Step.STOP, Step.RELEASE, Step.PARK})


def _step(c: Change) -> Step | None:
    """The step that the event begins, if it begins one."""
    return c.event.step if isinstance(c.event, ev.StepBegun) else None


def _shut_off(index: int, slot: Slot, shared: Shared) -> bool:
    used = slot.powered or slot.enabled or slot.registered or slot.gicc is GiccState.WIRED
    return slot.lifecycle is not SlotState.PARKED or not used


def _disabled_in_order(c: Change) -> bool:
    s, step = c.before, _step(c)
    match step:
        case Step.DISABLE:
            return s.enabled
        case Step.POWER_OFF:
            return s.powered and not s.enabled
        case Step.SHUT:
            return not (s.enabled or s.powered) and s.gicc is GiccState.WIRED
        case Step.HALT:
            return not (s.enabled or s.powered) and s.gicc is not GiccState.WIRED
        case _:
            return step not in _TAKES_APART


def _woken_in_order(c: Change) -> bool:
    s = c.before
    match _step(c):
        case Step.REALIZE:
            return not s.space
        case Step.WAKE:
            return s.space and s.lifecycle is SlotState.PARKED
        case Step.OPEN:
            return s.gicc is GiccState.SHUT and s.lifecycle is SlotState.REALIZED
        case _:
            return True


def _carries_enabled(c: Change) -> bool:
    match c.event:
        case ev.MachineStepDone(step=MachineStep.MIGRATE) | ev.Restored():
            pass
        case _:
            return True
    if c.before.enabled:
        return c.after == c.before
    return not (c.after.enabled or c.after.powered) and c.after.cold == c.before.cold


def _boot_vcpu_stays(index: int, slot: Slot, shared: Shared) -> bool:
    leaves = slot.lifecycle is SlotState.EJECTING or slot.requested or slot.remove
    return index != BOOT_VCPU or not leaves


def _assembled_in_order(c: Change) -> bool:
    s = c.before
    if isinstance(c.event, ev.ColdBootDone | ev.PlugCompleted):
        return s.enabled
    match _step(c):
        case Step.REALIZE:
            return not s.space and s.lifecycle is SlotState.PARKED
        case Step.BIND:
            return s.space and s.gicc is GiccState.UNBOUND
        case Step.WIRE:
            return s.space and s.gicc is GiccState.BOUND
        case Step.ENABLE:
            return s.gicc is GiccState.WIRED and not s.enabled
        case _:
            return True


def _no_thread_before_on(c: Change) -> bool:
    begins = c.after.thread and not c.before.thread
    return not begins or (c.after.powered and not c.before.powered)


_BEFORE_THE_GIC = (Phase.DEFINED, Phase.CREATED)

OTHER_INVARIANTS: tuple[Property, ...] = (
    always(
        "disabled_is_shut",
        "A vCPU that is not plugged is off and not enabled, and its GICC cannot be reached.",
        _shut_off,
    ),
    always(
        "disabled_in_order",
        "An unplug disables, powers off, shuts the GICC and halts the thread, in that order, and "
        "takes nothing apart.",
        on_event=_disabled_in_order, of=(ev.StepBegun,),
    ),
    always(
        "woken_in_order",
        "A vCPU is realized once in its life; a plug after that wakes it, and then opens its GICC.",
        on_event=_woken_in_order, of=(ev.StepBegun,),
    ),
    always(
        "migration_carries_enabled",
        "A migration, or a restore of what was saved, carries all that is enabled, as it is, and "
        "enables nothing.",
        on_event=_carries_enabled, of=(ev.MachineStepDone, ev.Restored),
    ),
    always("boot_vcpu_stays", "vCPU 0 is never ejected, whoever asks.", _boot_vcpu_stays),
    always(
        "objects_while_plugged",
        "A vCPU that is not plugged is no object in any list, whether or not it ever was plugged.",
        lambda index, slot, shared: slot.lifecycle is not SlotState.PARKED or not slot.space,
    ),
    always(
        "objects_for_all",
        "Every possible vCPU is an object in the lists, whether or not it ever was plugged.",
        lambda index, slot, shared: slot.cold or slot.space or shared.phase in _BEFORE_THE_GIC
        or shared.ended,
    ),
    always(
        "sve_finalized_once",
        "The SVE lengths of a vCPU are made final once: KVM refuses it the second time (EPERM).",
        on_event=lambda c: _step(c) is not Step.REALIZE or not c.before.finalized,
        of=(ev.StepBegun,),
    ),
    always(
        "facts_have_causes_too",
        "What is so of a vCPU changes by what stands for it; also at the GIC's init, by a "
        "migration or a restore that leaves disabled ones behind, and by a CPU_ON that starts a "
        "thread.",
        on_event=changed_rightly_by_others,
    ),
    always(
        "guest_heard_too",
        "What the guest may do is done at once; an eject of any vCPU but vCPU 0 among it.",
        on_decision=guest_heard_where_cold_can_go, of=GUESTS_CALLS,
    ),
    always(
        "runs_on_a_thread",
        "A vCPU that is on has a thread and an address space.",
        lambda index, slot, shared: not slot.powered or (slot.thread and slot.space),
    ),
    always(
        "no_thread_before_on",
        "A vCPU has no thread before it first goes on: by CPU_ON, or, of vCPU 0, by the start.",
        on_event=_no_thread_before_on,
    ),
    always(
        "enabled_is_assembled",
        "A vCPU that is enabled has its address space, and its GICC is wired.",
        lambda index, slot, shared: not slot.enabled
        or (slot.space and slot.gicc is GiccState.WIRED),
    ),
    always(
        "assembled_in_order",
        "A plug realizes, binds, wires and enables, in that order, each once, before it ends; "
        "with or without a thread.",
        on_event=_assembled_in_order, of=(ev.StepBegun, ev.ColdBootDone, ev.PlugCompleted),
    ),
)  # fmt: skip

OTHERS_BY_NAME = {p.name: p for p in OTHER_INVARIANTS}

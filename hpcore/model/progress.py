"""The protocol's own motion: what follows by itself once a step has ended.

A slot goes on to its next step, or its command ends; vCPU 0 starts when all that is there
at boot is enabled, and again after a reset; what can't be carried on ends with an error.
"""

from __future__ import annotations

from hpcore.model import events as ev
from hpcore.model.draft import Draft
from hpcore.model.effects import MachineStep, Step
from hpcore.model.machines import Phase, SlotState
from hpcore.model.rules import Habit
from hpcore.model.states import Owed, Slot


def advance(draft: Draft, index: int, done: Step | None = None) -> None:
    """Begin the slot's next step, or end its command, if nothing is under way for it."""
    slot = draft.slot(index)
    if slot.step is not None or draft.shared.ended:
        return
    if slot.command in (Owed.PLUG, Owed.COLD_BOOT):
        _advance_build(draft, index, slot, done)
    elif slot.lifecycle is SlotState.EJECTING:
        if not slot.stalled:
            draft.emit(ev.StepBegun(index, draft.rules.teardown_step(slot)))
    elif slot.command is Owed.REVOKE:
        draft.emit(ev.TakenByForce(index))
        advance(draft, index)
    elif slot.unasked:
        waits = draft.keeps(Habit.REMOVE_WAITS_FOR_INSERT) and slot.insert
        # a guest that is being reset would not see the event
        if not waits and draft.shared.phase is not Phase.RESETTING:
            draft.emit(ev.StepBegun(index, Step.NOTIFY_REMOVE))


def _advance_build(draft: Draft, index: int, slot: Slot, done: Step | None) -> None:
    if done is None and slot.unconfirmed and draft.keeps(Habit.PLUG_WAITS_FOR_CONFIRMATION):
        return
    step = draft.rules.build_step_after(done)
    cold = slot.command is Owed.COLD_BOOT
    if step is None or (cold and step is Step.NOTIFY_INSERT):
        draft.emit(ev.ColdBootDone(index) if cold else ev.PlugCompleted(index, slot.id or ""))
        _start_when_ready(draft)
    else:
        draft.emit(ev.StepBegun(index, step))


def _start_when_ready(draft: Draft) -> None:
    """vCPU 0 enters the kernel once every cold-booted vCPU is enabled."""
    if draft.shared.phase is not Phase.READY or draft.shared.step is not None:
        return
    if all(s.enabled and s.command is Owed.NONE for s in draft.state.slots if s.cold):
        draft.emit(ev.MachineStepBegun(MachineStep.START, draft.state.enabled))


def restart_when_idle(draft: Draft) -> None:
    """Begin the restart after a reset, unless a step of the machine is under way."""
    if draft.shared.phase is Phase.RESETTING and draft.shared.step is None:
        draft.emit(ev.MachineStepBegun(MachineStep.RESTART, draft.state.enabled))


def begin_what_waited(draft: Draft) -> None:
    """Go on, after a reset, with what has waited for the guest, or for the reset's end."""
    for index, slot in enumerate(draft.state.slots):
        if slot.command in (Owed.PLUG, Owed.UNPLUG):
            advance(draft, index)


def end_commands(draft: Draft, why: str, *, asked_of_guest_only: bool = False) -> None:
    """End what was accepted and can't be carried on, with an error each."""
    for index, slot in enumerate(draft.state.slots):
        id_ = slot.id or ""
        if slot.command is Owed.PLUG and not asked_of_guest_only:
            draft.emit(ev.PlugFailed(index, id_, why))
        if slot.command in (Owed.UNPLUG, Owed.REVOKE) and (
            not asked_of_guest_only or slot.requested
        ):
            draft.emit(ev.UnplugFailed(index, id_, why))


def lose(draft: Draft, error: str) -> None:
    """The machine has failed: end every command, then the machine."""
    end_commands(draft, error)
    draft.emit(ev.MachineLost(error))

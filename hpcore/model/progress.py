"""The protocol's own motion: what follows by itself once a step has ended.

A slot goes on to its next step, or its command ends; vCPU 0 starts when all that is there
at boot is enabled, and again after a reset; what can't be carried on ends with an error.
"""

from __future__ import annotations

from collections.abc import Callable

from hpcore.model import events as ev
from hpcore.model.draft import Draft
from hpcore.model.effects import MachineStep, Step
from hpcore.model.machines import Phase, SlotState
from hpcore.model.rules import Habit
from hpcore.model.states import Owed, Shared, Slot


def advance(draft: Draft, index: int, done: Step | None = None) -> None:
    """Begin the slot's next step, or end its command, if nothing is under way for it."""
    slot = draft.slot(index)
    if slot.step is not None or draft.shared.ended:
        return
    if slot.command in (Owed.PLUG, Owed.COLD_BOOT):
        _advance_build(draft, index, slot, done)
    elif slot.lifecycle is SlotState.EJECTING:
        if not (slot.stalled or _held(draft)):
            draft.emit(ev.StepBegun(index, draft.rules.teardown_step(slot)))
    elif slot.command is Owed.REVOKE:
        draft.emit(ev.TakenByForce(index))
        advance(draft, index)
    elif slot.unasked:
        waits = draft.keeps(Habit.REMOVE_WAITS_FOR_INSERT) and slot.insert
        # a guest that is being reset, or was powered off, would not see the event
        if not waits and not draft.shared.guest_gone:
            draft.emit(ev.StepBegun(index, Step.NOTIFY_REMOVE))


def _held(draft: Draft) -> bool:
    """Whether an eject that the guest has made waits, since the state is being carried away."""
    return draft.shared.migrating and draft.keeps(Habit.EJECT_WAITS_FOR_MIGRATION)


def _advance_build(draft: Draft, index: int, slot: Slot, done: Step | None) -> None:
    if done is None:
        if slot.unconfirmed and draft.keeps(Habit.PLUG_WAITS_FOR_CONFIRMATION):
            return
        if slot.enabled or _plugs_wait(draft.shared):
            return
    step = draft.rules.build_step_after(done, slot)
    booting = draft.shared.booting  # a guest that boots finds it by itself
    if step is None or (booting and step is Step.NOTIFY_INSERT):
        if slot.command is Owed.COLD_BOOT:
            draft.emit(ev.ColdBootDone(index))
        elif not booting:
            draft.emit(ev.PlugCompleted(index, slot.id or ""))
        start_when_ready(draft)
    else:
        draft.emit(ev.StepBegun(index, step))


def _plugs_wait(shared: Shared) -> bool:
    """Whether a plug is not begun yet: before the GIC is there, and while vCPU 0 starts."""
    return shared.phase in (Phase.DEFINED, Phase.CREATED) or shared.step is MachineStep.START


def start_when_ready(draft: Draft) -> None:
    """vCPU 0 enters the kernel once all is enabled that is cold-booted, or was plugged before."""
    if draft.shared.phase is not Phase.READY or draft.shared.step is not None:
        return
    slots = draft.state.slots
    if any(s.command is Owed.PLUG and not s.enabled for s in slots):
        return
    if all(s.enabled and s.command is Owed.NONE for s in slots if s.cold):
        draft.emit(ev.MachineStepBegun(MachineStep.START, draft.state.enabled))


def start_is_done(draft: Draft) -> None:
    """vCPU 0 runs, and so what was plugged before the boot is there: these plugs have ended."""
    draft.emit(ev.MachineStepDone(MachineStep.START))
    for index, slot in enumerate(draft.state.slots):
        if slot.command is Owed.PLUG and slot.enabled:
            draft.emit(ev.PlugCompleted(index, slot.id or ""))


def restart_when_idle(draft: Draft) -> None:
    """Begin the restart after a reset, unless a step of the machine is under way, or it is paused.

    An accelerator whose machine stands still can't have its guest enter the kernel.
    """
    shared = draft.shared
    if shared.phase is not Phase.RESETTING or shared.step is not None:
        return
    if not (shared.paused and draft.keeps(Habit.RESTART_WAITS_FOR_RESUME)):
        draft.emit(ev.MachineStepBegun(MachineStep.RESTART, draft.state.enabled))


def begin_what_waited(draft: Draft) -> None:
    """Go on, after a start or a migration, with what has waited for the guest, or for its end."""
    for index, slot in enumerate(draft.state.slots):
        if slot.command in (Owed.PLUG, Owed.UNPLUG):
            advance(draft, index)


def end_commands(
    draft: Draft, why: str, of: Callable[[Slot], bool] = lambda _slot: True
) -> None:
    """End what was accepted, of the slots that `of` picks, with an error each."""
    for index, slot in enumerate(draft.state.slots):
        if not of(slot):
            continue
        id_ = slot.id or ""
        if slot.command is Owed.PLUG:
            draft.emit(ev.PlugFailed(index, id_, why))
        if slot.command in (Owed.UNPLUG, Owed.REVOKE):
            draft.emit(ev.UnplugFailed(index, id_, why))


def lose(draft: Draft, error: str) -> None:
    """The machine has failed: end every command, then the machine."""
    end_commands(draft, error)
    draft.emit(ev.MachineLost(error))

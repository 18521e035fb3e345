"""What an accelerator says of the effects under way, and what the clock says of a guest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hpcore.model import events as ev
from hpcore.model import guards, stimuli
from hpcore.model.draft import Draft
from hpcore.model.effects import CARRYING, MachineStep, Step
from hpcore.model.machines import Phase, SlotState
from hpcore.model.plain import plain
from hpcore.model.progress import (
    advance,
    begin_what_waited,
    end_commands,
    lose,
    restart_when_idle,
    start_is_done,
    start_when_ready,
)
from hpcore.model.rules import Habit, Trait
from hpcore.model.states import Owed
from hpcore.model.topology import mp_affinity


def _done(draft: Draft, s: stimuli.Done) -> None:
    if not _expected(draft, s, s.slot, draft.slot(s.slot).step, s.step):
        return
    wanted = draft.slot(s.slot).affinity
    wanted = mp_affinity(s.slot) if wanted is None else wanted
    if s.step is Step.BIND and s.affinity != wanted and draft.guarded(guards.BIND_MATCHES):
        found = "nothing" if s.affinity is None else f"{s.affinity:#x}"
        error = guards.BIND_MATCHES.refusal(i=s.slot, found=found, wanted=wanted)
        _failed(draft, stimuli.Failed(s.step, s.slot, error))
        return
    leaving = draft.slot(s.slot)
    draft.emit(ev.StepDone(s.slot, s.step, s.affinity))
    if s.step in (Step.PARK, Step.HALT):
        if leaving.command in (Owed.UNPLUG, Owed.REVOKE):
            draft.emit(ev.UnplugCompleted(s.slot, leaving.id or ""))
        return
    advance(draft, s.slot, s.step)


def _failed(draft: Draft, s: stimuli.Failed) -> None:
    if not _expected(draft, s, s.slot, draft.slot(s.slot).step, s.step):
        return
    error = plain(s.error)
    draft.emit(ev.StepFailed(s.slot, s.step, error))
    slot = draft.slot(s.slot)
    why = f"{s.step} failed: {error}"
    if slot.command is Owed.COLD_BOOT:
        lose(draft, f"cold-booted vCPU {s.slot}: {why}")
    elif slot.command is Owed.PLUG:
        draft.emit(ev.PlugFailed(s.slot, slot.id or "", why))
        if draft.keeps(Habit.FAILED_PLUG_IS_UNDONE):
            advance(draft, s.slot)
        start_when_ready(draft)
    elif s.step is Step.NOTIFY_REMOVE and slot.lifecycle is SlotState.EJECTING:
        advance(draft, s.slot)  # the step failed, and yet the guest has acted on it
    elif slot.command is Owed.REVOKE and s.step is Step.NOTIFY_REMOVE:
        advance(draft, s.slot)  # force does not need the guest's notice
    elif slot.command in (Owed.UNPLUG, Owed.REVOKE):
        draft.emit(ev.UnplugFailed(s.slot, slot.id or "", why))


def _expected(
    draft: Draft, s: stimuli.Done | stimuli.Failed, index: int, under_way: Step | None, step: Step
) -> bool:
    if under_way is step or not draft.guarded(guards.OUTCOME_EXPECTED):
        return True
    draft.refuse(
        s, guards.OUTCOME_EXPECTED, index,
        step=step, whose=f"vCPU {index}", under_way=under_way or "nothing",
    )  # fmt: skip
    return False


def _machine_done(draft: Draft, s: stimuli.MachineDone) -> None:
    if s.step is MachineStep.RESET:
        return  # asked for; it has happened once the accelerator sees the reset
    if draft.shared.step is not s.step:
        _not_under_way(draft, s)
        return
    if s.step is MachineStep.START:
        start_is_done(draft)
    else:
        draft.emit(ev.MachineStepDone(s.step))
    match s.step:
        case MachineStep.CREATE_VCPUS:
            draft.emit(ev.MachineStepBegun(MachineStep.INIT_GIC))
        case MachineStep.INIT_GIC:
            for index, slot in enumerate(draft.state.slots):
                if slot.cold:
                    draft.emit(ev.ColdBootBegun(index))
                    advance(draft, index)
            begin_what_waited(draft)
        case MachineStep.START | MachineStep.RESTART | MachineStep.MIGRATE | MachineStep.SAVE:
            begin_what_waited(draft)
        case MachineStep.POWER_DOWN:
            end_commands(draft, "the machine was powered off")
            draft.emit(ev.MachinePoweredOff(ev.USER))
    restart_when_idle(draft)


def _machine_failed(draft: Draft, s: stimuli.MachineFailed) -> None:
    if draft.shared.step is not s.step:
        _not_under_way(draft, s)
        return
    error = plain(s.error)
    draft.emit(ev.MachineStepFailed(s.step, error))
    off = draft.shared.phase is Phase.OFF and s.step is MachineStep.RESET
    if s.step in CARRYING:
        begin_what_waited(draft)  # the machine is where it was, and goes on
    elif s.step not in (MachineStep.PAUSE, MachineStep.RESUME) and not off:
        lose(draft, f"{s.step} failed: {error}")
    restart_when_idle(draft)


def _restored(draft: Draft, s: stimuli.Restored) -> None:
    if draft.shared.step is not MachineStep.SAVE:
        draft.refuse(s, guards.SAVED_BEFORE, under_way=draft.shared.step or "nothing")
        return
    draft.emit(ev.Restored(s.file))
    begin_what_waited(draft)
    restart_when_idle(draft)


def _not_under_way(draft: Draft, s: stimuli.MachineDone | stimuli.MachineFailed) -> None:
    draft.refuse(
        s, guards.OUTCOME_EXPECTED,
        step=s.step, whose="the machine", under_way=draft.shared.step or "nothing",
    )  # fmt: skip


def _lost(draft: Draft, s: stimuli.Lost) -> None:
    lose(draft, plain(s.error))


def _guest_silent(draft: Draft, s: stimuli.GuestSilent) -> None:
    slot = draft.slot(s.slot)
    if draft.has(Trait.NO_DEADLINE):
        draft.refuse(s, guards.DEADLINE_KNOWN, s.slot, i=s.slot)
        return
    if slot.unconfirmed:
        draft.emit(ev.EjectUnconfirmed(s.slot))
        advance(draft, s.slot)
        return
    if not slot.waits_for_guest:
        draft.refuse(s, guards.WAITS_FOR_GUEST, s.slot, i=s.slot)
        return
    draft.emit(ev.UnplugFailed(
        s.slot, slot.id or "", "the guest did not answer in time; it may still eject later",
        still_asked=True,
    ))  # fmt: skip


HANDLERS: dict[type, Callable[[Draft, Any], None]] = {
    stimuli.Done: _done,
    stimuli.Failed: _failed,
    stimuli.MachineDone: _machine_done,
    stimuli.MachineFailed: _machine_failed,
    stimuli.Restored: _restored,
    stimuli.Lost: _lost,
    stimuli.GuestSilent: _guest_silent,
}

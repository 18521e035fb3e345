"""What the guest does: reads event bits, `_OST`, `_EJ0`, PSCI, reset, power off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hpcore.model import events as ev
from hpcore.model import guards, stimuli
from hpcore.model.acpi import EJECTS, OstSource, OstStatus, eject_refusal, refuses
from hpcore.model.draft import Draft
from hpcore.model.effects import MachineStep
from hpcore.model.guards import Guard
from hpcore.model.machines import Phase, SlotState
from hpcore.model.progress import (
    advance,
    end_commands,
    lose,
    restart_when_idle,
    start_is_done,
)
from hpcore.model.psci import PsciStatus
from hpcore.model.rules import Habit
from hpcore.model.states import Owed, Slot


def _scan_started(draft: Draft, s: stimuli.ScanStarted) -> None:
    if not draft.refused((guards.GUEST_RUNS,), s):
        draft.emit(ev.ScanBegun())


def _scan_ended(draft: Draft, s: stimuli.ScanEnded) -> None:
    if not draft.shared.scanning:
        draft.refuse(s, guards.SCAN_BEGUN)
        return
    draft.emit(ev.ScanFinished())
    left = any(slot.insert or slot.remove for slot in draft.state.slots)
    if left and not draft.shared.ged and draft.keeps(Habit.SCAN_END_REARMS_GED):
        draft.emit(ev.GedRaised())


def _insert_acked(draft: Draft, s: stimuli.InsertAcked) -> None:
    if not draft.slot(s.slot).insert:
        draft.refuse(s, guards.BIT_SET, s.slot, bit="insert", i=s.slot)
        return
    draft.emit(ev.InsertCleared(s.slot))
    advance(draft, s.slot)


def _remove_acked(draft: Draft, s: stimuli.RemoveAcked) -> None:
    if not draft.slot(s.slot).remove:
        draft.refuse(s, guards.BIT_SET, s.slot, bit="remove", i=s.slot)
        return
    draft.emit(ev.RemoveCleared(s.slot))


def _ost_reported(draft: Draft, s: stimuli.OstReported) -> None:
    if draft.refused((guards.GUEST_RUNS,), s, s.slot):
        return
    slot = draft.slot(s.slot)
    draft.emit(ev.OstReceived(s.slot, s.source, s.status))
    if s.source == OstSource.DEVICE_CHECK and s.status == OstStatus.SUCCESS:
        if slot.enabled and not slot.registered:
            draft.emit(ev.Registered(s.slot))
    elif (
        s.source in EJECTS
        and refuses(s.status)
        and slot.requested
        and slot.command is Owed.UNPLUG
        and draft.keeps(Habit.GUEST_REFUSAL_ENDS_UNPLUG)
    ):
        # A request that the guest has yet to take stays before it: it may follow that one.
        why = eject_refusal(s.status)
        draft.emit(ev.UnplugFailed(s.slot, slot.id or "", why, still_asked=slot.remove))
    advance(draft, s.slot)  # with a plug that has waited for this word


def _eject_called(draft: Draft, s: stimuli.EjectCalled) -> None:
    guard = draft.first_refusal(guards.EJECT, s.slot)
    if guard is None:
        draft.emit(ev.EjectAccepted(s.slot))
        advance(draft, s.slot)
    else:
        draft.emit(ev.EjectRefused(s.slot, guard.name, draft.why(guard, s.slot)))


def _cpu_on_called(draft: Draft, s: stimuli.CpuOnCalled) -> None:
    guard = draft.first_refusal(guards.CPU_ON, s.slot)
    delegated = s.verdict is not None
    if s.verdict is True and guard is not None:
        _granted_by_accelerator(draft, s, guard)
    elif guard is None and s.verdict is not False:
        draft.emit(ev.CpuOnGranted(s.slot, s.caller, s.entry, s.context, delegated))
    else:
        on = guard is guards.CPU_ON_WHILE_OFF
        status = PsciStatus.ALREADY_ON if on else PsciStatus.DENIED
        draft.emit(ev.CpuOnDenied(s.slot, s.caller, int(status), delegated))


def _granted_by_accelerator(draft: Draft, s: stimuli.CpuOnCalled, guard: Guard) -> None:
    """The accelerator granted what the core would not.

    Legitimate only in one window: the slot is on its way out, and DISABLE has not been
    answered, so that the accelerator did not know. The teardown takes the vCPU off again.
    """
    slot = draft.slot(s.slot)
    leaving = slot.lifecycle is SlotState.EJECTING
    window = leaving and slot.enabled and not slot.powered
    if window and draft.shared.guest_runs:
        draft.emit(ev.CpuOnGranted(s.slot, s.caller, s.entry, s.context, delegated=True))
    else:
        lose(
            draft, f"the accelerator granted CPU_ON of vCPU {s.slot} against the rule "
            f"'{guard.name}': {draft.why(guard, s.slot)}",
        )  # fmt: skip


def _cpu_off_seen(draft: Draft, s: stimuli.CpuOffSeen) -> None:
    if draft.slot(s.slot).powered:
        draft.emit(ev.CpuWentOff(s.slot))
    else:
        draft.refuse(s, guards.POWERED, s.slot, i=s.slot)


def _reset_seen(draft: Draft, s: stimuli.ResetSeen) -> None:
    shared = draft.shared
    off = shared.phase is Phase.OFF and shared.step is MachineStep.RESET
    if not (shared.guest_runs or off or shared.phase is Phase.RESETTING):
        draft.refuse(s, guards.NOTHING_TO_RESET, phase=draft.shared.phase)
        return
    if draft.shared.step is MachineStep.START:
        start_is_done(draft)
    if draft.keeps(Habit.RESET_ENDS_COMMANDS):
        end_commands(draft, "the machine was reset", _asked_of_guest)
    draft.emit(ev.MachineWasReset(draft.state.enabled))
    if draft.shared.step is MachineStep.RESET:
        draft.emit(ev.MachineStepDone(MachineStep.RESET))
    if draft.shared.step is MachineStep.RESTART:
        draft.emit(ev.MachineStepBegun(MachineStep.RESTART, draft.state.enabled))
    restart_when_idle(draft)


def _asked_of_guest(slot: Slot) -> bool:
    """Whether the guest was asked for the `device_del` that is owed, and has not followed."""
    return slot.requested and slot.command in (Owed.UNPLUG, Owed.REVOKE)


def _depends_on_guest(slot: Slot) -> bool:
    """Whether the guest was asked for the `device_del` that is owed, or is yet to be."""
    to_be_asked = slot.command is Owed.UNPLUG and slot.lifecycle is not SlotState.EJECTING
    return to_be_asked or _asked_of_guest(slot)


def _power_off_seen(draft: Draft, s: stimuli.PowerOffSeen) -> None:
    if draft.refused((guards.GUEST_RUNS,), s):
        return
    if draft.shared.step is MachineStep.START:
        start_is_done(draft)
    elif draft.shared.step is MachineStep.RESTART:
        draft.emit(ev.MachineStepDone(MachineStep.RESTART))
    if draft.keeps(Habit.POWER_OFF_ENDS_COMMANDS):
        end_commands(draft, "the machine was powered off", _depends_on_guest)
    draft.emit(ev.MachinePoweredOff(ev.GUEST))


HANDLERS: dict[type, Callable[[Draft, Any], None]] = {
    stimuli.ScanStarted: _scan_started,
    stimuli.ScanEnded: _scan_ended,
    stimuli.InsertAcked: _insert_acked,
    stimuli.RemoveAcked: _remove_acked,
    stimuli.OstReported: _ost_reported,
    stimuli.EjectCalled: _eject_called,
    stimuli.CpuOnCalled: _cpu_on_called,
    stimuli.CpuOffSeen: _cpu_off_seen,
    stimuli.ResetSeen: _reset_seen,
    stimuli.PowerOffSeen: _power_off_seen,
}

"""What a stimulus must lead to, decision by decision: every question has its one right answer.

These invariants look at a whole decision: the stimulus, the events, and the effects that the
accelerator is asked for. What is demanded here is read off the state before and after it, and
is written down a second time on purpose: it stands beside the handlers, `effects_of` and the
guards, and is held against them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hpcore.model import events as ev
from hpcore.model import stimuli as st
from hpcore.model.acpi import OstSource, OstStatus
from hpcore.model.effects import (
    CARRYING,
    AnswerCpuOn,
    Effect,
    MachineStep,
    RaiseGed,
    Reassert,
    RunMachineStep,
    RunStep,
    Step,
)
from hpcore.model.guards import DEADLINE_KNOWN, FORCE_KNOWN, Reason
from hpcore.model.machines import Phase, SlotState
from hpcore.model.properties import Property, Turn, always
from hpcore.model.psci import PsciStatus
from hpcore.model.states import BOOT_VCPU, Owed, Shared, Slot
from hpcore.model.topology import mp_affinity

_THERE = (SlotState.ENABLED, SlotState.ONLINE)
_GIVEN_BACK = (Owed.UNPLUG, Owed.REVOKE)
_STARTS = (MachineStep.START, MachineStep.RESTART)
_LAST_STEPS = (Step.PARK, Step.HALT)


def _refused_by(t: Turn, reason: Reason) -> bool:
    return any(isinstance(event, ev.Refused) and event.guard == reason.name for event in t.told)


def _tells(t: Turn, *kinds: type[ev.Event]) -> bool:
    for event in t.told:  # noqa: SIM110 - a generator would cost a check a tenth of its time
        if isinstance(event, kinds):
            return True
    return False


# ----------------------------------------------------------------------- CPU_ON


def _cpu_on(t: Turn) -> bool:
    """Granted where it may be, at once; DENIED, or ALREADY_ON, by its code, where not."""
    call = t.stimulus
    if not isinstance(call, st.CpuOnCalled) or call.slot != t.index or t.shared_before.ended:
        return True
    answers = [e for e in t.effects if isinstance(e, AnswerCpuOn)]
    if t.shared_before.phase is Phase.OFF:
        return not answers  # the caller is gone with its machine
    there = t.shared_before.guest_runs and t.before.enabled and t.before.lifecycle in _THERE
    may = there and not t.before.powered
    if call.verdict is not None:  # the accelerator has answered
        granted = may and call.verdict
        return not answers and (not granted or (t.after.powered and not t.shared.ended))
    status = PsciStatus.ALREADY_ON if there else PsciStatus.DENIED
    wanted = AnswerCpuOn(t.index, call.caller, False, int(status))
    if may:
        wanted = AnswerCpuOn(t.index, call.caller, True, 0, call.entry, call.context)
    return answers == [wanted] and t.after.powered == (may or t.before.powered)


# ---------------------------------------------------------------------- effects


def _effects(t: Turn) -> bool:
    """What the accelerator is asked for, as far as this slot and the machine go."""
    asked = [e for e in t.effects if _concerns(e, t.index)]
    demanded = _demanded(t, asked)
    return asked == demanded or sorted(map(repr, asked)) == sorted(map(repr, demanded))


def _concerns(effect: Effect, index: int) -> bool:
    return not isinstance(effect, AnswerCpuOn) and getattr(effect, "slot", index) == index


def _demanded(t: Turn, asked: list[Effect]) -> list[Effect]:
    out: list[Effect] = []
    if t.after.step is not None and (t.before.step is None or _ends_step(t)):
        out.append(RunStep(t.after.step, t.index))
    step = t.shared.step
    if step is not None and (t.shared_before.step is not step or _ends_machine_step(t)):
        out.append(RunMachineStep(step, _listed(t, step, asked)))
    refused = t.after.lifecycle is t.before.lifecycle and _hears_guest(t.shared_before)
    if isinstance(t.stimulus, st.EjectCalled) and refused:
        out.append(Reassert(t.index))
    if isinstance(t.stimulus, st.ScanEnded) and t.shared.ged and not t.shared_before.ged:
        out.append(RaiseGed())
    return out


def _listed(t: Turn, step: MachineStep, asked: list[Effect]) -> tuple[int, ...]:
    """The slots that the effect must list, of which only this one can be judged here."""
    found = next((e.enabled for e in asked if isinstance(e, RunMachineStep)), ())
    others = {i for i in found if i != t.index} if step in _STARTS else set()
    return tuple(sorted(others | {t.index} if step in _STARTS and t.after.enabled else others))


def _ends_step(t: Turn) -> bool:
    """Whether the stimulus is the outcome of what was under way for this slot."""
    s = t.stimulus
    return isinstance(s, st.Done | st.Failed) and (s.slot, s.step) == (t.index, t.before.step)


def _ends_machine_step(t: Turn) -> bool:
    s, under_way = t.stimulus, t.shared_before.step
    if isinstance(s, st.PowerDown):
        return True  # asked for again, it is begun again
    if isinstance(s, st.ResetSeen):
        return under_way is MachineStep.RESTART  # vCPU 0 starts afresh
    if s == st.MachineDone(MachineStep.RESET):
        return False  # that it was reset is what ends it
    return isinstance(s, st.MachineDone | st.MachineFailed) and s.step is under_way


def _hears_guest(shared: Shared) -> bool:
    return not shared.ended and shared.phase is not Phase.OFF


# ------------------------------------------------------------- what a user is told


def _true_success(t: Turn) -> bool:
    """A plug completes with its device check, or with the start; DEVICE_DELETED with PARK."""
    s, before = t.stimulus, t.before
    ends = isinstance(s, st.Done) and _ends_step(t)
    checked = ends and before.step is Step.NOTIFY_INSERT
    ends_start = t.shared_before.step is MachineStep.START and (
        isinstance(s, st.ResetSeen | st.PowerOffSeen) or s == st.MachineDone(MachineStep.START)
    )
    plugged = before.command is Owed.PLUG and (checked or (ends_start and before.enabled))
    if _tells(t, ev.PlugCompleted) != plugged:
        return False
    parked = ends and before.step in _LAST_STEPS
    taken_back = (
        isinstance(s, st.DeviceDel) and t.shared_before.phase is Phase.DEFINED
        and before.command is Owed.PLUG and s.id == before.id and not t.shared_before.ending
    )  # fmt: skip
    deleted = (parked and before.command in _GIVEN_BACK) or taken_back
    names = {e.id for e in t.told if isinstance(e, ev.PlugCompleted | ev.UnplugCompleted)}
    return _tells(t, ev.UnplugCompleted) == deleted and names <= {before.id}


def _true_failure(t: Turn) -> bool:
    """Of a failed unplug the vCPU stays; of a failed plug it goes, and no more is said."""
    for event in t.told:
        if isinstance(event, ev.PlugFailed | ev.UnplugFailed) and event.id != t.before.id:
            return False
    if t.shared.ended:
        return True
    if _tells(t, ev.UnplugFailed):
        return t.after.lifecycle is not SlotState.EJECTING or t.after.stalled
    if _tells(t, ev.PlugFailed):
        gone = t.after.lifecycle in (SlotState.PARKED, SlotState.EJECTING)
        return gone and t.after.command is Owed.NONE
    return True


def _request_ends(t: Turn) -> bool:
    """Refused, it is withdrawn; unanswered, the user is told, and it may yet be followed."""
    s, before = t.stimulus, t.before
    if t.shared_before.ended or before.lifecycle not in _THERE:
        return True
    told = _tells(t, ev.UnplugFailed)
    if isinstance(s, st.OstReported):
        no = s.status not in (OstStatus.SUCCESS, OstStatus.IN_PROGRESS)
        of_eject = s.source in (OstSource.EJECT_REQUEST, OstSource.OSPM_EJECT)
        if not (no and of_eject and before.requested and t.shared_before.guest_runs):
            return not told
        if before.command is not Owed.UNPLUG:  # the user knows that it may yet eject
            return not told and t.after.requested
        return told and (before.remove or not t.after.requested)
    if isinstance(s, st.GuestSilent) and not before.unconfirmed:
        if _refused_by(t, DEADLINE_KNOWN):  # rules by which a guest is waited for without end
            return True
        return told == before.waits_for_guest and t.after.requested == before.requested
    return True


# ---------------------------------------------------------------- commands are taken

def _refused_for(t: Turn, guard: str) -> bool:
    return any(isinstance(event, ev.Refused) and event.guard == guard for event in t.told)


_MAY_REFUSE = ("id_unused", "hotplug_supported", "machine_ended")
"""For reasons that no slot has."""


def _commands(t: Turn) -> bool:
    """What may be asked for is accepted, and begun where nothing has to be waited for."""
    s, before, m = t.stimulus, t.before, t.shared_before
    if m.ended or (m.ending and not isinstance(s, st.PowerDown)):
        return True
    match s:
        case st.DeviceAdd():
            refused = any(isinstance(e, ev.Refused) and e.guard not in _MAY_REFUSE for e in t.told)
            vacant = before.lifecycle is SlotState.PARKED and before.command is Owed.NONE
            takes = m.phase is not Phase.OFF and not m.migrating
            return not (refused and takes and vacant and before.step is None and not before.cold)
        case st.DeviceDel(force=True) if _refused_for(t, "force_known"):
            return True  # of a protocol that has no force
        case st.DeviceDel(id=id_) if id_ == before.id:
            return _unplugs(t, s) if _may_unplug(before, m) else True
        case st.PowerDown():
            return t.shared.ending
        case st.Boot():
            new = m.phase is Phase.DEFINED and m.step is None
            return not new or t.shared.step is MachineStep.CREATE_VCPUS
        case st.Reset() if m.phase is Phase.DEFINED and m.step is None:
            return not t.events  # nothing has run yet, and QEMU's succeeds there
        case st.Reset() if m.step is None:
            again = m.phase is Phase.RESETTING and m.paused
            may = m.phase in (Phase.RUNNING, Phase.OFF) or again
            return not may or t.shared.step is MachineStep.RESET
        case st.Pause() if m.step is None and m.phase is Phase.RUNNING and not m.paused:
            return t.shared.step is MachineStep.PAUSE
        case st.Resume() if m.step is None and m.phase is Phase.RUNNING and not m.paused:
            return not t.events  # it goes on already
        case st.Resume() if m.step is None and m.paused:
            may = m.phase in (Phase.RUNNING, Phase.RESETTING)
            return not may or t.shared.step is MachineStep.RESUME
    return True


def _may_unplug(slot: Slot, m: Shared) -> bool:
    up = m.phase in (Phase.RUNNING, Phase.RESETTING) and not m.migrating
    there = slot.lifecycle in _THERE or (slot.lifecycle is SlotState.EJECTING and slot.stalled)
    return up and there and not slot.cold and slot.command in (Owed.NONE, Owed.UNPLUG)


def _unplugs(t: Turn, s: st.DeviceDel) -> bool:
    before, after = t.before, t.after
    if s.force and _refused_by(t, FORCE_KNOWN):  # rules that have no force
        return True
    if not _tells(t, ev.UnplugAccepted, ev.UnplugRepeated):
        return False
    if after.command is not (Owed.REVOKE if s.force else Owed.UNPLUG):
        return False
    if before.step is not None:
        return True
    if s.force or before.lifecycle is SlotState.EJECTING:
        return after.lifecycle is SlotState.EJECTING and after.step is not None
    waits = before.insert or t.shared_before.phase is Phase.RESETTING
    return waits == (after.step is None) and after.requested != waits


# ------------------------------------------------- the guest and the accelerator are heard


def _guest(t: Turn) -> bool:
    """What the guest may do is done; what it may not leaves its slot as it is."""
    if isinstance(t.stimulus, st.EjectCalled) and _hears_guest(t.shared_before):
        return _eject(t, stays=t.before.cold)
    return _guest_but_ejects(t)


def guest_heard_where_cold_can_go(t: Turn) -> bool:
    """The same, of a protocol by which none but vCPU 0 stays for the machine's life."""
    if isinstance(t.stimulus, st.EjectCalled) and _hears_guest(t.shared_before):
        return _eject(t, stays=t.index == BOOT_VCPU)
    return _guest_but_ejects(t)


def _guest_but_ejects(t: Turn) -> bool:
    heard = _GUEST.get(type(t.stimulus))
    if heard is None or not _hears_guest(t.shared_before):
        return True
    return heard(t)


def _ost(t: Turn) -> bool:
    s = t.stimulus
    if s != st.OstReported(t.index, OstSource.DEVICE_CHECK, OstStatus.SUCCESS):
        return not _tells(t, ev.Registered)
    return t.after.registered or not (t.before.enabled and t.shared_before.guest_runs)


def _eject(t: Turn, *, stays: bool) -> bool:
    m, before = t.shared_before, t.before
    may = (
        m.guest_runs and not stays and before.requested
        and before.lifecycle is SlotState.ENABLED and not before.powered
    )  # fmt: skip
    return _tells(t, ev.EjectAccepted) == may


def _scan_begins(t: Turn) -> bool:
    return t.shared.scanning and not t.shared.ged if t.shared_before.guest_runs else True


_GUEST: dict[type, Callable[[Turn], bool]] = {
    st.ScanStarted: _scan_begins,
    st.ScanEnded: lambda t: not t.shared.scanning,
    st.InsertAcked: lambda t: not t.after.insert,
    st.RemoveAcked: lambda t: not t.after.remove or t.after.step is Step.NOTIFY_REMOVE,
    st.OstReported: _ost,
    st.CpuOffSeen: lambda t: not t.after.powered,
    st.ResetSeen: lambda t: t.shared.phase is Phase.RESETTING or not (
        t.shared_before.guest_runs or t.shared_before.phase is Phase.RESETTING),
    st.PowerOffSeen: lambda t: t.shared.phase is Phase.OFF or not t.shared_before.guest_runs,
}  # fmt: skip

GUESTS_CALLS = (st.EjectCalled, *_GUEST)
_COMMANDS = (
    st.DeviceAdd, st.DeviceDel, st.PowerDown, st.Boot, st.Reset, st.Pause, st.Resume,
)  # fmt: skip
_OUTCOMES = (st.Done, st.Failed, st.MachineDone, st.MachineFailed, st.Lost)

_MACHINE_GOES_ON = (MachineStep.PAUSE, MachineStep.RESUME, *CARRYING)


def _outcomes(t: Turn) -> bool:
    """What the accelerator has done, or failed to do, is so; a failure is told, or made good."""
    s: Any = t.stimulus
    if t.shared_before.ended:
        return True
    match s:
        case st.Done() if s.slot == t.index and s.step is t.before.step:
            bound = s.step is not Step.BIND or s.affinity == mp_affinity(t.index)
            return _tells(t, ev.StepDone) == bound and (bound or _fails(t))
        case st.Failed() if s.slot == t.index and s.step is t.before.step:
            return _fails(t)
        case st.MachineDone() if s.step is t.shared_before.step and s.step is not MachineStep.RESET:
            ends = t.shared.phase is Phase.ENDED
            return ev.MachineStepDone(s.step) in t.events and (
                t.shared.phase is not Phase.FAILED and ends == (s.step is MachineStep.POWER_DOWN)
            )  # fmt: skip
        case st.MachineFailed() if s.step is t.shared_before.step:
            off = t.shared_before.phase is Phase.OFF and s.step is MachineStep.RESET
            return t.shared.ended != (off or s.step in _MACHINE_GOES_ON)
        case st.Lost():
            return t.shared.phase is Phase.FAILED
    return True


def _fails(t: Turn) -> bool:
    if not _tells(t, ev.StepFailed):
        return False
    match t.before.command:
        case Owed.COLD_BOOT:
            return t.shared.phase is Phase.FAILED
        case Owed.PLUG:
            return _tells(t, ev.PlugFailed)
        case Owed.UNPLUG | Owed.REVOKE:
            return _tells(t, ev.UnplugFailed) != (t.after.step is not None)
    return True


_SINCE = (0, 6)

ANSWERS: tuple[Property, ...] = (
    always(
        "cpu_on_answered",
        "CPU_ON of an enabled vCPU that is off is granted at once; of one that is on it is "
        "answered with ALREADY_ON, any other with DENIED.",
        on_decision=_cpu_on, number=6, since=_SINCE, of=(st.CpuOnCalled,),
    ),
    always(
        "effects_follow",
        "The accelerator is asked for what the machine then waits for, once; a refused eject is "
        "taken back; the GED is raised again where a scan left bits. For nothing else.",
        on_decision=_effects, number=13, since=_SINCE,
    ),
    always(
        "success_is_true",
        "A plug completes once its device check was begun and is done, or vCPU 0 runs; "
        "DEVICE_DELETED is told once the vCPU is parked, and an unplug is owed.",
        on_decision=_true_success, number=13, since=_SINCE,
    ),
    always(
        "failure_is_true",
        "Who is told that an unplug failed keeps the vCPU; who is told so of a plug has none; "
        "either is told by its id.",
        on_decision=_true_failure, number=13, since=_SINCE,
    ),
    always(
        "request_ends_with_a_word",
        "An eject request that the guest refuses is withdrawn, unless it has yet to take it; the "
        "user is told of a refusal, and of silence.",
        on_decision=_request_ends, number=13, since=_SINCE, of=(st.OstReported, st.GuestSilent),
    ),
    always(
        "commands_taken",
        "A command that may be given is accepted, and begun if there is nothing to wait for.",
        on_decision=_commands, number=13, since=_SINCE, of=_COMMANDS,
    ),
    always(
        "guest_heard",
        "What the guest may do is done at once: an eject, an answer, a vCPU off, a reset.",
        on_decision=_guest, number=13, since=_SINCE, of=GUESTS_CALLS,
    ),
    always(
        "outcomes_taken",
        "What the accelerator has done is done; what it failed to do is told, or gone around.",
        on_decision=_outcomes, number=13, since=_SINCE, of=_OUTCOMES,
    ),
)  # fmt: skip

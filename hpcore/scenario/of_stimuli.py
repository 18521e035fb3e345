"""Stimuli, such as those of a log, as the steps of a scenario that asks the same of a machine.

A scenario says what the user does, and has a played guest make a call that its kernel would
not. The rest comes by itself: what the accelerator answers, and what Linux does when it is
notified. What no scenario can ask for, a step that fails or a guest that is silent, is named.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attrs import field, frozen, mutable

from hpcore.guest.played.hostile import Call
from hpcore.model import stimuli as st
from hpcore.model.acpi import OstSource, OstStatus
from hpcore.model.config import MachineConfig
from hpcore.model.decide import decide
from hpcore.model.events import Refused
from hpcore.model.machines import IllegalTransition
from hpcore.model.naming import snake_case
from hpcore.model.states import State, initial
from hpcore.scenario import values as sc

_BY_ITSELF = (
    st.Done, st.MachineDone, st.ScanStarted, st.ScanEnded, st.InsertAcked, st.RemoveAcked,
    st.ResetSeen, st.Note,
)  # fmt: skip
_USUAL_OST = {
    (int(OstSource.DEVICE_CHECK), int(OstStatus.SUCCESS)),
    (int(OstSource.EJECT_REQUEST), int(OstStatus.SUCCESS)),
}


@frozen
class Retold:
    """The scenario, and what of the stimuli it does not say, each in a few words."""

    scenario: sc.Scenario
    left_out: tuple[str, ...]


def scenario_of(
    name: str, about: str, machine: MachineConfig, stimuli: Sequence[st.Stimulus]
) -> Retold:
    """The scenario that asks for `stimuli`, in their order, on `machine`.

    Nothing is waited for but where the machine was at rest in between. A command that
    hpcore's own rules refuse there must fail.
    """
    writing = _Writing(initial(machine))
    for stimulus in stimuli:
        writing.take(stimulus)
    writing.add(sc.SettleStep(), "settle")
    scenario = sc.Scenario(name, about, machine, "", tuple(writing.lines))
    return Retold(scenario, tuple(dict.fromkeys(writing.left_out)))


@mutable
class _Writing:
    state: State
    lines: list[sc.Line] = field(factory=list)
    left_out: list[str] = field(factory=list)
    _settled: bool = True

    def take(self, stimulus: st.Stimulus) -> None:
        """Add the step that asks for `stimulus`, if it needs one."""
        before = self.state
        refused = self._decide(stimulus)
        step = _step(stimulus, before)
        if step is None:
            if not isinstance(stimulus, _BY_ITSELF) and not _usual(stimulus, before):
                self.left_out.append(_words(stimulus))
            return
        if not self._settled and _at_rest(before):
            self.add(sc.SettleStep(), "settle")
        self._settled = False
        refuses = refused if isinstance(stimulus, st.Command) else None
        self.add(step, snake_case(type(stimulus)), refuses)

    def add(self, step: sc.ScenarioStep, text: str, fails: str | None = None) -> None:
        """Add a step, which must fail with `fails` if that is given."""
        waits = not isinstance(step, sc.MAY_NOT_WAIT) or fails is not None
        self.lines.append(sc.Line(step, len(self.lines) + 1, text, fails, waits))
        if isinstance(step, sc.SettleStep | sc.BootStep):
            self._settled = True

    def _decide(self, stimulus: st.Stimulus) -> str | None:
        """Go on by hpcore's own rules; the words of a refusal."""
        try:
            decision = decide(self.state, stimulus)
        except IllegalTransition:  # these rules never came here
            return None
        self.state = decision.state
        return next((e.message for e in decision.events if isinstance(e, Refused)), None)


def _at_rest(state: State) -> bool:
    """Whether nothing is under way, nor does the guest have anything to look at."""
    return state.shared.step is None and not any(
        slot.step is not None or slot.insert or slot.remove for slot in state.slots
    )


def command_step(stimulus: st.Stimulus) -> sc.ScenarioStep | None:
    """The step that gives the command `stimulus` to a machine that has booted."""
    match stimulus:
        case st.DeviceAdd(id=id_, props=props, driver=driver):
            return sc.PlugStep(id_, dict(props), driver)
        case st.DeviceDel(id=id_, force=force):
            return sc.UnplugStep(id_, force)
        case st.Reset():
            return sc.ResetStep()
        case st.Pause():
            return sc.PauseStep()
        case st.Resume():
            return sc.ResumeStep()
        case st.Migrate():
            return sc.MigrateStep()
    return None


def _step(stimulus: st.Stimulus, state: State) -> sc.ScenarioStep | None:
    if isinstance(stimulus, st.Boot):
        return sc.BootStep()
    if step := command_step(stimulus):
        return step
    return None if _usual(stimulus, state) else next(_calls(stimulus), None)


def _calls(stimulus: st.Stimulus) -> Iterator[sc.CallStep]:
    match stimulus:
        case st.EjectCalled(slot=slot):
            yield sc.CallStep(Call.EJECT, (slot,))
        case st.CpuOnCalled(slot=slot, caller=caller):
            yield sc.CallStep(Call.CPU_ON, (caller, slot))
        case st.CpuOffSeen(slot=slot):
            yield sc.CallStep(Call.CPU_OFF, (slot,))
        case st.OstReported(slot=slot, source=source, status=status):
            yield sc.CallStep(Call.OST, (slot, source, status))


def _usual(stimulus: st.Stimulus, state: State) -> bool:
    """Whether a Linux makes this call by itself, once it is notified."""
    if isinstance(stimulus, st.OstReported):
        return (stimulus.source, stimulus.status) in _USUAL_OST
    if isinstance(stimulus, st.EjectCalled | st.CpuOffSeen):
        known = 0 <= stimulus.slot < len(state.slots)
        return known and state.slots[stimulus.slot].requested
    return False


def _words(stimulus: st.Stimulus) -> str:
    words = snake_case(type(stimulus)).replace("_", " ")
    about = [str(getattr(stimulus, name)) for name in ("step", "slot") if hasattr(stimulus, name)]
    return " ".join((words, *about))

"""A finding as a scenario that `hpcore run` repeats, so that it is seen on a real machine.

The steps stand in the order of the finding, each with what it fails with. A guest model's
calls become `call` steps: the guest that is played takes events, and is told to lose what it
would do about them. What no scenario can script is said: an accelerator that fails, or that is
held in the middle of a step; a guest that leaves an event bit unread.
"""

from __future__ import annotations

import attrs
from attrs import field, frozen, mutable

from hpcore.check.tabulated.start import take
from hpcore.check.world.words import say
from hpcore.errors import HpcoreError
from hpcore.guest.played import LOST
from hpcore.guest.played.hostile import Call
from hpcore.model import stimuli as st
from hpcore.model.acpi import Notification
from hpcore.model.machines import SlotState
from hpcore.model.states import State, initial
from hpcore.run.deadlines import GuestWait, Patience, WordWait, owed
from hpcore.scenario import values as sc
from hpcore.sequence.values import Finding, FindingKind, Happening, Question
from hpcore.sequence.words import headline

LATE = 1000
"""Milliseconds that a `wait` for a deadline is longer than the deadline."""

MOMENT = 500
"""Milliseconds in which an accelerator ends what it is at."""


@frozen
class Repeated:
    """The scenario, and what of the finding it cannot script."""

    scenario: sc.Scenario
    left_open: tuple[str, ...] = ()


class CannotRepeat(HpcoreError):
    """No scenario can bring this about; the text says what of it."""


def scenario_of(finding: Finding, question: Question) -> Repeated:
    """The scenario that repeats `finding`. Raises CannotRepeat."""
    for happening in finding.way:
        if happening.fault and not isinstance(happening.stimulus, st.GuestSilent):
            assert happening.stimulus is not None
            raise CannotRepeat(
                f"no accelerator can be told to be at fault, and here {say(happening.stimulus)}"
            )
    return _Script(finding, question).write()


@mutable
class _Script:
    finding: Finding
    question: Question
    lines: list[sc.Line] = field(factory=list)
    open: dict[str, None] = field(factory=dict)

    def write(self) -> Repeated:
        state = initial(self.question.scenario.machine)
        for n, happening in enumerate(self.finding.way):
            self._one(n, happening, state)
            if happening.stimulus is not None:
                q = self.question
                state = take(state, happening.stimulus, q.rules).after
        self._last(state)
        self._come_to_rest(state)
        scenario = self.question.scenario
        scripted = not self.question.guest.prompt
        about = f"Repeats what a check has found: {headline(self.finding)}."
        repeated = attrs.evolve(
            scenario, about=" ".join(about.split()), steps=tuple(self.lines),
            kind="linux" if scripted else scenario.kind,
            append=f"{scenario.append} maxcpus=1".strip() if scripted else scenario.append,
            answers=_DEAF if scripted else scenario.answers,
        )  # fmt: skip
        return Repeated(repeated, tuple(self.open))

    # ------------------------------------------------------------------- a happening

    def _one(self, n: int, happening: Happening, state: State) -> None:
        stimulus = happening.stimulus
        if happening.begins is not None:
            self._step(n, happening.begins, state)
        elif isinstance(stimulus, st.GuestSilent):
            self._deadline(stimulus, state)
        elif isinstance(stimulus, st.ResetSeen) and state.shared.guest_runs:
            if state.shared.step is None:  # else it is the user's
                self._add(sc.RebootStep(), "reboot")
        elif not self.question.guest.prompt and isinstance(stimulus, _CALLS):
            self._call(stimulus, state)

    def _step(self, n: int, line: sc.Line, state: State) -> None:
        before = self.lines[-1] if self.lines else None
        waited = before is not None and isinstance(before.step, _WAITED)
        if before is not None and waited and state.shared.step is not None:
            raise CannotRepeat(
                f"a run waits for the end of `{before.text}`, and here `{line.text}` comes before"
            )
        self._said_open(f"`{line.text}` is given", state)
        last = line is self.finding.line and not any(
            h.begins is not None for h in self.finding.way[n + 1 :]
        )
        if last and self.finding.kind is FindingKind.FAILS:
            self.lines.append(attrs.evolve(line, fails=self._failure(line), waits=True))
            return
        alone = self._alone_until_next(n) and not (last and self.finding.kind is FindingKind.NEVER)
        waits = line.waits and not self.question.race and alone
        if not waits and not isinstance(line.step, sc.MAY_NOT_WAIT):
            waits = True
        self.lines.append(attrs.evolve(line, waits=waits))

    def _alone_until_next(self, n: int) -> bool:
        """Whether the guest that is played does by itself what comes before the next step."""
        if self.question.guest.prompt:
            return True
        for happening in self.finding.way[n + 1 :]:
            if happening.begins is not None:
                return True
            if isinstance(happening.stimulus, (*_CALLS, st.GuestSilent)):
                return False
        return True

    def _call(self, stimulus: st.Stimulus, state: State) -> None:
        slot: int = stimulus.slot  # type: ignore[union-attr]
        if state.slots[slot].lifecycle in _STAY:
            self._add(sc.ExpectStep(slots={slot: str(state.slots[slot].lifecycle)}), "expect")
        match stimulus:
            case st.OstReported(source=source, status=status):
                self._add(sc.CallStep(Call.OST, (slot, source, status)), "call")
            case st.EjectCalled():
                self._add(sc.CallStep(Call.EJECT, (slot,)), "call")
            case st.CpuOnCalled(caller=caller):
                self._add(sc.CallStep(Call.CPU_ON, (caller, slot)), "call")
            case st.CpuOffSeen():
                self._add(sc.CallStep(Call.CPU_OFF, (slot,)), "call")

    def _deadline(self, stimulus: st.GuestSilent, state: State) -> None:
        for wait in owed(state):
            if isinstance(wait, GuestWait | WordWait) and wait.slot == stimulus.slot:
                seconds = Patience().of(wait)
                self._add(sc.WaitStep(int(seconds * 1000) + LATE), "wait")

    def _last(self, state: State) -> None:
        """The line that is found wanting, where it was not begun, or never ends."""
        line = self.finding.line
        if self.finding.kind is FindingKind.EXPECT and line is not None:
            self.lines.append(attrs.evolve(line, fails=self._failure(line)))
        elif self.finding.kind is FindingKind.NEVER:
            slots: dict[sc.Cpu, str] = {
                i: str(slot.lifecycle) for i, slot in enumerate(state.slots) if not slot.cold
            }
            if slots:
                self._add(sc.ExpectStep(slots=slots), "expect")
            self.open["that it is so for ever cannot be seen in a run of any length"] = None

    def _come_to_rest(self, state: State) -> None:
        """A run does not end well in the middle of something."""
        if not any(slot.busy for slot in state.slots) or state.shared.halted:
            return
        if self.question.guest.prompt and self.finding.kind is not FindingKind.NEVER:
            self._add(sc.SettleStep(), "settle")
        else:  # what the guest owes it will never give
            self._add(sc.WaitStep(MOMENT), "wait")

    # ------------------------------------------------------------------- words

    def _failure(self, line: sc.Line) -> str | None:
        """What the step fails with in this run, as `fails` is written; None where it does not."""
        why = self.finding.why
        if line.fails is None:
            return why.split("; ")[0]
        if why.endswith("and did not"):
            return None
        return why.partition(": ")[2].split("; ")[0]

    def _said_open(self, when: str, state: State) -> None:
        """Say what a run may be past, or short of, when something is given."""
        if state.shared.paused or state.shared.booting:
            return
        for i, slot in enumerate(state.slots):
            if slot.step is not None:
                self.open[f"that '{slot.step}' of vCPU {i} is under way when {when}"] = None
            elif slot.insert or slot.remove:
                self.open[f"that the guest has not read vCPU {i}'s event bit when {when}"] = None

    def _add(self, step: sc.ScenarioStep, verb: str) -> None:
        self.lines.append(sc.Line(step, len(self.lines) + 1, verb))


_CALLS = (st.OstReported, st.EjectCalled, st.CpuOnCalled, st.CpuOffSeen)
_WAITED = (
    sc.BootStep, sc.ResetStep, sc.PauseStep, sc.ResumeStep, sc.MigrateStep, sc.SaveStep,
)  # fmt: skip
"""The steps that `hpcore run` always waits for."""
_STAY = (SlotState.PARKED, SlotState.ENABLED, SlotState.ONLINE)
"""The states that a slot is in for longer than the accelerator's work takes."""
_DEAF = {Notification.DEVICE_CHECK: LOST, Notification.EJECT_REQUEST: LOST}



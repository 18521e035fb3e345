"""A counterexample of the checker's as a scenario that repeats it, call by call, on a real machine.

The guest is played, and hears nothing of itself (`hpcore.guest.played.script`): each of its calls
stands in the scenario. What the accelerator has to end, it is given time for. What no scenario can
script is an accelerator that errs, and one that is held in the middle of what it does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import field, mutable

from hpcore.errors import HpcoreError
from hpcore.guest.played import LOST
from hpcore.guest.played.hostile import Move
from hpcore.guest.played.script import MASK_GED, moves_of
from hpcore.model import stimuli as st
from hpcore.model.acpi import Notification
from hpcore.model.config import MachineConfig
from hpcore.model.naming import snake_case
from hpcore.scenario import values as sc
from hpcore.scenario.of_stimuli import command_step

MOMENT = 500
"""Milliseconds in which an accelerator ends what it is at."""

_DEAF = {Notification.DEVICE_CHECK: LOST, Notification.EJECT_REQUEST: LOST}


class NotScripted(HpcoreError):
    """No scenario can bring this about; the text says what of it."""


def scripted(
    name: str, about: str, machine: MachineConfig, stimuli: Sequence[st.Stimulus]
) -> sc.Scenario:
    """The scenario that brings `stimuli` about, in their order, on `machine`. Raises NotScripted.

    The machine is booted first: `stimuli` are those from there on.
    """
    script = _Script()
    script.begin()
    for stimulus in stimuli:
        script.take(stimulus)
    script.end()
    return sc.Scenario(name, about, machine, "maxcpus=1", tuple(script.lines), answers=_DEAF)


@mutable
class _Script:
    lines: list[sc.Line] = field(factory=list)
    _works: bool = False
    """Whether the accelerator has ended a slot's step since the last line."""
    _resets: bool = False
    """Whether the user has asked for a reset that has yet to come."""

    def begin(self) -> None:
        self._add(sc.BootStep())
        self._make((MASK_GED,))

    def take(self, stimulus: st.Stimulus) -> None:
        if isinstance(stimulus, st.MachineDone):
            return  # a run waits for it
        if isinstance(stimulus, st.Done):
            self._works = True
        elif isinstance(stimulus, st.ResetSeen) and self._resets:
            self._resets = False
        elif step := command_step(st.Reset() if isinstance(stimulus, st.ResetSeen) else stimulus):
            self._pass_time()
            self._add(step)
            if isinstance(step, sc.ResetStep):
                self._resets = isinstance(stimulus, st.Reset)
                self._make((MASK_GED,))
        elif moves := moves_of(stimulus):
            self._pass_time()
            self._make(moves)
        else:
            what = snake_case(type(stimulus)).replace("_", " ")
            raise NotScripted(f"no scenario can have this come about: {what}")

    def end(self) -> None:
        """Whatever is broken is seen by then."""
        self._works = True
        self._pass_time()

    def _pass_time(self) -> None:
        if self._works:
            self._add(sc.WaitStep(MOMENT))
        self._works = False

    def _make(self, moves: Iterable[Move]) -> None:
        for move in moves:
            self._add(sc.CallStep(move.call, move.arguments))

    def _add(self, step: sc.ScenarioStep) -> None:
        waits = not isinstance(step, sc.MAY_NOT_WAIT)
        verb = snake_case(type(step)).removesuffix("_step")
        self.lines.append(sc.Line(step, len(self.lines) + 1, verb, waits=waits))

"""What no search asks, because it is refused wherever it comes, and so leads nowhere.

A command that names no vCPU or no driver of this machine, the outcome of a step that is not under
way, whatever comes once the machine has ended: each is tried here on a whole machine, at the
start of the search, once vCPU 0 runs, with a plug under way, and after each kind of end. Whether
it must be refused does not depend on more than that; nor on how many vCPUs there are, and so a
small machine stands for a large one.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from hpcore.check.properties import Properties
from hpcore.check.result import Counterexample
from hpcore.check.retrace import offers
from hpcore.check.tabulated.start import Start, booted, config_of, take
from hpcore.check.world.environment import Environment
from hpcore.check.world.guests import HOSTILE
from hpcore.model import stimuli as st
from hpcore.model.effects import MachineStep, Step
from hpcore.model.events import Refused
from hpcore.model.properties import Invariants, Violation
from hpcore.model.refusals import REFUSALS
from hpcore.model.rules import Rules
from hpcore.model.states import State

_Way = tuple[st.Stimulus, ...]
PROPERTY = REFUSALS[0]
MOST_SLOTS = 3


def not_refused(
    environment: Environment, start: Start, rules: Rules, properties: Properties
) -> Counterexample | None:
    """The first stray that is not refused, where that is one of the `properties`; or None."""
    if PROPERTY not in properties:
        return None
    invariants = Invariants(properties)
    if environment.slots > MOST_SLOTS:
        environment = attrs.evolve(environment, slots=MOST_SLOTS, boot=1, plugged=0)
        start = booted(config_of(environment), rules, invariants)
    for way, state in _places(environment, start.state, rules, invariants):
        for stray in _strays(environment, state):
            taken = take(state, stray, rules, invariants)
            broken = taken.broken
            if broken is None and not _is_refusal(taken.events):
                broken = Violation(PROPERTY.name, getattr(stray, "slot", 0), PROPERTY.says)
            if broken is not None:
                return Counterexample.of(broken, (*way, stray), start)
    return None


def _is_refusal(events: tuple[object, ...]) -> bool:
    return bool(events) and all(isinstance(event, Refused) for event in events)


def _places(
    environment: Environment, start: State, rules: Rules, invariants: Invariants
) -> Iterator[tuple[_Way, State]]:
    """Machines in which strays are tried, each with the way to it from the start."""
    last = len(start.slots) - 1
    plug = st.DeviceAdd(f"cpu{last}", (("core-id", last),))
    ways: list[_Way] = [(), (st.MachineDone(MachineStep.START),)]
    ways.append((*ways[-1], plug))
    ways.append((st.PowerDown(), st.MachineDone(MachineStep.POWER_DOWN)))
    if environment.faults:
        ways.append((st.Lost("the accelerator is gone"),))
    for way in ways:
        state = start
        for stimulus in way:
            taken = take(state, stimulus, rules, invariants)
            state = taken.after
            if taken.broken is not None:
                break  # outside of what the environment allows, or the search had found it
        else:
            yield way, state


def _strays(environment: Environment, state: State) -> Iterator[st.Stimulus]:
    yield from _commands(state)
    yield st.GuestSilent(len(state.slots))
    if environment.faults:
        yield from _outcomes(state)
    if state.shared.ended:
        anything = attrs.evolve(environment, guest=HOSTILE)
        for stimulus, _fault in offers(anything, state, environment.faults):
            yield stimulus


def _commands(state: State) -> Iterator[st.Stimulus]:
    """Those that are refused for what they say."""
    props = (("core-id", len(state.slots) - 1),)
    yield st.DeviceAdd("", props)
    yield st.DeviceAdd("1st", props)
    yield st.DeviceAdd("stray", props, driver="stray-arm-cpu")
    yield st.DeviceAdd("stray", (("core-id", len(state.slots)),))
    yield st.DeviceDel("stray")


def _outcomes(state: State) -> Iterator[st.Stimulus]:
    """Those of what is not under way."""
    for whole in MachineStep:
        if whole is state.shared.step:
            continue
        yield st.MachineFailed(whole)
        if whole is not MachineStep.RESET:  # its end is not what tells of it
            yield st.MachineDone(whole)
    if state.shared.step is not MachineStep.SAVE:
        yield st.Restored()
    for slot in {0, len(state.slots) - 1}:
        for step in Step:
            if step is not state.slots[slot].step:
                yield st.Done(step, slot)
                yield st.Failed(step, slot)

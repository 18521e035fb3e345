"""Where a search starts, and what of a state it tells apart.

Normalised away, so that fewer states stand for the same behaviour:

* `Slot.id` is kept as "there is one": an id only finds its slot (environment).
* `Slot.affinity`, when it is the slot's own or not yet read, is None. `decide` wants the
  slot's own in both cases, and the invariant on it passes both. A wrong one is kept; it
  breaks the invariant at once.
* `Slot.registered` is False with a guest that does not read it. No decision reads it,
  except to set it once; and whatever it was, parking clears it, which is all that an
  invariant of hpcore's asks. With the others, whose next call depends on it, it is kept
  and checked.
* A machine that has ended or failed answers everything with a refusal, for ever; one that is
  off does where nobody starts it anew. What ends a machine is checked as it happens, and
  leads nowhere.

Times, errors' texts, callers and entry points are in events, never in a state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

import attrs
from attrs import frozen

from hpcore.check.world.environment import Environment
from hpcore.model import stimuli as st
from hpcore.model.config import MachineConfig
from hpcore.model.decide import decide
from hpcore.model.effects import MachineStep, RunMachineStep, RunStep, Step
from hpcore.model.events import Event, effects_of
from hpcore.model.fold import TRANSITION, steps
from hpcore.model.invariants import HELD
from hpcore.model.machines import IllegalTransition
from hpcore.model.properties import Invariants, Violation
from hpcore.model.revision import HPCORE, Revision
from hpcore.model.rules import RULES, Rules
from hpcore.model.states import Shared, Slot, State, initial
from hpcore.model.topology import Topology, mp_affinity

if TYPE_CHECKING:  # logs take a tenth of a second to load, and most checks read none
    from hpcore.log import Head

ANY_ID = "cpu"
"""Stands for whatever id a slot has."""
TOTAL = "decide_is_total"
"""Named like an invariant: `decide` raises instead of answering. Only a mutant does."""


@frozen
class Common:
    """What the slots share, in a search: the machine's shared part, and the faults left."""

    shared: Shared
    faults: int


def config_of(environment: Environment) -> MachineConfig:
    """The machine that the environment is about."""
    return MachineConfig(Topology.resolve(cpus=environment.boot, maxcpus=environment.slots))


def local(environment: Environment, index: int, slot: Slot) -> Slot:
    """A slot without its name and number: what a search tells apart."""
    affinity = None if slot.affinity == mp_affinity(index) else slot.affinity
    registered = slot.registered and environment.guest.reads_registered
    return attrs.evolve(
        slot, id=None if slot.id is None else ANY_ID, affinity=affinity, registered=registered
    )


def placed(index: int, local_slot: Slot) -> Slot:
    """The slot of number `index` that `local_slot` stands for."""
    return attrs.evolve(local_slot, id=None if local_slot.id is None else f"cpu{index}")


@frozen
class Taken:
    """One stimulus taken by a whole machine: events, the state after, what it broke.

    After a violation `events` are still all of the decision's, but `after` is the state
    that the event led to that broke something.
    """

    events: tuple[Event, ...]
    after: State
    broken: Violation | None


def take(
    state: State, stimulus: st.Stimulus, rules: Rules = RULES, invariants: Invariants = HELD
) -> Taken:
    """Decide, and hold every invariant against each event."""
    try:
        decision = decide(state, stimulus, rules)
    except IllegalTransition as error:
        slot = getattr(error.events[-1], "slot", 0)
        told = cast("tuple[Event, ...]", error.events)
        return Taken(told, state, Violation(TRANSITION, slot, str(error)))
    except (ValueError, LookupError, StopIteration) as error:
        slot = getattr(stimulus, "slot", 0)
        return Taken((), state, Violation(TOTAL, slot, f"decide raises {error!r}."))
    after = state
    for folded in steps(state, decision.events, rules, invariants=invariants):
        after = folded.after
        if folded.violation is not None:
            return Taken(decision.events, after, folded.violation)
    broken = invariants.of_decision(state, stimulus, decision.events, decision.effects, after)
    return Taken(decision.events, after, broken)


class Decided(NamedTuple):
    """One decision on a way: its events, and the stimulus that it answers, where it is known."""

    answers: st.Stimulus | None
    events: tuple[Event, ...]


@frozen
class Start:
    """A machine to start from, the decisions that led there, and by whose rules they were made.

    `head` is what the first of them goes on from, where a log has no more of what was before.
    `wrapping` is what that log's file has around it.
    """

    state: State
    decisions: tuple[Decided, ...] = ()
    broken: Violation | None = None
    head: Head | None = None
    protocol: Revision = HPCORE
    wrapping: tuple[str, ...] = ()

    @property
    def stimuli(self) -> tuple[st.Stimulus, ...]:
        """What the decisions answer, as far as it is known."""
        return tuple(d.answers for d in self.decisions if d.answers is not None)


def booted(
    config: MachineConfig, rules: Rules = RULES, invariants: Invariants = HELD, plugged: int = 0
) -> Start:
    """Boot by real effects, all of which succeed, until vCPU 0 is told to enter the kernel.

    The first `plugged` vCPUs that are not cold-booted are plugged before. A mutant may break
    something on the way there; then `broken` says what.
    """
    state = initial(config)
    cold = config.topology.cpus
    queue: list[st.Stimulus] = [
        *(st.DeviceAdd(f"cpu{i}", (("core-id", i),)) for i in range(cold, cold + plugged)),
        st.Boot(),
    ]
    decisions: list[Decided] = []
    while queue:
        stimulus = queue.pop(0)
        step = take(state, stimulus, rules, invariants)
        state = step.after
        decisions.append(Decided(stimulus, step.events))
        if step.broken is not None:
            return Start(state, tuple(decisions), step.broken)
        for effect in (e for event in step.events for e in effects_of(event)):
            match effect:
                case RunStep(step=slot_step, slot=slot):
                    affinity = mp_affinity(slot) if slot_step is Step.BIND else None
                    queue.append(st.Done(slot_step, slot, affinity))
                case RunMachineStep(step=machine_step) if machine_step is not MachineStep.START:
                    queue.append(st.MachineDone(machine_step))
    return Start(state, tuple(decisions))

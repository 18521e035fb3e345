"""What may come next in a sequence: the user's next step, the guest, outcomes, faults, the clock.

A *spot* is how far a run is beside its machine: the line, what that waits for, what the guest
remembers, the faults that are left. Which outcomes and faults there are is the environment's
word (`hpcore.check.world.environment`), as in every check.

The clock: a deadline runs out once nothing else goes on that need not be waited for, or, at
the price of a fault, at any time. A guest model of the checker may be late whenever it likes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from attrs import frozen

from hpcore.check.world.environment import Environment
from hpcore.check.world.guests import GuestModel
from hpcore.model import events as ev
from hpcore.model import stimuli as st
from hpcore.model.effects import MachineStep, Step
from hpcore.model.states import Shared, Slot, State
from hpcore.run.deadlines import GuestWait, WordWait, owed
from hpcore.scenario import values as sc
from hpcore.sequence import steps
from hpcore.sequence.guests import Kernel
from hpcore.sequence.steps import Begin, Polled, Then
from hpcore.sequence.values import Happening, Question
from hpcore.sequence.waits import MachineWait, ScaleWait, Situation, Wait

INVISIBLE = frozenset({Step.BIND, Step.WIRE, Step.UNWIRE, Step.UNBIND, Step.STOP, Step.RELEASE})
"""Steps whose end changes nothing that anybody can ask of the slot: not the user, whose command
for it is refused before and after alike; not the guest, to whom it is not enabled before and
after; not an `expect`, which asks for the slot's state. So their order among all else is
nobody's: one is enough. That this leaves no finding out is held against a search that takes
them all, in the tests."""


class Spot(NamedTuple):
    """Where a run is beside its machine: the line `at`, whether it waits, and what is left."""

    at: int
    wait: Wait | None
    kernel: Kernel
    faults: int


def first_spot(question: Question) -> Spot:
    """Where every run begins, beside a machine before its boot."""
    return Spot(0, None, Kernel(), question.faults)


@frozen
class Move:
    """One thing that may come. `then` makes of its events how the line goes on, where it does.

    `fair` is what comes at last if it stays possible; the rest may stay away for ever.
    """

    stimulus: st.Stimulus | None
    kernel: Kernel
    fair: bool = True
    fault: int = 0
    says: str = ""
    begins: sc.Line | None = None
    then: Callable[[tuple[ev.Event, ...], State], Then] | None = None
    passes: bool = False
    """Whether the line is over with this, as it is where it only looked."""

    @property
    def happening(self) -> Happening:
        """The move as it stands on a way."""
        return Happening(self.stimulus, self.says, self.begins, self.fault)


@frozen
class _Mute:
    """The guest of an environment of which only outcomes and faults are asked."""

    name: str = "none"
    reads_registered: bool = True
    leaves_out: frozenset[str] = frozenset()

    def calls(self, index: int, slot: Slot, shared: Shared) -> Iterator[st.Stimulus]:
        return iter(())

    def machine_calls(self, shared: Shared) -> Iterator[st.Stimulus]:
        return iter(())


class World:
    """The moves of one question."""

    def __init__(self, question: Question, lines: tuple[sc.Line, ...]) -> None:
        self._q, self.lines = question, lines
        topology = question.scenario.machine.topology
        mute: GuestModel = _Mute()
        self._environment = Environment(
            slots=topology.maxcpus, boot=topology.cpus, guest=mute, faults=question.faults,
            reset=False, migration=False, power_off=False,
        )  # fmt: skip
        self._known: dict[tuple[int, Slot, int], tuple[tuple[st.Stimulus, int], ...]] = {}
        self._watched = {
            cpu for line in lines if isinstance(line.step, sc.ExpectStep) for cpu in line.step.slots
        }

    def moves(self, state: State, spot: Spot) -> tuple[Move, ...]:
        """All that may come in `state`, or, where that is enough, one of several that commute."""
        shared = state.shared
        if shared.ended:
            return tuple(self._steps(state, spot))
        outcomes = tuple(self._outcomes(state, spot))
        alone = self._reduced(state, spot, outcomes)
        if alone is not None:
            return alone
        moves = [*self._steps(state, spot), *outcomes]
        moves += [
            Move(act.stimulus, act.kernel, fair=self._q.guest.prompt, says=act.says)
            for act in self._q.guest.acts(state, spot.kernel)
        ]
        if self._q.resets:
            moves.append(Move(st.ResetSeen(), spot.kernel, fair=False))
        busy = any(move.fair for move in moves)
        return (*moves, *self._deadlines(state, spot, busy=busy))

    def unmet(self, state: State, spot: Spot) -> str | None:
        """In what the line at hand is not as wanted, if it only looks."""
        if spot.at == len(self.lines) or spot.wait is not None:
            return None
        begun = steps.begin(self.lines[spot.at], self._situation(state, spot), waits=True)
        return begun.why if isinstance(begun, Polled) else None

    def _situation(self, state: State, spot: Spot) -> Situation:
        return Situation(state, spot.kernel, self._q.guest)

    # ------------------------------------------------------------------- the user

    def _steps(self, state: State, spot: Spot) -> Iterator[Move]:
        if isinstance(spot.wait, ScaleWait):
            change = spot.wait.next(state)
            if change is not None:
                begun = steps.scale_on(spot.wait, change, state)
                yield Move(begun.stimulus, spot.kernel, then=begun.then, says=str(change))
            return
        if spot.wait is not None or spot.at == len(self.lines):
            return
        line = self.lines[spot.at]
        boots = isinstance(line.step, sc.BootStep)
        waits = line.waits and (boots or not self._q.race)
        found = steps.begin(line, self._situation(state, spot), waits=waits)
        match found:
            case Begin(stimulus, then):
                yield Move(stimulus, spot.kernel, begins=line, then=then)
            case Polled(None):
                yield Move(None, spot.kernel, begins=line, passes=True)

    # ---------------------------------------------------- the accelerator, the clock

    def _outcomes(self, state: State, spot: Spot) -> Iterator[Move]:
        """How what is under way ends, by the environment's word; and what a faulty one says."""
        for i, slot in enumerate(state.slots):
            for stimulus, fault in self._of_slot(i, slot, state.shared, spot.faults):
                yield Move(stimulus, spot.kernel, fair=not fault, fault=fault)
        for offer in self._environment.about_machine(state.shared, spot.faults):
            if offer.fault or isinstance(offer.stimulus, st.MachineDone):
                yield Move(offer.stimulus, spot.kernel, fair=not offer.fault, fault=offer.fault)
        if state.shared.step is MachineStep.RESET:
            yield Move(st.ResetSeen(), spot.kernel)

    def _of_slot(
        self, index: int, slot: Slot, shared: Shared, faults: int
    ) -> tuple[tuple[st.Stimulus, int], ...]:
        if slot.step is None and not faults:
            return ()
        key = (index, slot, min(faults, 1))
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = tuple(
                (offer.stimulus, offer.fault)
                for offer in self._environment.about_slot(index, slot, shared, faults)
                if offer.fault or isinstance(offer.stimulus, st.Done)
            )
        return found

    def _reduced(
        self, state: State, spot: Spot, outcomes: tuple[Move, ...]
    ) -> tuple[Move, ...] | None:
        """The outcomes of one step whose order among all else is nobody's; None for none."""
        if not self._q.reduce:
            return None
        boots = state.shared.booting and isinstance(spot.wait, MachineWait)
        for i, slot in enumerate(state.slots):
            if slot.step is None:
                continue
            unwatched = self._watched.isdisjoint((i, slot.id))
            if boots or slot.step in INVISIBLE or (slot.step is Step.REALIZE and unwatched):
                return tuple(
                    move for move in outcomes if getattr(move.stimulus, "slot", None) == i
                )
        return None

    def _deadlines(self, state: State, spot: Spot, *, busy: bool) -> Iterator[Move]:
        if state.shared.paused:
            return
        prompt = self._q.guest.prompt
        if prompt and busy and not spot.faults:
            return
        for wait in owed(state):
            if isinstance(wait, GuestWait | WordWait):
                early = int(prompt and busy)
                yield Move(st.GuestSilent(wait.slot), spot.kernel, fair=not early, fault=early)

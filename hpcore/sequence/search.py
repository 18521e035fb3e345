"""Every run of a sequence, breadth first, over whole machines and the real `decide`.

A machine that boots and a stimulus about one slot are what most moves are; what the latter does
is asked of `decide` once for each slot's state and shared part, because a decision about a slot
looks at nothing else (`hpcore.check.world.conditions` lists the exceptions, which are decided
anew each time). Slots and shared parts are numbered, so that a state is a few numbers.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import attrs
from attrs import field, frozen, mutable

from hpcore.check.memory import available, human, peak
from hpcore.check.properties import PROPERTIES, refuse_unfit
from hpcore.check.result import CheckError
from hpcore.check.tabulated.start import Taken, take
from hpcore.model import events as ev
from hpcore.model import stimuli as st
from hpcore.model.machines import Phase
from hpcore.model.properties import Invariants, Kind, Violation
from hpcore.model.rules import RULES
from hpcore.model.states import Shared, Slot, State, initial
from hpcore.scenario.judged import judged
from hpcore.sequence.going import go
from hpcore.sequence.lines import lines_of
from hpcore.sequence.shorter import shortened
from hpcore.sequence.values import Answer, Finding, FindingKind, Happening, Question
from hpcore.sequence.world import Move, Spot, World, first_spot

MOST_FINDINGS = 50
"""Different findings that are kept."""

Node = tuple[int, ...]
"""The slots' numbers, then those of the shared part and of the spot."""
TellStates = Callable[[int, int], None]
"""Told the depth and the states, now and then."""

_OF_A_SLOT = (
    st.Done, st.Failed, st.InsertAcked, st.RemoveAcked, st.OstReported, st.EjectCalled,
    st.CpuOffSeen, st.GuestSilent,
)  # fmt: skip


class _Numbers:
    """Values by number, and numbers by value. Of equal values the first one stands for all."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._number: dict[object, int] = {}
        self._by_identity: dict[int, int] = {}

    def number(self, value: object) -> int:
        # Most values are the very ones that are kept here, for good: so their identity will do,
        # where a hash of all their fields would take most of a search's time.
        found = self._by_identity.get(id(value))
        if found is not None:
            return found
        found = self._number.get(value)
        if found is None:
            found = self._number[value] = self._by_identity[id(value)] = len(self.values)
            self.values.append(value)
        return found

    def kept(self, value: object) -> Any:
        """The one that stands for all that equal `value`."""
        return self.values[self.number(value)]


@frozen
class _Key:
    kind: FindingKind
    at: int
    why: str


@mutable
class _Seen:
    """What a search has seen so far."""

    parents: list[int] = field(factory=list)
    by: list[tuple[Happening, ...]] = field(factory=list)
    found: dict[_Key, Finding] = field(factory=dict)
    ends: dict[_Key, Finding] = field(factory=dict)
    shown: set[str] = field(factory=set)
    completed: bool = False
    transitions: int = 0


def check(question: Question, tell: TellStates = lambda _depth, _states: None) -> Answer:
    """Take every run of `question`. Raises SequenceRefused, and CheckError beyond its bound."""
    return _Search(question).run(tell)


class _Search:
    def __init__(self, question: Question) -> None:
        refuse_unfit(question.properties)
        self._q = question
        self._lines = lines_of(question.scenario)
        # What is a user's may tell apart what hpcore's own does not.
        own = question.properties != PROPERTIES or question.rules != RULES
        self._world = World(
            attrs.evolve(question, reduce=False) if own else question, self._lines
        )
        self._invariants = Invariants(question.properties)
        self._sometimes = tuple(
            p for p in question.properties if p.kind is Kind.SOMETIMES and p not in PROPERTIES
        )
        self._whole = {p.name for p in question.properties if p.on_machine is not None}
        self._owes = tuple(p for p in question.properties if p.kind is Kind.EVENTUALLY)
        self._slots, self._shared, self._spots = _Numbers(), _Numbers(), _Numbers()
        self._known: dict[
            tuple[st.Stimulus, int, int], tuple[tuple[ev.Event, ...], Slot, Shared]
        ] = {}
        self._sound: set[tuple[int, int, int]] = set()
        self._nodes: dict[Node, int] = {}
        self._order: list[Node] = []
        self._same_line: list[list[int]] = []
        self._leaves: set[int] = set()
        self._s = _Seen()

    # ---------------------------------------------------------------------- the search

    def run(self, tell: TellStates) -> Answer:
        began = time.perf_counter()
        self._add(initial(self._q.scenario.machine), first_spot(self._q), -1, ())
        done, depth, layer = 0, -1, 0
        while done < len(self._order):
            if done == layer:
                depth, layer = depth + 1, len(self._order)
                tell(depth, layer)
                self._refuse_too_many(layer)
            if done % 2048 == 0:
                tell(depth, len(self._order))
            self._expand(done)
            done += 1
        self._never_ending()
        return Answer(
            states=len(self._order), transitions=self._s.transitions, depth=depth,
            seconds=time.perf_counter() - began, memory=peak(),
            findings=self._findings(),
            fault_ends=tuple(sorted(self._s.ends.values(), key=lambda f: len(f.way))),
            missing=tuple(p.name for p in self._sometimes if p.name not in self._s.shown),
            completed=self._s.completed,
        )  # fmt: skip

    def _findings(self) -> tuple[Finding, ...]:
        """What breaks a property, then the nearest; the first is made as short as it can be."""
        found = sorted(
            self._s.found.values(), key=lambda f: (f.kind is not FindingKind.BROKEN, len(f.way))
        )
        return (*(shortened(f, self._q, self._lines) for f in found[:1]), *found[1:])

    def _refuse_too_many(self, states: int) -> None:
        if states > self._q.most:
            raise CheckError(
                f"more than {self._q.most:,} states, and {len(self._s.found)} findings so far; "
                "take a smaller machine, fewer faults, a guest that does less, or fewer steps "
                "at once; or give --most"
            )
        if states > 100_000 and available() < 256 << 20:
            raise CheckError(
                f"{states:,} states, and {human(available())} of memory are left; take less"
            )

    def _expand(self, number: int) -> None:
        node = self._order[number]
        state, spot = self._state(node), self._spot(node)
        goes_on = False
        for move in self._world.moves(state, spot):
            goes_on |= self._move(number, state, spot, move) and move.fair
        if not goes_on:
            self._at_rest(number, state, spot)

    def _move(self, number: int, state: State, spot: Spot, move: Move) -> bool:
        """Take one move; whether it leads anywhere else."""
        taken = None if move.stimulus is None else self._take(state, move.stimulus)
        for p in self._sometimes:
            events = () if taken is None else taken.events
            if p.name not in self._s.shown and p.shows and any(map(p.shows, events)):
                self._s.shown.add(p.name)
        went = go(self._q.guest, self._lines, state, spot, move, taken)
        if went.broken is not None:
            self._leaves.add(number)
            self._note(
                FindingKind.BROKEN, number, spot.at, went.broken.says, (move.happening,),
                went.broken,
            )  # fmt: skip
            return True
        if went.failure is not None:
            self._leaves.add(number)
            self._note(FindingKind.FAILS, number, spot.at, went.failure, (move.happening,))
            return True
        return self._add(went.state, went.spot, number, (move.happening,))

    # ---------------------------------------------------------------------- one decision

    def _take(self, state: State, stimulus: st.Stimulus) -> Taken:
        known = self._cached(state, stimulus)
        if known is None:
            return take(state, stimulus, self._q.rules, self._invariants)
        if not self._whole or known.broken is not None or known.after is state:
            return known
        # it was seen at its slot, and the others were not as they are here
        return Taken(known.events, known.after, self._invariants.of_machine(known.after))

    def _cached(self, state: State, stimulus: st.Stimulus) -> Taken | None:
        """What a stimulus does to its slot, if it was seen to do it to such a one before."""
        of_slot = isinstance(stimulus, _OF_A_SLOT) or (
            isinstance(stimulus, st.CpuOnCalled) and stimulus.verdict is not True
        )
        running = state.shared.phase in (Phase.RUNNING, Phase.RESETTING)
        if not of_slot or not running:
            return None
        i = stimulus.slot  # type: ignore[union-attr]
        if not 0 <= i < len(state.slots):
            return None
        key = (stimulus, self._slots.number(state.slots[i]), self._shared.number(state.shared))
        known = self._known.get(key)
        if known is None:
            taken = take(state, stimulus, self._q.rules, self._invariants)
            if taken.broken is not None:
                return taken
            slot = self._slots.kept(taken.after.slots[i])
            known = self._known[key] = (taken.events, slot, self._shared.kept(taken.after.shared))
        events, slot, shared = known
        if slot is state.slots[i] and shared is state.shared:
            return Taken(events, state, None)
        after = State(state.config, shared, state.slots).with_slot(i, slot)
        if shared is state.shared:
            return Taken(events, after, None)
        # the other slots meet another shared part, and what must hold of them does so anew
        return Taken(events, after, self._first_unsound(after))

    def _first_unsound(self, state: State) -> Violation | None:
        shared = self._shared.number(state.shared)
        for i, slot in enumerate(state.slots):
            key = (i, self._slots.number(slot), shared)
            if key not in self._sound:
                broken = next(self._invariants.of_slot(i, slot, state.shared, rest=True), None)
                if broken is not None:
                    return broken
                self._sound.add(key)
        return None

    # ---------------------------------------------------------------------- states

    def _add(
        self, state: State, spot: Spot, parent: int, by: tuple[Happening, ...]
    ) -> bool:
        node = (
            *map(self._slots.number, state.slots),
            self._shared.number(state.shared), self._spots.number(spot),
        )  # fmt: skip
        if spot.at == len(self._lines):
            self._s.completed = True
        number = self._nodes.get(node)
        self._s.transitions += 1
        if number is None:
            number = self._nodes[node] = len(self._order)
            self._order.append(node)
            self._s.parents.append(parent)
            self._s.by.append(by)
            self._same_line.append([])
        elif number == parent:
            return False
        if parent >= 0:
            if self._spot(self._order[parent]).at == spot.at:
                self._same_line[number].append(parent)
            else:
                self._leaves.add(parent)
        return True

    def _state(self, node: Node) -> State:
        slots = tuple(self._slots.values[n] for n in node[:-2])
        return State(self._q.scenario.machine, self._shared.values[node[-2]], slots)

    def _spot(self, node: Node) -> Spot:
        spot: Spot = self._spots.values[node[-1]]
        return spot

    def _way(self, number: int) -> tuple[Happening, ...]:
        out: list[Happening] = []
        while number >= 0:
            out += reversed(self._s.by[number])
            number = self._s.parents[number]
        return tuple(reversed(out))

    # ---------------------------------------------------------------------- what is wrong

    def _note(
        self, kind: FindingKind, number: int, at: int, why: str, last: tuple[Happening, ...],
        broken: Violation | None = None,
    ) -> None:  # fmt: skip
        line = self._lines[at] if at < len(self._lines) else None
        spent = self._q.faults - self._spot(self._order[number]).faults
        spent += sum(h.fault for h in last)
        tolerated = spent and kind in (FindingKind.FAILS, FindingKind.EXPECT)
        where = self._s.ends if tolerated else self._s.found
        key = _Key(kind, at, why)
        if key in where or len(where) >= MOST_FINDINGS:
            return
        where[key] = Finding(
            kind, line, why, (*self._way(number), *last),
            None if broken is None else broken.invariant,
            None if broken is None or broken.invariant in self._whole else broken.slot,
        )  # fmt: skip

    def _at_rest(self, number: int, state: State, spot: Spot) -> None:
        """Nothing goes on of itself here: what is waited for need not come."""
        for p in self._owes:
            for i, slot in enumerate(state.slots):
                if p.owes is not None and p.owes(i, slot, state.shared) and not state.shared.ended:
                    self._note(
                        FindingKind.NEVER, number, spot.at,
                        f"{p.name} of vCPU {i} need never end: {p.says}", (),
                    )  # fmt: skip
        if spot.at == len(self._lines):
            return
        self._leaves.add(number)
        unmet = self._world.unmet(state, spot)
        if unmet is None:
            self._note(FindingKind.NEVER, number, spot.at, "it need never end", ())
        elif (why := judged(self._lines[spot.at], unmet)) is not None:
            self._note(FindingKind.EXPECT, number, spot.at, why, ())
        else:  # as the line wants it
            self._add(state, Spot(spot.at + 1, None, spot.kernel, spot.faults), number, ())

    def _never_ending(self) -> None:
        """Find what goes on, and yet never comes to the end of its line."""
        ends, todo = set(self._leaves), list(self._leaves)
        while todo:
            for before in self._same_line[todo.pop()]:
                if before not in ends:
                    ends.add(before)
                    todo.append(before)
        for number, node in enumerate(self._order):
            spot = self._spot(node)
            if number not in ends and spot.at < len(self._lines):
                self._note(FindingKind.NEVER, number, spot.at, "it never ends, whatever comes", ())

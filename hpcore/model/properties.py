"""What can be asked of every run of a machine: one kind of thing, with a name and a sentence.

- *always*: holds in every state, of every event and of every decision. A replay, the
  controller and the checker hold it; the invariants of `invariants` are of this kind.
- *sometimes*: can be seen in some run. Only a search over all runs can say that it never
  is, which tells of a model in which nothing happens.
- *eventually*: what a slot has come to owe has an end, in every fair run. Only a search
  over loops can say so.

A property looks at one slot and the shared part, never at two slots, so that it can be
held against tables of slots; one of the whole machine is for a search over whole machines.
`always`, `sometimes` and `eventually` make one, as calls or as decorators of a function whose
docstring is the sentence.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import Any, Literal, TypeVar, overload

from attrs import field, frozen

from hpcore.model.effects import Effect
from hpcore.model.events import Event, slot_of
from hpcore.model.states import Shared, Slot, State
from hpcore.model.stimuli import Stimulus


class Kind(StrEnum):
    """Of what a property is asked."""

    ALWAYS = "always"  # of every state, every event, or every decision
    SOMETIMES = "sometimes"  # of one event at least, in all runs together
    EVENTUALLY = "eventually"  # of every fair run


@frozen
class Change:
    """One event, as one slot saw it."""

    index: int
    before: Slot
    shared_before: Shared
    event: Event
    after: Slot
    shared: Shared


@frozen
class Turn:
    """One decision, as one slot saw it: what it answers, what it made happen, what it asks for.

    `effects` are all that the accelerator is asked for, of whichever slot.
    """

    index: int
    before: Slot
    shared_before: Shared
    stimulus: Stimulus
    events: tuple[Event, ...]
    effects: tuple[Effect, ...]
    after: Slot
    shared: Shared
    told: tuple[Event, ...] = field(init=False, eq=False)
    """The events that are about this slot."""

    @told.default
    def _find_told(self) -> tuple[Event, ...]:
        return tuple([event for event in self.events if slot_of(event) == self.index])


OnState = Callable[[int, Slot, Shared], bool]
OnEvent = Callable[[Change], bool]
OnDecision = Callable[[Turn], bool]
OnMachine = Callable[[State], bool]


def _everywhere(_environment: object) -> bool:
    return True


@frozen
class Property:
    """A property with a name; `says` is the sentence shown when it does not hold.

    `number` is the one that it has in the list of orders that must hold, where it is
    there. `since` is the version of hpcore whose core was the first to keep it: a log that an
    older one wrote is not held against it. `of` are the classes of the events that `on_event`
    says something of, or of the stimuli that `on_decision` does; it holds of any other, and is not
    asked. Where `of` is empty it is asked of all. The other fields belong to one kind each; see
    `always`, `sometimes` and `eventually`.
    """

    name: str
    says: str
    kind: Kind
    number: int | None = None
    on_state: OnState | None = None
    on_event: OnEvent | None = None
    on_decision: OnDecision | None = None
    at_rest: bool = False
    shows: Callable[[Event], bool] | None = None
    possible: Callable[[Any], bool] = _everywhere
    owes: Callable[[int, Slot, Shared], bool] | None = None
    since: tuple[int, ...] = ()
    of: tuple[type, ...] = ()
    on_machine: OnMachine | None = None


@overload
def always(name: OnState | OnEvent, /) -> Property: ...
@overload
def always(name: None = None, /, *, whole: Literal[True]) -> Callable[[OnMachine], Property]: ...
@overload
def always(
    name: None = None, /, *, at_rest: bool = False
) -> Callable[[OnState | OnEvent], Property]: ...
@overload
def always(
    name: str,
    says: str,
    on_state: OnState | None = None,
    on_event: OnEvent | None = None,
    *,
    on_decision: OnDecision | None = None,
    on_machine: OnMachine | None = None,
    at_rest: bool = False,
    number: int | None = None,
    since: tuple[int, ...] = (),
    of: tuple[type, ...] = (),
) -> Property: ...
def always(
    name: str | Callable[..., bool] | None = None,
    says: str = "",
    on_state: OnState | None = None,
    on_event: OnEvent | None = None,
    *,
    on_decision: OnDecision | None = None,
    on_machine: OnMachine | None = None,
    at_rest: bool = False,
    whole: bool = False,
    number: int | None = None,
    since: tuple[int, ...] = (),
    of: tuple[type, ...] = (),
) -> Property | Callable[[Callable[..., bool]], Property]:
    """What must hold of each slot in every state, and of every event as each slot saw it.

    `on_decision` is asked of a whole decision: of the stimulus and what came of it, refusals
    and effects among it. `of` names the events, or the stimuli, of which it is asked. `at_rest`:
    a state is asked where a whole decision leads to, not between its events; so is, always, the
    whole machine, by `on_machine`. As a decorator it takes the name and the sentence from the
    function, and asks a function of one argument about changes, or with `whole` about the whole
    machine. Raises ValueError for a property that asks nothing.
    """
    if not isinstance(name, str):

        def made(function: Callable[..., bool]) -> Property:
            about = "on_event" if _arguments(function) == 1 else "on_state"
            asked = {"on_machine" if whole else about: function}
            named = (*_named(function), Kind.ALWAYS)
            return Property(*named, **asked, at_rest=at_rest)  # type: ignore[arg-type]

        return made if name is None else made(name)
    if all(asks is None for asks in (on_state, on_event, on_decision, on_machine)):
        raise ValueError(
            f"the property {name} asks nothing: give it on_state, on_event or on_machine"
        )
    return Property(
        name, says, Kind.ALWAYS, number, on_state, on_event, on_decision, at_rest,
        since=since, of=of, on_machine=on_machine,
    )  # fmt: skip


@overload
def sometimes(name: Callable[[Event], bool], /) -> Property: ...
@overload
def sometimes(
    name: str,
    says: str,
    shows: Callable[[Event], bool],
    possible: Callable[[Any], bool] = _everywhere,
) -> Property: ...
def sometimes(
    name: str | Callable[[Event], bool],
    says: str = "",
    shows: Callable[[Event], bool] | None = None,
    possible: Callable[[Any], bool] = _everywhere,
) -> Property:
    """What must be able to happen: `shows` says whether an event is it.

    It is asked where `possible` says so of the checker's environment, which may leave it
    out: a reset, of one without resets. As a decorator it takes name and sentence from the
    function.
    """
    if not isinstance(name, str):
        return Property(*_named(name), Kind.SOMETIMES, shows=name)
    return Property(name, says, Kind.SOMETIMES, shows=shows, possible=possible)


@overload
def eventually(name: OnState, /) -> Property: ...
@overload
def eventually(
    name: str,
    says: str,
    owes: OnState,
    possible: Callable[[Any], bool] = _everywhere,
) -> Property: ...
def eventually(
    name: str | OnState,
    says: str = "",
    owes: OnState | None = None,
    possible: Callable[[Any], bool] = _everywhere,
) -> Property:
    """What must come to an end: a slot of which `owes` holds comes to be one of which it does not.

    Fair is a run in which an effect under way ends, for good or ill, and a deadline runs
    out, unless they stop being possible. As a decorator it takes name and sentence from the
    function.
    """
    if not isinstance(name, str):
        return Property(*_named(name), Kind.EVENTUALLY, owes=name)
    return Property(name, says, Kind.EVENTUALLY, owes=owes, possible=possible)


def _named(function: Callable[..., bool]) -> tuple[str, str]:
    """A property's name and sentence, from a function's own."""
    name = getattr(function, "__name__", "property")
    return name, " ".join((inspect.getdoc(function) or f"{name}.").split())


def _arguments(function: Callable[..., bool]) -> int:
    return len(inspect.signature(function).parameters)


@frozen
class Violation:
    """A property that does not hold, and for which slot.

    Of the whole machine it is the slot whose event it was; 0 where that was none's.
    """

    invariant: str
    slot: int
    says: str


Asks = TypeVar("Asks", OnEvent, OnDecision)


class _ByClass(dict[type, tuple[tuple[Property, Asks], ...]]):
    """What is asked of an event, or of a stimulus, by its class: few of the rules, of most.

    They are sorted out as the first one of a class comes.
    """

    def __init__(self, asked: Iterable[tuple[Property, Asks]]) -> None:
        super().__init__()
        self._asked: tuple[tuple[Property, Asks], ...] = tuple(asked)

    def __missing__(self, kind: type) -> tuple[tuple[Property, Asks], ...]:
        found = self[kind] = tuple(
            (p, holds) for p, holds in self._asked if not p.of or kind in p.of
        )
        return found


class Invariants:
    """The *always* properties among some, sorted by what they are asked of.

    Every engine, the controller and a replay hold them through this one class.
    """

    def __init__(self, properties: Iterable[Property]) -> None:
        self.rules = tuple(p for p in properties if p.kind is Kind.ALWAYS)
        self._on_event = _ByClass((p, p.on_event) for p in self.rules if p.on_event is not None)
        self._on_decision = _ByClass(
            (p, p.on_decision) for p in self.rules if p.on_decision is not None
        )
        self._at_rest = tuple((p, p.on_state) for p in self.rules if p.on_state is not None)
        self._between = tuple((p, holds) for p, holds in self._at_rest if not p.at_rest)
        self._whole = tuple((p, p.on_machine) for p in self.rules if p.on_machine is not None)

    def of_slot(
        self, index: int, slot: Slot, shared: Shared, *, rest: bool
    ) -> Iterator[Violation]:
        """What does not hold of one slot in a state; with `rest`, of one between decisions."""
        for rule, holds in self._at_rest if rest else self._between:
            if not holds(index, slot, shared):
                yield Violation(rule.name, index, rule.says)

    def of_state(self, state: State) -> Iterator[Violation]:
        """What does not hold in a state between decisions."""
        for index, slot in enumerate(state.slots):
            yield from self.of_slot(index, slot, state.shared, rest=True)
        whole = self.of_machine(state)
        if whole is not None:
            yield whole

    def of_machine(self, state: State, slot: int = 0) -> Violation | None:
        """The first thing that does not hold of the machine as a whole, between decisions."""
        for rule, holds in self._whole:
            if not holds(state):
                return Violation(rule.name, slot, rule.says)
        return None

    def first_broken(
        self,
        before: State,
        event: Event,
        after: State,
        *,
        rest: bool = False,
        only: int | None = None,
    ) -> Violation | None:
        """The first thing that an event breaks: of the change itself, or of the state after it.

        `rest` says that the event is the last of its decision. Looks only at the slots
        that the event can concern, and of those only at slot `only`, if given.
        """
        slot = slot_of(event)
        same = before.shared is after.shared or before.shared == after.shared
        on_event = self._on_event[type(event)]
        on_state = self._at_rest if rest else self._between
        for i in range(len(after.slots)) if slot is None or not same else (slot,):
            if not 0 <= i < len(after.slots) or only not in (None, i):
                continue
            here, shared = after.slots[i], after.shared
            if slot is None or slot == i:
                change = Change(i, before.slots[i], before.shared, event, here, shared)
                for rule, holds in on_event:
                    if not holds(change):
                        return Violation(rule.name, i, rule.says)
            for rule, always_holds in on_state:
                if not always_holds(i, here, shared):
                    return Violation(rule.name, i, rule.says)
        return self.of_machine(after, slot or 0) if rest else None

    def of_decision(
        self,
        before: State,
        stimulus: Stimulus,
        events: tuple[Event, ...],
        effects: tuple[Effect, ...],
        after: State,
        *,
        only: int | None = None,
    ) -> Violation | None:
        """The first thing that a whole decision breaks, its effects among what is looked at.

        Looks only at the slots that the decision is about, which are all where an event is
        about none, and of those only at slot `only`. One about a slot that there is not is about
        none.
        """
        if not 0 <= getattr(stimulus, "slot", 0) < len(after.slots):
            return None
        about = {slot_of(event) for event in events}
        about.add(getattr(stimulus, "slot", None if not events else -1))
        for i in range(len(after.slots)):
            if only not in (None, i) or (None not in about and i not in about):
                continue
            turn = Turn(
                i, before.slots[i], before.shared, stimulus, events, effects,
                after.slots[i], after.shared,
            )  # fmt: skip
            for rule, holds in self._on_decision[type(stimulus)]:
                if not holds(turn):
                    return Violation(rule.name, i, rule.says)
        return None

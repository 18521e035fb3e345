"""A small machine in which one slot is looked at: where the tables come from.

Slot 0 is the boot vCPU, as everywhere; slot 1 is under study, unless that is the boot
vCPU itself; slot 2, where it is there at all, stands for some other slot. Whether a slot
is cold-booted is in the slot, so slot 1 can be either.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, partial

from attrs import evolve, frozen

from hpcore.check.properties import shown_by
from hpcore.check.tabulated.schema import Role
from hpcore.check.tabulated.start import TOTAL, booted, config_of, local, placed
from hpcore.check.world.conditions import Needs
from hpcore.check.world.environment import Environment
from hpcore.model.decide import decide
from hpcore.model.events import Event, Refused, slot_of
from hpcore.model.evolve import evolve as apply
from hpcore.model.fold import TRANSITION
from hpcore.model.invariants import HELD
from hpcore.model.machines import IllegalTransition
from hpcore.model.properties import Change
from hpcore.model.rules import RULES, Rules
from hpcore.model.states import Shared, Slot, State
from hpcore.model.stimuli import Stimulus

INDEX = {Role.BOOT: 0, Role.COLD: 1, Role.HOT: 1}
OTHER = {Role.BOOT: 0, Role.COLD: 2, Role.HOT: 2}
_WITNESS = 2

Others = tuple[tuple[Role, Slot], ...]


@frozen
class Seen:
    """What one stimulus did, as the studied slot saw it."""

    slot: Slot
    shared: Shared
    events: tuple[Event, ...]
    broken: str | None
    others_changed: bool
    words: int
    """How often the shared part changed."""
    shown: tuple[str, ...] = ()
    """The sometimes properties that it shows."""


class SmallMachine:
    """Lets one stimulus at a time reach a small machine under `rules`."""

    def __init__(self, environment: Environment, rules: Rules) -> None:
        self.environment, self.rules = environment, rules
        # At rest as the real rules leave it, so that a mutant's boot does not matter.
        small = Environment(slots=_WITNESS + 1, boot=1)
        self._rest = booted(config_of(small), RULES).state
        self._seen: dict[object, Seen] = {}
        # Making a slot anew is what takes the time here; there are few, so each is kept.
        self._place = cache(placed)
        self._local = cache(partial(local, environment))

    def let(
        self, role: Role, slot: Slot, shared: Shared, stimulus: Stimulus,
        needs: Needs = (), others: Others = (),
    ) -> Seen:  # fmt: skip
        """Let `stimulus` reach a machine whose slot of `role` is `slot`.

        `others` are the companions that are not at rest, by role. Where `needs` ask for
        others that have a property, there is one that has it.
        """
        key = (role, slot, shared, stimulus, needs, others)
        found = self._seen.get(key)
        if found is None:
            state = self._state(INDEX[role], slot, shared, needs, others)
            found = self._seen[key] = self._let(INDEX[role], state, stimulus)
        return found

    def _let(self, index: int, state: State, stimulus: Stimulus) -> Seen:
        unmoved = self._local(index, state.slots[index])
        try:
            decision = decide(state, stimulus, self.rules)
        except IllegalTransition:
            return Seen(unmoved, state.shared, (), TRANSITION, False, 0)
        except (ValueError, LookupError, StopIteration):
            return Seen(unmoved, state.shared, (), TOTAL, False, 0)
        events, end = decision.events, decision.state
        if all(isinstance(event, Refused) for event in events):
            return Seen(unmoved, state.shared, events, None, False, 0, tuple(shown_by(events)))
        before, broken, words = state, None, 0
        last = len(events) - 1
        for n, event in enumerate(events):
            after = end if n == last else apply(before, event, self.rules)
            words += before.shared != after.shared
            broken = broken or _broken(index, before, event, after, rest=n == last)
            before = after
        slot = end.slots[index]
        others = any(
            a is not b and a != b
            for i, (a, b) in enumerate(zip(state.slots, end.slots, strict=True))
            if i != index
        )
        shown = tuple(shown_by(events))
        return Seen(self._local(index, slot), end.shared, events, broken, others, words, shown)

    def _state(
        self, index: int, slot: Slot, shared: Shared, needs: Needs,
        others: Others,
    ) -> State:  # fmt: skip
        slots = {0: self._rest.slots[0]}
        for role, other in others:
            slots[OTHER[role]] = self._place(OTHER[role], other)
        slots[index] = self._place(index, slot)
        for need in needs:
            if need.least and need.condition.witness is not None:
                rest = slots.get(_WITNESS, self._rest.slots[_WITNESS])
                slots[_WITNESS] = need.condition.witness(rest)
        if _WITNESS in slots:
            slots.setdefault(1, self._rest.slots[1])
        return evolve(
            self._rest, shared=shared, slots=tuple(slots[i] for i in sorted(slots))
        )

    def sound(self, role: Role, slot: Slot, shared: Shared) -> Iterable[str]:
        """The invariants that the slot breaks by being as it is, between decisions."""
        index = INDEX[role]
        there = self._place(index, slot)
        return (v.invariant for v in HELD.of_slot(index, there, shared, rest=True))


def _broken(index: int, before: State, event: Event, after: State, *, rest: bool) -> str | None:
    """What `Invariants.of_event` says of one slot: the others are studied in their own turn."""
    slot = slot_of(event)
    mine = slot is None or slot == index
    if mine:
        change = Change(
            index, before.slots[index], before.shared, event, after.slots[index], after.shared
        )
        for violation in HELD.of_change(change):
            return violation.invariant
    if mine or before.shared != after.shared:
        for violation in HELD.of_slot(index, after.slots[index], after.shared, rest=rest):
            return violation.invariant
    return None

"""A small machine in which one slot is looked at: where the tables come from.

Slot 0 is the boot vCPU, as everywhere; slot 1 is under study, unless that is the boot
vCPU itself; slot 2, where it is there at all, stands for some other slot. Whether a slot
is cold-booted is in the slot, so slot 1 can be either.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial
from typing import NamedTuple

from hpcore.check.properties import Properties, of_kind
from hpcore.check.tabulated.alike import Alike
from hpcore.check.tabulated.schema import Role
from hpcore.check.tabulated.start import TOTAL, booted, config_of, local, placed
from hpcore.check.world.conditions import Needs
from hpcore.check.world.environment import Environment
from hpcore.model.decide import Decision, decide
from hpcore.model.events import Refused, slot_of
from hpcore.model.fold import TRANSITION, Folded, steps
from hpcore.model.machines import IllegalTransition
from hpcore.model.properties import Change, Invariants, Kind
from hpcore.model.rules import RULES, Rules
from hpcore.model.states import Shared, Slot, State
from hpcore.model.stimuli import Stimulus

INDEX = {Role.BOOT: 0, Role.COLD: 1, Role.HOT: 1}
OTHER = {Role.BOOT: 0, Role.COLD: 2, Role.HOT: 2}
_WITNESS = 2

Others = tuple[tuple[Role, Slot], ...]


class Seen(NamedTuple):
    """What one stimulus did, as the studied slot saw it."""

    slot: Slot
    shared: Shared | None
    """None if it is the one that the stimulus met."""
    broken: str | None = None
    refused: bool = False
    """Whether every event is a refusal."""
    others_changed: bool = False
    shared_changes: int = 0
    """How often the shared part changed."""
    shown: tuple[str, ...] = ()
    """The sometimes properties that it shows."""


class SmallMachine:
    """Lets one stimulus at a time reach a small machine under `rules`."""

    def __init__(
        self, environment: Environment, rules: Rules, properties: Properties, alike: Alike
    ) -> None:
        self._rules, self._alike = rules, alike
        self._invariants = Invariants(properties)
        self._sometimes = [
            (p.name, p.shows) for p in of_kind(properties, Kind.SOMETIMES) if p.shows is not None
        ]
        # At rest as the real rules leave it, so that a mutant's boot does not matter.
        small = Environment(slots=_WITNESS + 1, boot=1)
        self._rest = booted(config_of(small), RULES).state
        # Making a slot anew is what takes the time here; there are few, so each is kept.
        self._place = cache(placed)
        self._local = cache(partial(local, environment))

    def state(
        self, role: Role, slot: Slot, shared: Shared, needs: Needs = (), others: Others = ()
    ) -> State:
        """A machine whose slot of `role` is `slot`.

        `others` are the companions that are not at rest, by role. Where `needs` ask for
        others that have a property, there is one that has it.
        """
        slots = {0: self._rest.slots[0]}
        for other_role, other in others:
            slots[OTHER[other_role]] = self._place(OTHER[other_role], other)
        slots[INDEX[role]] = self._place(INDEX[role], slot)
        for need in needs:
            if need.least and need.condition.witness is not None:
                rest = slots.get(_WITNESS, self._rest.slots[_WITNESS])
                slots[_WITNESS] = need.condition.witness(rest)
        if _WITNESS in slots:
            slots.setdefault(1, self._rest.slots[1])
        return State(self._rest.config, shared, tuple(slots[i] for i in sorted(slots)))

    def let(self, role: Role, slot: Slot, state: State, stimulus: Stimulus) -> Seen:
        """Let `stimulus` reach a machine in `state`, and look at its slot of `role`, `slot`."""
        index = INDEX[role]
        try:
            decision = decide(state, stimulus, self._rules)
        except IllegalTransition:
            return Seen(slot, None, TRANSITION)
        except (ValueError, LookupError, StopIteration):
            return Seen(slot, None, TOTAL)
        events, end = decision.events, decision.state
        shown = tuple(
            name for event in events for name, shows in self._sometimes if shows(event)
        )
        refused = end is state and all(isinstance(event, Refused) for event in events)
        broken = None
        if refused and not self._alike.asks_of_events:  # no event of hpcore's own asks of refusals
            broken = self._answered(state, stimulus, decision, index)
            return Seen(slot, None, broken, refused=True, shown=shown)
        shared_changes = 0
        for folded in steps(
            state, events, self._rules,
            invariants=self._invariants, only=index, states=decision.states,
        ):  # fmt: skip
            before, after = folded.before.shared, folded.after.shared
            shared_changes += before is not after and before != after
            broken = None if folded.violation is None else folded.violation.invariant
            if self._alike.asks_of_events:
                self._ask_alike(role, folded)
        if end.slots[index] is not state.slots[index]:
            slot = self._local(index, end.slots[index])
        others_changed = (
            end.slots[:index] != state.slots[:index]
            or end.slots[index + 1 :] != state.slots[index + 1 :]
        )
        shared = None if end.shared is state.shared else end.shared
        broken = broken or self._answered(state, stimulus, decision, index)
        return Seen(slot, shared, broken, refused, others_changed, shared_changes, shown)

    def _answered(
        self, state: State, stimulus: Stimulus, decision: Decision, index: int
    ) -> str | None:
        """The invariant that the decision as a whole breaks, as the studied slot saw it."""
        broken = self._invariants.of_decision(
            state, stimulus, decision.events, decision.effects, decision.state, only=index
        )
        return None if broken is None else broken.invariant

    def _ask_alike(self, role: Role, folded: Folded) -> None:
        index = INDEX[role]
        if slot_of(folded.event) in (None, index):
            before, after = folded.before, folded.after
            self._alike.event(role, Change(
                index, before.slots[index], before.shared,
                folded.event, after.slots[index], after.shared,
            ))  # fmt: skip

    def unsound(self, role: Role, slot: Slot, shared: Shared) -> Iterator[str]:
        """The invariants that the slot breaks by being as it is, between decisions."""
        self._alike.state(role, slot, shared)
        index = INDEX[role]
        for violation in self._invariants.of_slot(
            index, self._place(index, slot), shared, rest=True
        ):
            yield violation.invariant

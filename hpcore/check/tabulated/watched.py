"""What a stimulus does to one slot, found out once for all shared parts that make it the same.

A stimulus about a slot looks at little of the shared part: a refusal at the machine's
phase, say. So the shared part that it meets is a `Watched` one, which notes the fields
that are read, by `decide`, `evolve` and every property. Why the result can be used again:

- If the state that the decision leads to has the very same object as its shared part,
  then no other shared part was made. All that was known of it came through its fields, and
  each that was read is noted; under every shared part with the same values in those fields
  the same code would have taken the same way.
- If the decision made another shared part, fields were copied, and a copy is read where
  nobody notes it. Then what was seen is kept for this one shared part.

Two shared parts are compared by all fields, so that a comparison notes them all, unless
they are one object.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import cache
from operator import attrgetter
from typing import Any, Generic, TypeVar

import attrs

from hpcore.check.tabulated.schema import Role
from hpcore.check.tabulated.small_machine import INDEX, Seen, SmallMachine
from hpcore.check.world.conditions import Offer
from hpcore.check.world.environment import Environment
from hpcore.model.states import Shared, Slot, State
from hpcore.model.stimuli import Stimulus

T = TypeVar("T")
_get = object.__getattribute__
_FIELDS = tuple(field.name for field in attrs.fields(Shared))
_all = attrgetter(*_FIELDS)


class Watched(Shared):
    """A shared part that notes in `read` which of its fields are looked at."""

    read: set[str]

    def __init__(self, *values: Any, **named: Any) -> None:
        object.__setattr__(self, "read", set())
        super().__init__(*values, **named)

    def __getattribute__(self, name: str) -> Any:
        if name in _FIELDS:
            _get(self, "read").add(name)
        return _get(self, name)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, Shared) and _all(self) == _all(other)

    def __hash__(self) -> int:
        return hash(plain(self))


class _Found(Generic[T]):
    """What was found under some shared parts, by the values of the fields that were read."""

    def __init__(self) -> None:
        self._by_fields: dict[Callable[[Shared], object], dict[object, T]] = {}

    def under(self, shared: Shared) -> T | None:
        for values, found in self._by_fields.items():
            known = found.get(values(shared))
            if known is not None:
                return known
        return None

    def keep(self, shared: Shared, read: Iterable[str], found: T) -> T:
        values = _values_of(tuple(sorted(read)))
        self._by_fields.setdefault(values, {})[values(shared)] = found
        return found


@cache
def _values_of(fields: tuple[str, ...]) -> Callable[[Shared], object]:
    """What looks these fields up: the same function for the same fields."""
    return attrgetter(*fields) if fields else lambda shared: ()


class SlotStudy:
    """What stimuli do to one local state of a role, under one shared part after the other."""

    def __init__(
        self, environment: Environment, machine: SmallMachine, role: Role, slot: Slot
    ) -> None:
        self._environment, self._machine = environment, machine
        self._role, self._slot = role, slot
        self._rest = machine.state(role, slot, Shared())
        self._offers: _Found[tuple[Offer, ...]] = _Found()
        self._seen: dict[Stimulus, _Found[Seen]] = defaultdict(_Found)

    def try_all(self, shared: Shared) -> tuple[tuple[Offer, Seen], ...]:
        """Every stimulus about the slot that may come under `shared`, and what it does."""
        return tuple([(offer, self.let(shared, offer.stimulus)) for offer in self.offers(shared)])

    def offers(self, shared: Shared) -> tuple[Offer, ...]:
        """What may come, with all the faults allowed."""
        found = self._offers.under(shared)
        if found is not None:
            return found
        watched, index = watch(shared), INDEX[self._role]
        offers = tuple(self._environment.about_slot(
            index, self._rest.slots[index], watched, self._environment.faults
        ))  # fmt: skip
        return self._offers.keep(shared, watched.read, offers)

    def let(self, shared: Shared, stimulus: Stimulus) -> Seen:
        """What `stimulus` does."""
        known = self._seen[stimulus]
        found = known.under(shared)
        if found is not None:
            return found
        watched = watch(shared)
        state = State(self._rest.config, watched, self._rest.slots)
        seen = self._machine.let(self._role, self._slot, state, stimulus)
        if seen.shared is None:
            return known.keep(shared, watched.read, seen)
        return known.keep(shared, _FIELDS, seen._replace(shared=plain(seen.shared)))


def watch(shared: Shared) -> Watched:
    """`shared`, watched."""
    return Watched(*_all(shared))


def plain(shared: Shared) -> Shared:
    """`shared`, watched no more."""
    return Shared(*_all(shared))

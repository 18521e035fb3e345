"""Who tells apart what one table stands for is refused.

The slots of a role have one table, worked out at one of them, and a slot's name and
affinity are left out of it where they are its own. hpcore's properties and guests never
ask; one of a user's might: "vCPU 3 is never plugged". It would be held against the slot
that the table was worked out at, and pass. So whatever is not hpcore's is asked of every
slot of the role, and must answer alike.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, TypeVar

import attrs

from hpcore.check.properties import SHIPPED, Properties
from hpcore.check.tabulated.schema import NotTabulable, Role, role_of
from hpcore.check.tabulated.start import placed
from hpcore.check.world.environment import Environment
from hpcore.check.world.guests import GUESTS
from hpcore.model.properties import Change
from hpcore.model.states import Shared, Slot
from hpcore.model.topology import mp_affinity

T = TypeVar("T")


class Alike:
    """Asks what is not hpcore's own about every slot of a role."""

    def __init__(self, environment: Environment, properties: Properties) -> None:
        self._slots: dict[Role, list[int]] = defaultdict(list)
        for i in range(environment.slots):
            self._slots[role_of(environment, i)].append(i)
        own = [p for p in properties if p not in SHIPPED]
        self._on_state = [(p.name, p.on_state) for p in own if p.on_state is not None]
        self._on_event = [(p.name, p.on_event) for p in own if p.on_event is not None]
        self._shows = [(p.name, p.shows) for p in own if p.shows is not None]
        known = environment.guest in GUESTS.values()
        self._guest = None if known else environment.guest
        self.asks_of_events = bool(self._on_event or self._shows)

    def state(self, role: Role, slot: Slot, shared: Shared) -> None:
        """Ask about a slot as it is. Raises NotTabulable."""
        slots = self._slots[role]
        for name, holds in self._on_state:
            _alike(name, role, [holds(i, placed(i, slot), shared) for i in slots])
            i = slots[0]
            bound = _bound(i, placed(i, slot))
            _unread(name, holds(i, placed(i, slot), shared), holds(i, bound, shared))
        if self._guest is not None:
            name, calls = self._guest.name, self._guest.calls
            _alike(name, role, [
                {_moved(call, i, 0) for call in calls(i, placed(i, slot), shared)} for i in slots
            ])  # fmt: skip

    def event(self, role: Role, change: Change) -> None:
        """Ask about what an event does to a slot. Raises NotTabulable."""
        changes = [_change(change, i) for i in self._slots[role]]
        bound = attrs.evolve(
            change,
            before=_bound(change.index, change.before), after=_bound(change.index, change.after),
        )  # fmt: skip
        for name, holds in self._on_event:
            _alike(name, role, [holds(c) for c in changes])
            _unread(name, holds(change), holds(bound))
        for name, shows in self._shows:
            _alike(name, role, [shows(c.event) for c in changes])


def _alike(name: str, role: Role, answers: list[Any]) -> None:
    if any(other != answers[0] for other in answers):
        raise NotTabulable(
            f"{name} tells one {role} vCPU from another, by its number or its id; one table "
            "stands for all of them"
        )


def _unread(name: str, without: object, bound: object) -> None:
    if without != bound:
        raise NotTabulable(
            f"{name} asks whether a vCPU's affinity is known; one that is its own is left out "
            "of the tables"
        )


def _change(change: Change, there: int) -> Change:
    """The change as the slot of number `there` would see it."""
    here = change.index
    return Change(
        there, _slot(change.before, here, there), change.shared_before,
        _moved(change.event, here, there), _slot(change.after, here, there), change.shared,
    )  # fmt: skip


def _slot(slot: Slot, here: int, there: int) -> Slot:
    """The slot of number `here` as the one of number `there` would be."""
    affinity = mp_affinity(there) if slot.affinity == mp_affinity(here) else slot.affinity
    id_ = f"cpu{there}" if slot.id == f"cpu{here}" else slot.id
    return attrs.evolve(slot, id=id_, affinity=affinity)


def _bound(index: int, slot: Slot) -> Slot:
    """The slot with its own affinity where the table has none."""
    return attrs.evolve(slot, affinity=mp_affinity(index)) if slot.affinity is None else slot


def _moved(event: T, here: int, there: int) -> T:
    """An event or a stimulus with two slots' numbers swapped."""
    number = {here: there, there: here}
    about: Any = event
    changes: dict[str, object] = {}
    if getattr(about, "slot", None) is not None:
        changes["slot"] = number.get(about.slot, about.slot)
    if hasattr(about, "enabled"):
        changes["enabled"] = tuple(sorted(number.get(i, i) for i in about.enabled))
    if getattr(about, "id", None) == f"cpu{here}":
        changes["id"] = f"cpu{there}"
    moved: T = attrs.evolve(about, **changes)
    return moved

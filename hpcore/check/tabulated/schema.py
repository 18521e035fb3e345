"""The protocol as tables: what one slot does in each of its local states and each common part.

Made by `tabulate`, by calling the real `decide` and `evolve`; read by every engine. A
slot's local state, a common part and a need are numbers here, indices into `locals`, `commons` and
`needs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from attrs import field, frozen

from hpcore.check.tabulated.start import Common, Start
from hpcore.check.world.conditions import Condition, Needs, ceilings
from hpcore.check.world.environment import Environment
from hpcore.errors import HpcoreError
from hpcore.model.properties import Invariants, Property
from hpcore.model.rules import Rules
from hpcore.model.states import Slot
from hpcore.model.stimuli import Stimulus


class NotTabulable(HpcoreError):
    """What is to be checked does not fit this schema; the text says what, and why."""


class Role(StrEnum):
    """What a slot is from the start; slots of one role have the same table."""

    BOOT = "boot"
    """vCPU 0, which starts the kernel."""
    COLD = "cold"
    HOT = "hot"


class SlotMove(NamedTuple):
    """A slot of `role` goes from local state `a` to `b`, and the common part from `c` to `d`.

    `by` is the class of the stimulus.
    """

    role: Role
    a: int
    c: int
    b: int
    d: int
    need: int
    by: type[Stimulus]


class MachineMove(NamedTuple):
    """The common part goes from `c` to `d`, and every slot where `maps[map]` sends it.

    Where `map` is -1, all slots stay as they are. `by` is the class of the stimulus.
    """

    c: int
    d: int
    need: int
    map: int
    by: type[Stimulus]


class Sight(NamedTuple):
    """What is seen of a slot of `role` in local state `a` under `c`: `what` happens, or is.

    `moving` tells what one more stimulus shows from what the state itself shows. `need` is
    asked of the other slots, or, if the stimulus concerns the `whole` machine, of all.
    """

    what: str
    role: Role
    a: int
    c: int
    need: int
    moving: bool
    whole: bool


Map = Mapping[Role, tuple[int, ...]]
"""Where each local state goes when something befalls every slot; -1: it breaks something, or
cannot be there."""


@frozen
class Tables:
    """One environment and one set of rules, tabulated.

    `broken` are what violates an invariant, `shown` what a *sometimes* property asks for.
    """

    environment: Environment
    rules: Rules
    properties: tuple[Property, ...]
    start: Start
    roles: tuple[Role, ...]
    commons: tuple[Common, ...]
    locals: Mapping[Role, tuple[Slot, ...]]
    needs: tuple[Needs, ...]
    slot_moves: tuple[SlotMove, ...]
    machine_moves: tuple[MachineMove, ...]
    maps: tuple[Map, ...]
    broken: tuple[Sight, ...]
    shown: tuple[Sight, ...]
    first: tuple[int, ...]
    """The start: the slots' local states, then the common part."""
    others: Mapping[tuple[int, ...], Start] = field(factory=dict)
    """The other starts, by their numbers, where a search begins with more than one machine."""

    known: tuple[tuple[int, ...], ...] = ()
    """States that were found before, and are counted among those that a search reaches."""

    @property
    def firsts(self) -> tuple[tuple[int, ...], ...]:
        """All starts, as numbers."""
        return (self.first, *self.others)

    @property
    def invariants(self) -> Invariants:
        """The properties that are held against every state and event."""
        return Invariants(self.properties)

    @property
    def ceilings(self) -> Mapping[Condition, int]:
        """The conditions that are asked, and from which count on more is the same."""
        return ceilings(self.needs)

    def holding(self, condition: Condition, role: Role) -> tuple[bool, ...]:
        """Which local states of `role` have the property of `condition`."""
        return tuple(condition.holds(slot) for slot in self.locals[role])


def role_of(environment: Environment, index: int) -> Role:
    """The role of slot `index`."""
    if index == 0:
        return Role.BOOT
    return Role.COLD if index < environment.boot else Role.HOT

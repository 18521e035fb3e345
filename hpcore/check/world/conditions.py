"""What may come, and on what terms: what a stimulus may ask of the other slots is all here.

A decision looks at one slot and the shared part, with three exceptions: the end of a scan
asks whether any event bit is set, a migration or a save whether any slot owes something, and
the end of a restart whether the guest is to be asked for any slot, which raises the GED. The
environment asks one more: how many commands are owed, before the user gives another one.
Each is a *count* of slots with a property, and each is here; nothing else may look across
slots. That this is so is tested: the engines, which know no more than these conditions,
reach exactly the states that a search over whole machines reaches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import attrs
from attrs import frozen

from hpcore.model.effects import MachineStep
from hpcore.model.states import Owed, Slot
from hpcore.model.stimuli import MachineDone, Migrate, Save, ScanEnded, Stimulus


@frozen
class Condition:
    """How many slots have a property. `witness` makes a slot have it, where decide asks."""

    name: str
    holds: Callable[[Slot], bool]
    witness: Callable[[Slot], Slot] | None = None


EVENT_BITS = Condition(
    "event_bits",
    lambda slot: slot.insert or slot.remove,
    lambda slot: attrs.evolve(slot, insert=True),
)
"""Asked by ScanEnded."""
BUSY = Condition(
    "busy",
    lambda slot: slot.busy,
    lambda slot: attrs.evolve(slot, command=Owed.PLUG),
)
"""Asked by Migrate and by Save."""
UNASKED = Condition(
    "unasked",
    lambda slot: slot.unasked and not slot.insert,
    lambda slot: attrs.evolve(slot, command=Owed.UNPLUG),
)
"""Asked by the end of RESTART."""
OWED = Condition("owed", lambda slot: slot.command is not Owed.NONE)
"""Asked by the user, who waits for some commands to end before giving more."""


@frozen
class Need:
    """At least `least` and at most `most` slots have the property of `condition`.

    Of a stimulus that concerns a slot it is asked of the *other* slots; of one that
    concerns the machine, of all slots.
    """

    condition: Condition
    least: int = 0
    most: int | None = None

    def met(self, count: int) -> bool:
        """Whether `count` slots with the property are as needed."""
        return count >= self.least and (self.most is None or count <= self.most)

    @property
    def ceiling(self) -> int:
        """The count from which on more makes no difference."""
        return self.least if self.most is None else self.most + 1


Needs = tuple[Need, ...]
ANYHOW: Needs = ()

_ASKED_BY: Mapping[Stimulus, Condition] = {
    ScanEnded(): EVENT_BITS,
    Migrate(): BUSY,
    Save(): BUSY,
    MachineDone(MachineStep.RESTART): UNASKED,
}
"""The stimuli that look at every slot, and for what."""


class Offer(NamedTuple):
    """`stimulus` may come if the other slots are as `needs` says.

    `fault` is 1 for what only a faulty accelerator does; it is counted if it changes
    anything.
    """

    stimulus: Stimulus
    needs: Needs = ANYHOW
    fault: int = 0


def offered(stimulus: Stimulus) -> Iterator[Offer]:
    """`stimulus`, whenever; one that looks at every slot once for each thing it may find."""
    condition = _ASKED_BY.get(stimulus)
    if condition is None:
        yield Offer(stimulus)
    else:
        yield Offer(stimulus, (Need(condition, most=0),))
        yield Offer(stimulus, (Need(condition, least=1),))


def met(needs: Needs, slots: Sequence[Slot], but: int | None = None) -> bool:
    """Whether `needs` hold of `slots`, those of index `but` left out. For whole machines."""
    return all(need.met(_count(need.condition, slots, but)) for need in needs)


def _count(condition: Condition, slots: Sequence[Slot], but: int | None) -> int:
    return sum(condition.holds(s) for i, s in enumerate(slots) if i != but)


def ceilings(all_needs: Iterable[Needs]) -> dict[Condition, int]:
    """For every condition that is asked, the count from which on more is the same."""
    out: dict[Condition, int] = {}
    for needs in all_needs:
        for need in needs:
            out[need.condition] = max(out.get(need.condition, 0), need.ceiling)
    return out

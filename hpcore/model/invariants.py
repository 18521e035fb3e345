"""All that must hold, by name: in every state, over every event and of every decision.

The names are what a replay, the checker and a refusal speak of. What a property may look at is in
`properties`.
"""

from __future__ import annotations

from functools import cache

from hpcore.model.answers import ANSWERS
from hpcore.model.command_invariants import COMMAND_INVARIANTS
from hpcore.model.consequences import CONSEQUENCES
from hpcore.model.machine_invariants import MACHINE_INVARIANTS
from hpcore.model.properties import Invariants, Property
from hpcore.model.refusals import REFUSALS
from hpcore.model.vcpu_invariants import VCPU_INVARIANTS

INVARIANTS: tuple[Property, ...] = (
    *VCPU_INVARIANTS,
    *MACHINE_INVARIANTS,
    *COMMAND_INVARIANTS,
    *CONSEQUENCES,
    *ANSWERS,
    *REFUSALS,
)

BY_NAME = {i.name: i for i in INVARIANTS}

HELD = Invariants(INVARIANTS)
"""hpcore's own invariants, as they are held wherever no others are given."""


@cache
def kept_by(version: str) -> Invariants:
    """The invariants that the core of hpcore `version`, such as "0.2.0", has kept.

    All of them where `version` is none.
    """
    try:
        wrote = tuple(int(part) for part in version.split("."))
    except ValueError:
        return HELD
    return Invariants(i for i in INVARIANTS if i.since <= wrote)

"""What the specs are about, as hpcore's engines take it, and how many states they find."""

from __future__ import annotations

from hpcore.check.explicit import engine as explicit
from hpcore.check.symbolic import engine as symbolic
from hpcore.check.tabulated.tabulate import tabulate
from hpcore.check.variants.revisions import properties_of
from hpcore.check.world.environment import Environment
from hpcore.check.world.guests import HOSTILE
from hpcore.model.revision import HPCORE, Revision


def as_specified(
    slots: int, faults: int, plugged: int = 0, saves: bool = False
) -> Environment:
    """What the specs are about: also a guest that powers the machine off, and what follows."""
    return Environment(
        slots=slots, boot=1, guest=HOSTILE, faults=faults,
        power_off=False, power_on=True, plugged=plugged, save=saves,
    )  # fmt: skip


def hpcore_states(
    slots: int, faults: int, plugged: int = 0, saves: bool = False, one: Revision = HPCORE
) -> set[int]:
    """The number of states that each of hpcore's engines finds, of the protocol `one`."""
    environment = as_specified(slots, faults, plugged, saves)
    tables = tabulate(environment, one.rules, properties=properties_of(one))
    return {symbolic.check(tables).states, explicit.check(tables).states}

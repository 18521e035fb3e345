"""Another protocol than hpcore's, as the checker takes it: what it promises, its bugs, and what
it gives up. Every bug must show, and whatever is given up must be seen broken; or why give it up?
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any

import attrs
from attrs import field, frozen

from hpcore.check.proof import prove
from hpcore.check.properties import EVENTUALLY, SOMETIMES, Properties
from hpcore.check.result import CheckError, Result
from hpcore.check.world.environment import Environment
from hpcore.check.world.guests import LINUX
from hpcore.model.invariants import BY_NAME
from hpcore.model.other_invariants import OTHERS_BY_NAME
from hpcore.model.properties import Kind, Property
from hpcore.model.revision import Bug, Revision

ASKED = {**BY_NAME, **OTHERS_BY_NAME, **{p.name: p for p in EVENTUALLY}}
"""Every promise that a protocol may give up."""

_NEEDS: Mapping[str, Mapping[str, Any]] = {
    "migration_carries_all": {"migration": True},
    "migration_carries_enabled": {"migration": True},
    "restored_as_saved": {"save": True},
    "cold_booted_stays": {"boot": 2},
    "guest_heard": {"boot": 2},
    "facts_have_causes": {"migration": True},
    "reset_keeps_plugged": {"reset": True},
    "off_keeps_plugged": {"power_on": True},
}
"""What must be able to happen for a promise to be broken."""


def properties_of(revision: Revision) -> Properties:
    """What is asked of `revision`: what it promises, and that things happen and come to an end."""
    ends = (p for p in EVENTUALLY if p.name not in revision.gives_up)
    return (*revision.promises, *SOMETIMES, *ends)


@frozen
class Wrong:
    """What must be found: a protocol, what is asked of it, and in which environment.

    `caught_by` are the promises one of which must be seen broken.
    """

    name: str
    says: str
    revision: Revision
    properties: Properties
    caught_by: frozenset[str]
    environment: Environment = field(repr=False)

    @property
    def engine(self) -> str:
        """What an end can be looked for with."""
        return "explicit" if any(p.kind is Kind.EVENTUALLY for p in self.properties) else "auto"


@frozen
class Found:
    """One of them, and what was found."""

    wrong: Wrong
    result: Result

    @property
    def broken(self) -> tuple[str, ...]:
        """The promises that were seen broken."""
        ends = (what.partition(" of ")[0] for what in self.result.endless or ())
        return (*self.result.violations, *dict.fromkeys(ends))

    @property
    def as_expected(self) -> bool:
        """Whether it is what was to be found."""
        return bool(self.wrong.caught_by & set(self.broken))


def bug_of(revision: Revision, name: str) -> Bug:
    """The bug of that name. Raises CheckError, with the name that was perhaps meant."""
    known = {bug.name: bug for bug in revision.bugs}
    if name in known:
        return known[name]
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else f"; known: {', '.join(known) or 'none'}"
    raise CheckError(f"nobody reported the bug '{name}' against {revision.name}{hint}")


def within(environment: Environment, needs: Mapping[str, Any]) -> Environment:
    """`environment`, and in it what must be able to happen."""
    wider = {key: max(value, getattr(environment, key)) for key, value in needs.items()}
    boot = wider.get("boot", environment.boot)
    wider["slots"] = max(wider.get("slots", 0), environment.slots, boot + 1)
    return attrs.evolve(environment, **wider)


_LEAST = Environment(slots=2, faults=0, reset=False, migration=False, power_off=False)


def all_wrong(revision: Revision) -> tuple[Wrong, ...]:
    """The bugs of `revision`, then what it gives up, each where it is smallest."""
    asked = properties_of(revision)
    bugs = (
        Wrong(
            bug.name, bug.says, revision.with_bug(bug), asked, frozenset(bug.breaks),
            within(_LEAST, bug.needs),
        )
        for bug in revision.bugs
    )  # fmt: skip
    return (*bugs, *(_given_up(revision, ASKED[name]) for name in revision.gives_up))


def _given_up(revision: Revision, promise: Property) -> Wrong:
    least = within(_LEAST, _NEEDS.get(promise.name, {}))
    if promise.kind is Kind.EVENTUALLY:
        least = attrs.evolve(least, guest=LINUX)
    says = f"given up: {promise.says}"
    return Wrong(promise.name, says, revision, (promise,), frozenset({promise.name}), least)


def hunt_wrong(
    revision: Revision, tell: Callable[[Found], None] = lambda _found: None
) -> tuple[Found, ...]:
    """Look for each of them."""
    out = []
    for wrong in all_wrong(revision):
        result = prove(
            wrong.environment, wrong.revision.rules, wrong.engine, properties=wrong.properties
        )
        out.append(Found(wrong, result))
        tell(out[-1])
    return tuple(out)

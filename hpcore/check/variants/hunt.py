"""All mutants, one after the other: is each found that must be, and no other?"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from attrs import frozen

from hpcore.check.proof import prove
from hpcore.check.properties import PROPERTIES, Properties
from hpcore.check.result import Result
from hpcore.check.variants.known_bugs import ALL
from hpcore.check.variants.mutants import Mutant
from hpcore.check.world.environment import Environment


@frozen
class Hunted:
    """One mutant, the environment that it was looked for in, and what was found."""

    mutant: Mutant
    environment: Environment
    result: Result

    @property
    def found(self) -> bool:
        """Whether it breaks an invariant."""
        return bool(self.result.violations)

    @property
    def as_expected(self) -> bool:
        """Whether it is found, by an invariant that it must be found by, or clean if it must."""
        if self.mutant.clean is not None:
            return not self.found
        wanted = self.mutant.caught_by
        return self.found and (not wanted or bool(wanted & set(self.result.violations)))


def hunt(
    environment: Environment,
    mutants: Iterable[Mutant] = tuple(ALL.values()),
    engine: str = "auto",
    properties: Properties = PROPERTIES,
    tell: Callable[[Hunted], None] = lambda hunted: None,
) -> tuple[Hunted, ...]:
    """Look for each mutant where it is smallest, then, if it is not there, in `environment`.

    What breaks with fewer slots and kinds of stimuli breaks with more; a mutant that must
    be clean is looked for in `environment` only.
    """
    out = []
    for mutant in mutants:
        where = [mutant.within(environment)]
        if mutant.clean is None:
            where.insert(0, mutant.smallest())
        for place in where:
            result = prove(place, mutant.rules, engine, properties=properties)
            hunted = Hunted(mutant, place, result)
            if hunted.found:
                break
        out.append(hunted)
        tell(hunted)
    return tuple(out)

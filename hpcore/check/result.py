"""What a check found, whichever engine did it."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen

from hpcore.check.tabulated.start import Start
from hpcore.errors import HpcoreError
from hpcore.model.properties import Violation
from hpcore.model.stimuli import Stimulus


class CheckError(HpcoreError):
    """The check cannot be made as asked. The text says why, and what can."""


@frozen
class Counterexample:
    """A shortest way to break something: the invariant, the slot, and what to do.

    `stimuli` lead from `start` to the violation.
    """

    invariant: str
    slot: int
    says: str
    stimuli: tuple[Stimulus, ...]
    start: Start

    @classmethod
    def of(cls, broken: Violation, stimuli: tuple[Stimulus, ...], start: Start) -> Counterexample:
        """`stimuli` lead from `start` to `broken`."""
        return cls(broken.invariant, broken.slot, broken.says, stimuli, start)

    @property
    def length(self) -> int:
        """How many stimuli it takes, counted from the start of the search."""
        return len(self.stimuli)


@frozen
class Result:
    """One check. `states` are the machine's; `depth` and `transitions`, the moves taken in
    them, are None where the engine does not know them. After a violation `depth` is the
    counterexample's length, and the others are what was seen so far.

    `violations` are the names of all invariants found broken, `missing` the *sometimes*
    properties that the environment allows for and that never happened. `endless` says what
    need never end, of what must *eventually*; None where that was not looked into.
    """

    engine: str
    states: int
    seconds: float
    memory: int
    """The most memory that the process has had, in bytes."""
    depth: int | None = None
    transitions: int | None = None
    violations: tuple[str, ...] = ()
    counterexample: Counterexample | None = None
    missing: tuple[str, ...] = ()
    endless: tuple[str, ...] | None = None

    @property
    def proven(self) -> bool:
        """Whether every property holds."""
        return not (self.violations or self.missing or self.endless)


@frozen
class Progress:
    """How far a search is: `doing` in words, then what there is to count."""

    engine: str
    doing: str
    states: int | None = None
    nodes: int | None = None


Tell = Callable[[Progress], None]


def silent(_progress: Progress) -> None:
    """Tells nobody."""

"""What is asked of a sequence, and what was found: plain values."""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen

from hpcore.check.properties import PROPERTIES, Properties
from hpcore.check.world.guests import HOSTILE
from hpcore.errors import HpcoreError
from hpcore.model.rules import RULES, Rules
from hpcore.model.stimuli import Stimulus
from hpcore.scenario.values import Line, Scenario
from hpcore.sequence.guests import Anyhow, PlayedLinux, SequenceGuest

MOST_STATES = 1_000_000
"""States of one search, unless it is told another number. `cycles` takes 650 bytes for each."""
MOST_LINES = 1_000
"""Steps that are checked, with every repeat written out."""


class SequenceRefused(HpcoreError):
    """A scenario that cannot be checked as a sequence. The text says which step, and why."""


class FindingKind(StrEnum):
    """What is wrong."""

    BROKEN = "broken"  # a property does not hold
    FAILS = "fails"  # a step does not go as the scenario says
    EXPECT = "expect"  # what is expected need not come true
    NEVER = "never"  # a step need never end


@frozen
class Question:
    """One check of a sequence.

    `guest` runs in the machine; None is the one that `hpcore run` would play. `faults` is how
    many effects may fail, an accelerator err, or a deadline run out too early. With `race` a
    command is given as soon as the one before is accepted. With `resets` a reset that nobody
    asked for may come at any time. `reduce` leaves out orders that nobody can tell apart.
    """

    scenario: Scenario
    guest: SequenceGuest
    faults: int = 0
    race: bool = False
    resets: bool = False
    rules: Rules = RULES
    properties: Properties = PROPERTIES
    most: int = MOST_STATES
    reduce: bool = True

    @classmethod
    def of(cls, scenario: Scenario, **options: object) -> Question:
        """The question with the guest that the scenario itself asks for."""
        rules = options.get("rules", RULES)
        return cls(scenario, guest_of(scenario, rules), **options)  # type: ignore[arg-type]


def guest_of(scenario: Scenario, rules: Rules = RULES) -> SequenceGuest:
    """The guest that a scenario has where it is run on an accelerator that plays guests.

    `rules` are those by which the machine is run: its ACPI tables are made of them.
    """
    if scenario.kind == "hostile":
        return Anyhow(HOSTILE)
    return PlayedLinux.of(scenario.kind, scenario.append, scenario.answers, rules)


@frozen
class Happening:
    """One thing on a way: a stimulus, or words for what the machine does not see."""

    stimulus: Stimulus | None
    says: str = ""
    begins: Line | None = None
    """The line of the scenario that this begins."""
    fault: int = 0


@frozen
class Finding:
    """The shortest run in which something is wrong: `why`, at `line`, and the `way` there.

    `broken` names the property that is, for vCPU `slot`, if the finding is of that kind; `slot`
    is None for a property of the whole machine.
    """

    kind: FindingKind
    line: Line | None
    why: str
    way: tuple[Happening, ...]
    broken: str | None = None
    slot: int | None = None

    @property
    def stimuli(self) -> tuple[Stimulus, ...]:
        """What reaches the machine on the way."""
        return tuple(h.stimulus for h in self.way if h.stimulus is not None)

    @property
    def faults(self) -> int:
        """The faults that it takes."""
        return sum(h.fault for h in self.way)


@frozen
class Answer:
    """What a search has found.

    `findings` are the different ones: those that break a property, then the nearest.
    `fault_ends` are runs that a fault ends: a step fails in them, as `hpcore run` would have
    it, and that is no finding. `missing` are *sometimes* properties of one's own that never
    happened. `completed` says whether some run comes to the scenario's end.
    """

    states: int
    transitions: int
    depth: int
    seconds: float
    memory: int
    findings: tuple[Finding, ...] = ()
    fault_ends: tuple[Finding, ...] = ()
    missing: tuple[str, ...] = ()
    completed: bool = False

    @property
    def ok(self) -> bool:
        """Whether the sequence goes as the scenario says, in every run."""
        return not (self.findings or self.missing)

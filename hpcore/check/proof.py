"""Checking an environment with an engine: the way in."""

from __future__ import annotations

import time
from importlib.util import find_spec

import attrs

from hpcore.check import before_boot, strays
from hpcore.check.graphs import liveness
from hpcore.check.graphs.graph import explore
from hpcore.check.memory import available, human, peak
from hpcore.check.properties import PROPERTIES, Properties, of_kind, refuse_unfit
from hpcore.check.result import CheckError, Counterexample, Progress, Result, Tell, silent
from hpcore.check.retrace import as_numbers
from hpcore.check.symbolic import engine as symbolic
from hpcore.check.symbolic.saturation import Reach
from hpcore.check.tabulated.schema import Tables
from hpcore.check.tabulated.start import Start, booted, config_of
from hpcore.check.tabulated.tabulate import tabulate
from hpcore.check.world.environment import Environment
from hpcore.model.properties import Invariants, Kind, Violation
from hpcore.model.rules import RULES, Rules
from hpcore.model.states import initial

ENGINES = ("symbolic", "explicit", "auto")
_COUNTED = 4
"""Slots up to which states are counted; beyond, they are estimated from their growth."""
_SYMBOLIC_BASE = 64 << 20
_SYMBOLIC_A_PAIR = 1 << 10
_SYMBOLIC_A_PAIR_COUNTED = 256 << 10
"""Bytes that a diagram takes for each pair of slots, with any number of commands in flight
or a bounded one: measured at 8 to 512 slots, and 8 to 16, and rounded up."""


def prove(
    environment: Environment,
    rules: Rules | None = None,
    engine: str = "auto",
    start: Start | None = None,
    tell: Tell = silent,
    properties: Properties = PROPERTIES,
) -> Result:
    """Check that `properties` hold of `environment` under `rules` (the real ones).

    The search begins at the booted machine, or at `start`. `engine` is one of ENGINES:
    `symbolic` proves, and says nothing of what must eventually come; `explicit` lists all
    states; `auto` takes the symbolic one, unless a property of your own needs the other.

    Raises CheckError where that cannot be done: too little memory, too many slots, a
    property that no engine can hold, NumPy missing. Raises NotTabulable for rules, a guest
    or a property that look at more than one slot.
    """
    began = time.perf_counter()
    refuse_unfit(properties, tables=True)
    engine = _engine_for(engine, properties)
    if engine == "explicit" and find_spec("numpy") is None:
        raise CheckError(
            "the explicit engine needs NumPy; install it with: pip install numpy, or "
            "use the engine 'symbolic'"
        )
    tell(Progress(engine, "tabulating the protocol"))
    rules = rules or RULES
    invariants = Invariants(properties)
    before = None
    if start is None and environment.before_boot:
        before = before_boot.search(
            environment, rules, invariants,
            lambda states: tell(Progress(engine, "before the boot", states=states)),
        )  # fmt: skip
        if before.found is not None:
            return _broken(engine, before.found, began, before.states)
        if not before.started:
            return _never_starts(engine, before.states, began)
    start = start or booted(
        config_of(environment), rules, invariants, environment.plugged
    )
    if start.broken is not None:
        return _broken_at_boot(engine, start, start.broken, began)
    broken = next(invariants.of_state(start.state), None)
    if broken is not None:
        return _broken(engine, Counterexample.of(broken, (), start), began)
    tables = tabulate(
        environment, rules, start, properties,
        lambda pairs: tell(Progress(engine, f"tabulating the protocol, {pairs:,} pairs")),
        () if before is None else tuple((s.start, s.faults) for s in before.started),
    )  # fmt: skip
    if before is not None:
        found = (as_numbers(tables, state, faults) for state, faults in before.ending)
        known = tuple(numbers for numbers in found if numbers is not None)
        tables = attrs.evolve(tables, known=known)
    needed, other = memory_needed(tables, engine)
    if needed > available():
        raise CheckError(
            f"the {engine} engine needs about {human(needed)} for {environment.slots} slots, and "
            f"{human(available())} are free. {other}"
        )
    result = _explicit(tables, tell) if engine == "explicit" else symbolic.check(tables, tell)
    if before is not None:
        result = attrs.evolve(result, states=result.states + before.states - len(tables.known))
        if result.counterexample is None:  # a search with many starts has no depth of its own
            result = attrs.evolve(result, depth=None, transitions=None)
    if result.proven:
        stray = strays.not_refused(environment, start, rules, properties)
        if stray is not None:
            result = _broken(engine, stray, began, result.states)
    return attrs.evolve(result, seconds=time.perf_counter() - began)


def _engine_for(engine: str, properties: Properties) -> str:
    """The engine that is asked for, or, of `auto`, the one that can hold `properties`."""
    if engine not in ENGINES:
        raise CheckError(f"there is no engine '{engine}'; known: {', '.join(ENGINES)}")
    if engine == "explicit" or not _own_eventually(properties):
        return engine
    if engine == "auto":
        return "explicit"
    raise CheckError(
        f"the symbolic engine cannot hold {_own_eventually(properties)[0].name}, which must come "
        "eventually: it knows no loops. Use the engine 'explicit'"
    )


def _own_eventually(properties: Properties) -> Properties:
    """The *eventually* properties that are not hpcore's: they may not be passed over."""
    return tuple(p for p in of_kind(properties, Kind.EVENTUALLY) if p not in PROPERTIES)


def _explicit(tables: Tables, tell: Tell) -> Result:
    """Search breadth first, then, where there are few enough states, look for loops."""
    from hpcore.check.explicit import engine  # noqa: PLC0415 - NumPy is an extra

    result = engine.check(tables, tell)
    if not result.proven:
        return result
    if result.states <= liveness.MOST:
        tell(Progress(engine.NAME, "looking for commands without an end"))
        found = liveness.endless(tables, explore(tables, result.states))
        return attrs.evolve(result, endless=found)
    if _own_eventually(tables.properties):
        raise CheckError(
            f"{result.states} states; what must come eventually is looked into up to "
            f"{liveness.MOST}. Take fewer slots, faults or commands, or no resets"
        )
    return result


def _broken_at_boot(engine: str, start: Start, broken: Violation, began: float) -> Result:
    """A protocol that does not even boot rightly: the boot is the counterexample."""
    off = Start(initial(start.state.config))
    return _broken(engine, Counterexample.of(broken, start.stimuli, off), began)


def _never_starts(engine: str, states: int, began: float) -> Result:
    """A protocol by which no machine ever starts: nothing of what must happen does."""
    seconds = time.perf_counter() - began
    return Result(engine, states, seconds, peak(), missing=("the_machine_starts",))


def _broken(engine: str, found: Counterexample, began: float, states: int = 0) -> Result:
    """What was found before there was a search by tables."""
    return Result(
        engine, states, time.perf_counter() - began, peak(), depth=found.length,
        violations=(found.invariant,), counterexample=found,
    )  # fmt: skip


def memory_needed(tables: Tables, engine: str) -> tuple[float, str]:
    """About how many bytes `engine` needs, and what else would do."""
    slots = len(tables.roles)
    if engine != "explicit":
        each = _SYMBOLIC_A_PAIR if tables.environment.commands is None else _SYMBOLIC_A_PAIR_COUNTED
        return _SYMBOLIC_BASE + each * slots**2, "Use fewer slots, or any number of commands"
    from hpcore.check.explicit.engine import BYTES  # noqa: PLC0415 - NumPy is an extra

    return _SYMBOLIC_BASE + BYTES * estimated_states(tables), "Use --engine symbolic"


def estimated_states(tables: Tables) -> float:
    """How many states there are: counted for a few slots, from their growth for more."""
    slots = len(tables.roles)
    counted = min(slots, max(_COUNTED, tables.environment.boot + 2))
    states = float(_states(tables, counted))
    if counted == slots:
        return states
    growth = states / _states(tables, counted - 1)
    return states * growth ** min(slots - counted, 100)


def _states(tables: Tables, slots: int) -> int:
    first = (*tables.first[:slots], tables.first[-1])
    fewer = attrs.evolve(tables, roles=tables.roles[:slots], first=first)
    reach = Reach(fewer)
    return reach.diagrams.count(reach.run())

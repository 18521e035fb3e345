"""Checking an environment with an engine: the way in."""

from __future__ import annotations

import time
from importlib.util import find_spec

from attrs import evolve

from hpcore.check.graphs import liveness
from hpcore.check.graphs.graph import explore
from hpcore.check.memory import available, human, peak
from hpcore.check.result import CheckError, Counterexample, Progress, Result, Tell, silent
from hpcore.check.symbolic import engine as symbolic
from hpcore.check.symbolic.saturation import Reach
from hpcore.check.tabulated.schema import Tables
from hpcore.check.tabulated.start import Start, booted, config_of
from hpcore.check.tabulated.tabulate import tabulate
from hpcore.check.world.environment import Environment
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
) -> Result:
    """Check `environment` under `rules` (the real ones), from the booted machine or `start`.

    `engine` is one of ENGINES; `auto` is the symbolic one. Raises CheckError where the
    engine cannot do it: too little memory, too many slots, NumPy missing.
    """
    began = time.perf_counter()
    if engine not in ENGINES:
        raise CheckError(f"there is no engine '{engine}'; known: {', '.join(ENGINES)}")
    tell(Progress(engine, "tabulating the protocol"))
    rules = rules or RULES
    start = start or booted(config_of(environment), rules)
    if start.broken is not None:
        return _broken_at_boot(engine, start, began)
    tables = tabulate(environment, rules, start)
    needed, other = memory_needed(tables, engine)
    if needed > available():
        raise CheckError(
            f"the {engine} engine needs about {human(needed)} for {environment.slots} slots, and "
            f"{human(available())} are free. {other}"
        )
    if engine == "explicit":
        if find_spec("numpy") is None:
            raise CheckError(
                "the explicit engine needs NumPy; install it with: pip install numpy, or "
                "use --engine symbolic"
            )
        from hpcore.check.explicit import engine as explicit  # noqa: PLC0415 - NumPy is an extra

        result = explicit.check(tables, tell)
        if result.proven and result.states <= liveness.MOST:
            tell(Progress(engine, "looking for commands without an end"))
            found = liveness.endless(tables, explore(tables, result.states))
            result = evolve(result, endless=found)
    else:
        result = symbolic.check(tables, tell)
    return evolve(result, seconds=time.perf_counter() - began)


def _broken_at_boot(engine: str, start: Start, began: float) -> Result:
    """A protocol that does not even boot rightly: the boot is the counterexample."""
    broken = start.broken
    assert broken is not None
    off = Start(initial(start.state.config))
    found = Counterexample(broken.invariant, broken.slot, broken.says, start.stimuli, off)
    return Result(
        engine, 0, time.perf_counter() - began, peak(), depth=found.length,
        violations=(broken.invariant,), counterexample=found,
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
    fewer = evolve(tables, roles=tables.roles[:slots], first=first)
    reach = Reach(fewer)
    return reach.diagrams.count(reach.run())

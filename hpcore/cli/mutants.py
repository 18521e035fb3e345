"""`hpcore check --mutants`: every rule broken in turn, and what catches it."""

from __future__ import annotations

import time
from typing import NoReturn

from hpcore.check.variants.hunt import Hunted, hunt
from hpcore.check.variants.known_bugs import ALL
from hpcore.check.world.environment import Environment
from hpcore.cli.output import Output, steps


def hunt_all(out: Output, environment: Environment, engine: str) -> NoReturn:
    """Try every mutant, say what catches it, and exit with 1 if one surprises."""
    out.say(f"{len(ALL)} mutants: the protocol with one rule broken, or one order changed")

    def tell(one: Hunted) -> None:
        found = one.result.counterexample
        mark = "ok  " if one.as_expected else "FAIL"
        if found is not None:
            names = ", ".join(one.result.violations)
            what = f"found in {steps(found.length)}: {names}"
        else:
            what = f"clean: {one.mutant.clean}" if one.mutant.clean else "NOT FOUND"
        peer = f" (the research branch's bug {one.mutant.peer})" if one.mutant.peer else ""
        style = None if one.as_expected else "bold red"
        out.say(f"{mark} {one.mutant.name}{peer}: {what}", style=style)

    began = time.monotonic()
    hunted = hunt(environment, engine=engine, tell=tell)
    ok = all(one.as_expected for one in hunted)
    seconds = time.monotonic() - began
    clean = sum(one.as_expected and not one.found for one in hunted)
    out.say(
        f"{sum(h.found for h in hunted)} of {len(hunted)} found, and {clean} break nothing, "
        f"as they should; {seconds:.0f} s", style="green" if ok else "bold red",
    )  # fmt: skip
    out.end(
        ok,
        engine=engine,
        states=sum(one.result.states for one in hunted),
        seconds=round(seconds, 3),
        violations=[],
        mutants=[
            {
                "name": one.mutant.name, "found": one.found, "as_expected": one.as_expected,
                "clean": one.mutant.clean, "peer": one.mutant.peer,
                "violations": list(one.result.violations),
                "length": one.result.depth if one.found else None,
            }
            for one in hunted
        ],
    )  # fmt: skip

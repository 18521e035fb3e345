"""The symbolic engine: the default. Decision diagrams prove; layers find the shortest way."""

from __future__ import annotations

import sys
import time

from hpcore.check.memory import peak
from hpcore.check.properties import asked_in
from hpcore.check.result import Progress, Result, Tell, silent
from hpcore.check.retrace import retrace
from hpcore.check.sightings import Sightings
from hpcore.check.symbolic.layers import Layers
from hpcore.check.symbolic.saturation import Reach
from hpcore.check.tabulated.schema import Tables
from hpcore.model.properties import Kind

NAME = "symbolic"


def check(tables: Tables, tell: Tell = silent) -> Result:
    """Reach everything, then look for what is broken and for what never happens."""
    began = time.perf_counter()
    # A walk is as deep as the diagram, and there are three functions a level.
    sys.setrecursionlimit(max(sys.getrecursionlimit(), 10 * len(tables.roles) + 1000))
    reach = Reach(tables)
    root = reach.run(lambda sweep, nodes: tell(Progress(NAME, f"sweep {sweep}", nodes=nodes)))
    diagrams = reach.diagrams
    broken = Sightings(tables, tables.broken)
    violations = tuple(found.what for found in broken.all_in(diagrams, root))
    shown = {found.what for found in Sightings(tables, tables.shown).all_in(diagrams, root)}
    missing = tuple(
        p.name for p in asked_in(tables.environment, tables.properties, Kind.SOMETIMES)
        if p.name not in shown
    )
    counterexample = depth = None
    if violations:
        found = Layers(tables).way_to(
            broken, lambda layer, nodes: tell(Progress(NAME, f"layer {layer}", nodes=nodes))
        )
        assert found is not None, "a violation that no layer has"
        counterexample = retrace(tables, found[1])
        depth = counterexample.length
    counted = diagrams.union(root, diagrams.of_all(tables.known))
    return Result(
        engine=NAME, states=diagrams.count(counted), seconds=time.perf_counter() - began,
        memory=peak(), depth=depth, violations=violations, counterexample=counterexample,
        missing=() if violations else missing,
    )  # fmt: skip

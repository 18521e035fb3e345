"""The explicit engine: breadth first over packed states, in NumPy. Exact depth and counts."""

from __future__ import annotations

import time

import numpy as np

from hpcore.check.explicit.expansion import Expansion, Lookout
from hpcore.check.explicit.hashset import BYTES_A_STATE, Keys, StateSet
from hpcore.check.explicit.packing import Packing
from hpcore.check.memory import peak
from hpcore.check.properties import asked_in
from hpcore.check.result import Progress, Result, Tell, silent
from hpcore.check.retrace import retrace
from hpcore.check.sightings import Numbers
from hpcore.check.tabulated.schema import Tables
from hpcore.model.properties import Kind

NAME = "explicit"
CHUNK = 1 << 15
"""States expanded at once: their successors still fit a processor's cache."""
BYTES = BYTES_A_STATE + 16
"""Memory a state, at most: its place in the set, and in the layers kept for the way back,
which are put together from parts."""


def check(tables: Tables, tell: Tell = silent) -> Result:
    """Search breadth first; stop in the first layer that has a violation.

    Raises CheckError where a state does not fit into 63 bits.
    """
    began = time.perf_counter()
    return Search(tables).run(tell, began)


class Search:
    """One breadth-first search. `layers` are its layers, each state once."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self.packing = Packing(tables)
        self.expansion = Expansion(tables, self.packing)
        self._broken = Lookout(tables, self.packing, tables.broken)
        # A violation in a state itself is one stimulus nearer than one by the next stimulus.
        self._being = Lookout(tables, self.packing, tuple(s for s in tables.broken if not s.moving))
        self._shown = Lookout(tables, self.packing, tables.shown)
        self.layers: list[Keys] = []
        self._seen = StateSet()

    def run(self, tell: Tell, began: float) -> Result:
        """Search everything there is, or up to the first violation."""
        first = np.array([self.packing.pack(s) for s in self._tables.firsts], np.uint64)
        layer = self._seen.add(first)
        transitions, shown, bad = 0, 0, 0
        while len(layer) and not bad:
            self.layers.append(layer)
            found: list[Keys] = []
            for at in range(0, len(layer), CHUNK):
                chunk = layer[at : at + CHUNK]
                bad |= int(np.bitwise_or.reduce(self._broken.look(chunk)))
                shown |= int(np.bitwise_or.reduce(self._shown.look(chunk)))
                if bad:
                    # The search ends with this layer; what else it breaks is still named.
                    continue
                for states in self.expansion.successors(chunk):
                    transitions += len(states)
                    found.append(self._seen.add(states))
                tell(Progress(NAME, f"layer {len(self.layers)}", states=self._seen.size))
            layer = np.concatenate(found) if found else layer[:0]
        names = tuple(n for i, n in enumerate(self._broken.names) if bad >> i & 1)
        seen = {n for i, n in enumerate(self._shown.names) if shown >> i & 1}
        missing = tuple(
            p.name
            for p in asked_in(self._tables.environment, self._tables.properties, Kind.SOMETIMES)
            if p.name not in seen
        )  # fmt: skip
        if self._tables.known:
            self._seen.add(np.array([self.packing.pack(s) for s in self._tables.known], np.uint64))
        counterexample = retrace(self._tables, self._way()) if bad else None
        depth = counterexample.length if counterexample else len(self.layers) - 1
        return Result(
            engine=NAME, states=self._seen.size, seconds=time.perf_counter() - began,
            memory=peak(), depth=depth, transitions=transitions,
            violations=names, counterexample=counterexample, missing=() if bad else missing,
        )  # fmt: skip

    def _way(self) -> tuple[Numbers, ...]:
        """The states from the start to the first one in the last layer that is broken."""
        last = self.layers[-1]
        being = np.flatnonzero(self._being.look(last))
        state = last[being[0] if len(being) else np.flatnonzero(self._broken.look(last))[0]]
        way = [state]
        for layer in reversed(self.layers[:-1]):
            state = self._one_before(layer, state)
            way.append(state)
        return tuple(self.packing.unpack(int(s)) for s in reversed(way))

    def _one_before(self, layer: Keys, state: np.uint64) -> np.uint64:
        for at in range(0, len(layer), CHUNK):
            chunk = layer[at : at + CHUNK]
            while len(chunk) > 1:  # halve: which half has the one that leads there
                half = chunk[: len(chunk) // 2]
                there = any((s == state).any() for s in self.expansion.successors(half))
                chunk = half if there else chunk[len(chunk) // 2 :]
            if any((s == state).any() for s in self.expansion.successors(chunk)):
                found: np.uint64 = chunk[0]
                return found
        raise AssertionError("a layer without a way from the one before")

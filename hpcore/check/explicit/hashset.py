"""A set of packed states in NumPy: many are looked up and put in at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]

_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_FOLD = np.uint64(31)
_ONE = np.uint64(1)
BYTES_A_STATE = 48
"""The most that a state takes: 8 bytes, in a table a quarter full just after it grew, and
in the half as large one that it grew from."""


class StateSet:
    """Open addressing with linear probing, never more than half full.

    A slot holds the state plus one, 0 where there is none, so that states have 63 bits.
    """

    def __init__(self, bits: int = 16) -> None:
        self._bits = bits
        self._table: Keys = np.zeros(1 << bits, np.uint64)
        self.size = 0

    def add(self, states: Keys) -> Keys:
        """Put `states` in; return those that were not in before, each once, in order."""
        unknown = self._unknown(states)
        if not len(unknown):
            return unknown
        new = np.unique(unknown) - _ONE
        self.size += len(new)
        while 2 * self.size > len(self._table):
            self._grow()
        self._put(new)
        return new

    def _unknown(self, states: Keys) -> Keys:
        """The keys of those `states` that are not in; a state may be there several times."""
        table, last = self._table, len(self._table) - 1
        keys = states + _ONE
        places = self._places(states)
        unknown = []
        while len(keys):
            there = table[places]
            empty = there == 0
            unknown.append(keys[empty])
            other = (there != keys) & ~empty
            keys, places = keys[other], (places[other] + 1) & last
        return np.concatenate(unknown) if unknown else keys

    def _put(self, states: Keys) -> None:
        table, last = self._table, len(self._table) - 1
        keys, places = states + _ONE, self._places(states)
        while len(keys):
            empty = table[places] == 0
            # Of several that want one place the last gets it; the others see that and go on.
            table[places[empty]] = keys[empty]
            homeless = table[places] != keys
            keys, places = keys[homeless], (places[homeless] + 1) & last

    def _places(self, states: Keys) -> NDArray[np.int64]:
        mixed = (states ^ (states >> _FOLD)) * _SPREAD
        return (mixed >> np.uint64(64 - self._bits)).astype(np.int64)

    def _grow(self) -> None:
        old, self._bits = self._table, self._bits + 1
        self._table = np.zeros(1 << self._bits, np.uint64)
        for at in range(0, len(old), 1 << 20):
            part = old[at : at + (1 << 20)]
            self._put(part[part != 0] - _ONE)

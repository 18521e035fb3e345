"""A state in one 64-bit number: some bits a slot, the common part on top."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hpcore.check.explicit.hashset import Keys
from hpcore.check.result import CheckError
from hpcore.check.tabulated.schema import Tables

Indices = NDArray[np.int64]
MAX_BITS = 63
"""One is left for the hash set's empty places."""


class Packing:
    """How the states of `tables` are packed. Raises CheckError if they do not fit."""

    def __init__(self, tables: Tables) -> None:
        self.slots = len(tables.roles)
        widest = max(len(states) for states in tables.locals.values())
        self.slot_bits = max(1, (widest - 1).bit_length())
        self.common_bits = max(1, (len(tables.commons) - 1).bit_length())
        self.common_at = self.slots * self.slot_bits
        bits = self.common_at + self.common_bits
        if bits > MAX_BITS:
            most = (MAX_BITS - self.common_bits) // self.slot_bits
            raise CheckError(
                f"a state of {self.slots} slots has {bits} bits; the explicit engine has room for "
                f"{MAX_BITS}, so at most {most} slots here. Use --engine symbolic"
            )
        self._slot_mask = np.uint64((1 << self.slot_bits) - 1)

    def pack(self, numbers: Sequence[int]) -> int:
        """The state with these local states, then the common part, as one number."""
        packed = numbers[-1] << self.common_at
        for i, here in enumerate(numbers[:-1]):
            packed |= here << (i * self.slot_bits)
        return packed

    def unpack(self, packed: int) -> tuple[int, ...]:
        """What `pack` was given."""
        mask = (1 << self.slot_bits) - 1
        slots = (packed >> (i * self.slot_bits) & mask for i in range(self.slots))
        return (*slots, packed >> self.common_at)

    def slot(self, states: Keys, index: int) -> Indices:
        """The local states of one slot."""
        found: Indices = (
            (states >> np.uint64(index * self.slot_bits)) & self._slot_mask
        ).astype(np.int64)
        return found

    def common(self, states: Keys) -> Indices:
        """The common parts."""
        found: Indices = (states >> np.uint64(self.common_at)).astype(np.int64)
        return found

    def patch(self, index: int, slot: Indices, common: Indices) -> Keys:
        """What to xor onto a state, so that slot `index` and the common part change by these."""
        moved: Keys = (slot.astype(np.uint64) << np.uint64(index * self.slot_bits)) ^ (
            common.astype(np.uint64) << np.uint64(self.common_at)
        )
        return moved

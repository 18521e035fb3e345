"""A state in one 64-bit number: some bits a slot, the word on top."""

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
        self.word_bits = max(1, (len(tables.words) - 1).bit_length())
        self.word_at = self.slots * self.slot_bits
        bits = self.word_at + self.word_bits
        if bits > MAX_BITS:
            most = (MAX_BITS - self.word_bits) // self.slot_bits
            raise CheckError(
                f"a state of {self.slots} slots has {bits} bits; the explicit engine has room for "
                f"{MAX_BITS}, so at most {most} slots here. Use --engine symbolic"
            )
        self._slot_mask = np.uint64((1 << self.slot_bits) - 1)

    def pack(self, numbers: Sequence[int]) -> int:
        """The state with these local states, then the word, as one number."""
        packed = numbers[-1] << self.word_at
        for i, here in enumerate(numbers[:-1]):
            packed |= here << (i * self.slot_bits)
        return packed

    def unpack(self, packed: int) -> tuple[int, ...]:
        """What `pack` was given."""
        mask = (1 << self.slot_bits) - 1
        slots = (packed >> (i * self.slot_bits) & mask for i in range(self.slots))
        return (*slots, packed >> self.word_at)

    def slot(self, states: Keys, index: int) -> Indices:
        """The local states of one slot."""
        found: Indices = (
            (states >> np.uint64(index * self.slot_bits)) & self._slot_mask
        ).astype(np.int64)
        return found

    def word(self, states: Keys) -> Indices:
        """The words."""
        found: Indices = (states >> np.uint64(self.word_at)).astype(np.int64)
        return found

    def patch(self, index: int, slot: Indices, word: Indices) -> Keys:
        """What to xor onto a state to change slot `index` by `slot` and the word by `word`."""
        moved: Keys = (slot.astype(np.uint64) << np.uint64(index * self.slot_bits)) ^ (
            word.astype(np.uint64) << np.uint64(self.word_at)
        )
        return moved

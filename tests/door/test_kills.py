"""Doors that are killed at random moments, as `python -m tests.door.kills` does it at length."""

from __future__ import annotations

import asyncio

from tests.door.kills import run
from tests.qemu.support import needs_qemu

pytestmark = needs_qemu


def test_doors_that_are_killed_at_random_lose_nothing_of_their_vm() -> None:
    tally = asyncio.run(run(3, seed=3))
    assert len(tally.taken_up) == 3
    assert all(said.startswith("attached in ") for said in tally.taken_up)
    assert tally.events > 30

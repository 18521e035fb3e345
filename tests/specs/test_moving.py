"""A machine that is carried live runs in one QEMU at most: SPIN checks it, and finds wrong ways."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.specs.tools import SPECS, read_spin_states, spin_all, unreached

MODEL = SPECS / "moving.pml"

MUTANTS = {
    "what is given up is not taken back": (
        "there != DEAD -> goes_on = false;         ", "there != DEAD -> skip;",
    ),
    "who has gone on is not asked about it": (
        "     :: has_run ->", "     :: false ->",
    ),
    "it is not waited for how it has ended here": (
        "       (!migrating); ", "       skip; ",
    ),
    "the other one is not ended before it goes on here": (
        "  there = DEAD;\n  if\n  :: spoke", "  if\n  :: spoke",
    ),
    "one that somebody has heard of is taken up": (
        "  :: spoke || here == DEAD -> is = LOST", "  :: here == DEAD -> is = LOST",
    ),
    "it runs on while the last of it is sent": (
        "migrating && here == STILL && !sent ->", "migrating && here != DEAD && !sent ->",
    ),
    "the other one goes on with a part of the machine": (
        "there == WAITS && sent ->", "there == WAITS ->",
    ),
}  # fmt: skip


def test_at_most_one_of_two_qemus_runs_a_machine_that_is_carried(tmp_path: Path) -> None:
    said = spin_all(tmp_path, MODEL.read_text())
    assert "errors: 0" in said, said
    assert read_spin_states(said) > 500
    assert unreached(said) == []


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_wrong_way_to_carry_it_is_found(tmp_path: Path, mutant: str) -> None:
    text = MODEL.read_text()
    old, new = MUTANTS[mutant]
    assert text.count(old) == 1
    said = spin_all(tmp_path, text.replace(old, new))
    assert re.search(r"errors: [1-9]", said), said

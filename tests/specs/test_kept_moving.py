"""A death of hpcore amid a move leaves one machine, of which the log tells truly: SPIN checks it,
and finds wrong ways."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.specs.tools import SPECS, read_spin_states, spin_all, unreached

MODEL = SPECS / "kept_moving.pml"

WAYS = {
    ("-DLIVE=1",): 5938,
    ("-DLIVE=0",): 3826,
    ("-DLIVE=1", "-DQEMUS_DIE=1"): 12647,
    ("-DLIVE=0", "-DQEMUS_DIE=1"): 7858,
}
"""How it is carried, and the states of that as SPIN prints them; specs/README.md has them, too."""

MUTANTS = {
    "the other one is not said to be one that may have it": (
        "  mark_there = true;\n", "  skip;\n",
    ),
    "the one that it was in is given up before the other has it": (
        "  migrating = true;       ", "  mark_here = false; migrating = true;",
    ),
    "who comes back lets the other one go on by itself": (
        "     stop_there();\n     if\n     :: there == WAITS", "     if\n     :: there == WAITS",
    ),
    "the other one is ended, and then given up": (
        "  mark_there = false;\n  d_step { there = NONE; whole = false; goes_on = false }",
        "  d_step { there = NONE; whole = false; goes_on = false };\n  mark_there = false",
    ),
    "the one that waits is taken for the one that has it": (
        "     :: there == WAITS -> give_up_there()", "     :: there == WAITS -> leave_here()",
    ),
    "it is not waited for how the move has ended": (
        "        (!migrating);\n        if\n        :: (here", "        if\n        :: (here",
    ),
    "the move of the one that is left is not given up": (
        "        give_up_migration();                             /* or", "        skip; /* or",
    ),
    "a move that was under way is told as one that failed": (
        "     :: begun && !lost -> end_move()", "     :: begun && !lost -> begun = false",
    ),
    "one that has ended without a word had no machine": (
        "     :: here == COMPLETED -> lost = true\n     :: else -> give_up_there()\n     fi\n  ::",
        "     :: true -> give_up_there()\n     fi\n  ::",
    ),
    "who gives up lets the other one go on by itself": (
        "  :: LIVE && there != NONE -> stop_there()", "  :: LIVE && there != NONE -> skip",
    ),
    "the other one goes on with a part of the machine": (
        "there == WAITS && here == SENT && migrating ->", "there == WAITS && migrating ->",
    ),
}  # fmt: skip


def test_a_death_of_hpcore_amid_a_move_leaves_one_machine(tmp_path: Path) -> None:
    never: set[str] | None = None
    for way, states in WAYS.items():
        said = spin_all(tmp_path, MODEL.read_text(), *way)
        assert "errors: 0" in said, said
        assert read_spin_states(said) + 1 == states
        left = set(unreached(said))
        never = left if never is None else never & left
    assert not never


def test_the_page_has_the_counts_of_a_move() -> None:
    page = (SPECS / "README.md").read_text()
    for way, states in WAYS.items():
        assert f"| {' '.join(f'`{one}`' for one in way)} | {states:,} |" in page


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_wrong_way_to_move_is_found(tmp_path: Path, mutant: str) -> None:
    text = MODEL.read_text()
    old, new = MUTANTS[mutant]
    assert text.count(old) == 1
    said = (spin_all(tmp_path, text.replace(old, new), *way) for way in WAYS)
    assert any(re.search(r"errors: [1-9]", one) for one in said)

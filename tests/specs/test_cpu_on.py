"""The hand-over of CPU_ON inside of QEMU, checked by SPIN; and what SPIN finds when it is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.specs.tools import SPECS, read_spin_states, spin_all, unreached

MODEL = SPECS / "cpu_on.pml"
SMALL = ("-DSTOPS=1", "-DFORCES=1", "-DRESETS=1")
MOVING = (*SMALL, "-DMOVES=1")

MUTANTS = {
    "SUCCESS before the target took the call": (
        "             caller = NOBODY; guest[me] = BEFORE; calls_made[me]--; kick(me)\n"
        "           :: call[me] == CALL_CANCELLED",
        "             guest[me] = SUCCESS\n           :: call[me] == CALL_CANCELLED",
    ),
    "withdrawn without a look whether the target took it": (
        "           :: call[me] == CALL_POSTED ->\n             caller",
        "           :: call[me] == CALL_POSTED || immediate_exit[me] ->\n             caller",
    ),
    "the target does not look again whether it is granted": (
        "  :: caller != NOBODY ->\n    verdict(v);",
        "  :: caller != NOBODY ->\n    v = (powered -> ALREADY_ON : SUCCESS);",
    ),
    "the target does not look again whether it is on": (
        "  :: caller != NOBODY ->\n    verdict(v);",
        "  :: caller != NOBODY ->\n    v = (granted -> SUCCESS : DENIED);",
    ),
    "RUNNABLE later than SUCCESS": (
        "      runnable = true; powered = true;\n      started",
        "      powered = true;\n      started",
    ),
    "a second call takes the place of the first": (
        ":: v == SUCCESS && caller != NOBODY -> v = ON_PENDING", ":: false -> skip",
    ),
    "a reset that waits for nobody": (
        "    out[0] && out[1] && out[2];\n", "    skip;\n",
    ),
    "a caller that does not look whether QEMU wants it": (
        ":: call[me] != CALL_POSTED || immediate_exit[me] -> break",
        ":: call[me] != CALL_POSTED -> break",
    ),
    "a machine that is held at its start alone": (
        "#define held (allowed != counted + 1)", "#define held (allowed == 0)",
    ),
    "hpcore allows what was reset behind its back": (
        "allowed = set_up + 1", "allowed = counted + 1",
    ),
    "a held caller that does not look whether QEMU wants it": (
        "    !held || immediate_exit[me];", "    !held;",
    ),
    "a held target that does not look whether QEMU wants it": (
        ":: !held || immediate_exit[T] -> break", ":: !held -> break",
    ),
}  # fmt: skip

OF_A_MOVE = {
    "the other QEMU grants nothing yet when the vCPUs are loaded": (
        "carrying && !held -> there = granted }", "carrying && !held -> there = false }",
    ),
    "the other QEMU grants all when the vCPUs are loaded": (
        "carrying && !held -> there = granted }", "carrying && !held -> there = true }",
    ),
    "what comes in powered runs": (
        "runnable = runnable && there; powered = runnable;", "powered = runnable;",
    ),
    "a machine moves while a force is under way": (
        "moves > 0 && !carrying && !force_wanted ->", "moves > 0 && !carrying ->",
    ),
    "a force while the machine moves": (
        ":: d_step { !carrying && !granted && !force_wanted && forces > 0 ->",
        ":: d_step { !granted && !force_wanted && forces > 0 ->",
    ),
    "a machine that has come runs without hpcore's word": (
        "counted = 0; allowed = 0; set_up = 0; ", "counted = 0; allowed = 1; set_up = 0; ",
    ),
}


def test_the_hand_over_holds_whatever_comes_between(tmp_path: Path) -> None:
    said = spin_all(tmp_path, MODEL.read_text())
    assert "errors: 0" in said, said
    assert read_spin_states(said) > 1_000_000


def test_the_hand_over_holds_where_the_machine_moves(tmp_path: Path) -> None:
    said = spin_all(tmp_path, MODEL.read_text(), *MOVING)
    assert "errors: 0" in said, said
    assert read_spin_states(said) > 1_000_000
    assert unreached(said) == []


@pytest.mark.parametrize("mutant", [*MUTANTS, *OF_A_MOVE])
def test_a_wrong_hand_over_is_found(tmp_path: Path, mutant: str) -> None:
    text = MODEL.read_text()
    old, new = (MUTANTS | OF_A_MOVE)[mutant]
    assert text.count(old) == 1
    small = SMALL if mutant in MUTANTS else MOVING
    said = spin_all(tmp_path, text.replace(old, new), *small)
    assert re.search(r"errors: [1-9]", said), said

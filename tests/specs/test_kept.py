"""A death of hpcore loses nothing and says nothing twice: SPIN checks it, and finds wrong ways."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.specs.tools import SPECS, read_spin_states, spin_all, unreached

MODEL = SPECS / "kept.pml"

MUTANTS = {
    "a message that was done counts as logged": (
        "(!noted[number] || note[number] > logged ||", "(!noted[number] ||",
    ),
    "reports that are in the log come again": (
        "  skips = logged - reports;", "  skips = 0;",
    ),
    "what waits for an answer counts as done": (
        " || (asked && number >= asked)) ->", ") ->",
    ),
    "what waits is taken in, and not answered": (
        "       :: owes != waiting -> owes = 0 ", "       :: true -> owes = 0 ",
    ),
    "grants stay while what was missed is unknown": (
        "  :: !powered -> revoke() ", "  :: !powered -> skip ",
    ),
    "a step that was done ends behind all that was missed": (
        "&& did <= heard + 1)", "&& heard == missed_to)",
    ),
    "a step that was done is done anew behind all": (
        "(!log_ended && !ended && did > 0", "(false && did > 0",
    ),
    "a grant is written down when it has been given": (
        "       did = heard + 1; begun = true }", "       granted = true; begun = true }",
    ),
    "a store is answered, and then done": (
        "  :: message[n] == EJECT -> shown = false; revoke()",
        "  :: message[n] == EJECT -> shown = false",
    ),
    "what is told from now on is taken in from the page as well": (
        "  missed_to = told; waiting", "  missed_to = MESSAGES; waiting",
    ),
    "a note has what is logged, and not what was reported": (
        "  note[n] = reports; noted[n] = true;", "  note[n] = logged; noted[n] = true;",
    ),
    "the dead grant": (
        "!powered && granted && mode != DEAD ->", "!powered && granted ->",
    ),
}  # fmt: skip


def test_what_the_guest_does_reaches_the_log_once(tmp_path: Path) -> None:
    said = spin_all(tmp_path, MODEL.read_text())
    assert "errors: 0" in said, said
    assert read_spin_states(said) > 500_000
    assert unreached(said) == []


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_wrong_way_to_come_back_is_found(tmp_path: Path, mutant: str) -> None:
    text = MODEL.read_text()
    old, new = MUTANTS[mutant]
    assert text.count(old) == 1
    said = spin_all(tmp_path, text.replace(old, new))
    assert re.search(r"errors: [1-9]", said), said

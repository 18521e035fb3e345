"""Nobody is in KVM_RUN while the VGIC is written: SPIN checks it, and finds wrong gates."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.specs.tools import SPECS, read_spin_states, spin_all, unreached

MODEL = SPECS / "vgic.pml"

MUTANTS = {
    "who comes looks at the gate before it says so": (
        "  d_step { inside[me] = true };\n  if\n  :: !closed -> entered = true",
        "  if\n  :: !closed -> entered = true; inside[me] = true",
    ),
    "nobody is kicked out": (
        "    :: atomic { inside[other] && !immediate_exit[other] -> kick(other) }\n", "",
    ),
    "who turns back at the gate leaves its word behind": (
        "  :: else -> d_step { inside[me] = false }\n", "  :: else -> skip\n",
    ),
    "an access is finished whatever the gate": (
        "      :: !entered -> enter(me)\n", "      :: !entered -> entered = true\n",
    ),
    "the gate stays closed where QEMU wants the thread": (
        "  :: else -> d_step { closed = false }\n", "  :: else -> skip\n",
    ),
    "the gate is opened before the last write": (
        "    d_step { write_registers(me) };\n    d_step { closed = false };",
        "    d_step { closed = false };\n    d_step { write_registers(me) };",
    ),
    "two at once": (
        "atomic { lock == NOBODY -> lock = me }", "d_step { lock = me }",
    ),
    "what was asked meanwhile is taken for done": (
        "done[me] = wanted", "done[me] = asked[me]",
    ),
    "what was asked is not looked at before KVM_RUN": (
        "        serve(me);\n        enter(me);", "        enter(me);",
    ),
}  # fmt: skip


def test_nobody_is_in_kvm_run_while_the_vgic_is_written(tmp_path: Path) -> None:
    said = spin_all(tmp_path, MODEL.read_text())
    assert "errors: 0" in said, said
    assert read_spin_states(said) > 500_000
    assert unreached(said) == []


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_wrong_gate_is_found(tmp_path: Path, mutant: str) -> None:
    text = MODEL.read_text()
    old, new = MUTANTS[mutant]
    assert text.count(old) == 1
    said = spin_all(tmp_path, text.replace(old, new), "-DASKS=2")
    assert re.search(r"errors: [1-9]", said), said

"""The sequences from public reports: each has the verdict and the states that the page says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hpcore.scenario import load
from hpcore.sequence import Answer, FindingKind, Question, check

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "sequences"
ROWS: dict[str, tuple[str, int]] = {
    found[1]: (found[2], int(found[3].replace(",", "")))
    for found in re.finditer(
        r"^\| `([\w-]+)`.*?\| [^|]* \| (\*\*fails\*\*|holds)[^|]* \| ([\d,]+) \|",
        (ROOT / "docs" / "sequences.md").read_text(), re.MULTILINE,
    )
}  # fmt: skip
RACES = {"plug-while-migrating"}


def answer_of(name: str) -> Answer:
    return check(Question.of(load(str(FOLDER / f"{name}.yaml")), race=name in RACES))


def test_every_sequence_is_on_the_page() -> None:
    assert set(ROWS) == {path.stem for path in FOLDER.glob("*.yaml")}
    assert len(ROWS) >= 5


@pytest.mark.parametrize("name", ROWS)
def test_a_sequence_has_the_verdict_and_the_states_of_the_page(name: str) -> None:
    verdict, states = ROWS[name]
    answer = answer_of(name)
    assert (answer.ok, answer.states) == (verdict == "holds", states)
    assert answer.completed


@pytest.mark.parametrize(
    ("name", "step", "why"),
    [
        ("smaller-twice", 4, "already in the process of unplug"),
        ("smaller-twice", 4, "Device 'vcpu1' not found"),
        ("resize-at-once", 4, "with arch-id 1 exist"),
        ("lost-in-early-boot", 5, "the guest did not answer in time"),
        ("plug-while-migrating", 3, "the machine is being migrated"),
    ],
)
def test_a_sequence_fails_where_the_page_says(name: str, step: int, why: str) -> None:
    assert any(
        f.kind is FindingKind.FAILS and f.line is not None and f.line.number == step
        and why in f.why for f in answer_of(name).findings
    )  # fmt: skip

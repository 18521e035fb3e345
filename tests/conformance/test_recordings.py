"""Our registers answer every step of the recordings as QEMU did."""

from __future__ import annotations

import pytest

from hpcore.platform import virt
from tests.conformance.recording import Answer, ReplayedGed, Step, differences, load

CASES = load("cpuhp_loongarch64_virt")


def test_the_recordings_are_whole() -> None:
    assert len(CASES) == 38
    assert sum(map(len, CASES)) == 1118
    assert [len(case) for case in load("arm_virt_ged_dimm")] == [36]
    for case in CASES:
        assert [step.step for step in case] == list(range(len(case)))


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case[0].case))
def test_the_block_and_the_ged_answer_as_loongarch64_virts(case: tuple[Step, ...]) -> None:
    found = list(differences(case))
    assert not found, "\n".join(found)


def test_the_event_register_answers_as_arm_virts_ged() -> None:
    (case,) = load("arm_virt_ged_dimm")
    ged, answered = ReplayedGed(), 0
    for step in case:
        ours = ged.answer(step)
        if ours is not None:
            answered += 1
            assert ours == Answer(step.result, step.irq, step.events), str(step)
    assert answered == 13


def test_our_ged_is_where_arm_virts_is() -> None:
    assert virt.GED_BASE == ReplayedGed.GED
    assert virt.ACPI_GED_GSI == 32 + ReplayedGed.LINE

"""What is said of a target count that was reached, or was not: every part, to the last word."""

from __future__ import annotations

import pytest

from hpcore.run.scale_plan import Change, Scaled


def plug(*slots: int) -> tuple[Change, ...]:
    return tuple(Change(slot, f"cpu{slot}", True) for slot in slots)


def unplug(*slots: int) -> tuple[Change, ...]:
    return tuple(Change(slot, f"cpu{slot}", False) for slot in slots)


@pytest.mark.parametrize(
    ("scaled", "says"),
    [
        (Scaled(4, 4), "4 vCPUs are enabled already"),
        (Scaled(1, 1), "1 vCPU is enabled already"),
        (Scaled(4, 3), "nothing more to begin; 3 vCPUs are enabled now"),
        (Scaled(2, 1), "nothing more to begin; 1 vCPU is enabled now"),
        (Scaled(4, 4, done=plug(3, 2)), "plugged cpu2, cpu3"),
        (Scaled(2, 2, done=unplug(2, 3)), "unplugged cpu3, cpu2"),
        (Scaled(4, 3, pending=plug(2) + unplug(3)), "accepted: plug cpu2, unplug cpu3"),
        (Scaled(4, 4, done=unplug(5) + plug(1), pending=plug(2)),
         "plugged cpu1; unplugged cpu5; accepted: plug cpu2"),
    ],
)  # fmt: skip
def test_what_was_done_for_a_target_is_said(scaled: Scaled, says: str) -> None:
    assert str(scaled) == says


@pytest.mark.parametrize(
    ("scaled", "says"),
    [
        (Scaled(4, 1, why="it was lost"),
         "scale to 4: it was lost. Done: nothing. 1 vCPU is enabled now"),
        (Scaled(4, 2, why="no", failed=((Change(2, "a", True), "not told here"),)),
         "scale to 4: no. Done: nothing. Failed: plug a. 2 vCPUs are enabled now"),
        (Scaled(9, 3, why="no", done=plug(2), pending=plug(3), not_begun=plug(4, 5)),
         "scale to 9: no. Done: plugged cpu2; accepted: plug cpu3. Not begun: plug cpu4, plug "
         "cpu5. 3 vCPUs are enabled now"),
        (Scaled(9, 2, why="no", done=plug(2, 3), undone=plug(3, 2)),
         "scale to 9: no. Done: plugged cpu2, cpu3. Taken back: plug cpu3, plug cpu2. 2 vCPUs are "
         "enabled now"),
        (Scaled(9, 4, why="no", done=plug(2, 3, 4), not_undone=tuple(
            zip(plug(4, 3, 2), ("busy", "refused", "busy"), strict=True))),
         "scale to 9: no. Done: plugged cpu2, cpu3, cpu4. Not taken back: plug cpu4, plug cpu3, "
         "plug cpu2 (busy; refused). 4 vCPUs are enabled now"),
    ],
)  # fmt: skip
def test_why_a_target_was_not_reached_is_said_with_what_became_of_each_change(
    scaled: Scaled, says: str
) -> None:
    assert str(scaled) == says


def test_what_takes_a_change_back_is_its_opposite() -> None:
    assert plug(2)[0].reverse == unplug(2)[0]
    assert unplug(2)[0].reverse == plug(2)[0]

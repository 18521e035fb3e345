"""By whose protocol an import goes on, and by whose it is judged.

An import follows what QEMU did, by QEMU's own ways: the protocol that judges without the habits
that QEMU's register block does not have (hw/acpi/cpu.c). What QEMU did is then held against the
protocol that judges, and against its promises.
"""

from __future__ import annotations

import attrs

from hpcore.model.revision import HPCORE, LONGEST_NAME, Change, Revision
from hpcore.model.rules import Habit

LACKING: tuple[Habit, ...] = (
    Habit.REMOVE_WAITS_FOR_INSERT,
    Habit.DISABLE_CLEARS_EVENTS,
    Habit.SCAN_END_REARMS_GED,
    Habit.RESET_DROPS_PENDING,
    Habit.RESET_ENDS_COMMANDS,
    Habit.GUEST_REFUSAL_ENDS_UNPLUG,
    Habit.PLUG_WAITS_FOR_CONFIRMATION,
    Habit.EJECT_WAITS_FOR_MIGRATION,
)
"""What hpcore does of its own accord, and QEMU does not."""

IMPORTED = "imported"
"""What the header of an imported log has in the place of an accelerator."""


def followed(revision: Revision) -> Revision:
    """What QEMU does that runs by `revision`: the same protocol, without those habits.

    Its promises are the same; QEMU's ways break some of them, which is what is looked for.
    """
    lacking = Change(without=tuple(str(habit) for habit in LACKING))
    return attrs.evolve(
        revision,
        name=f"qemu-{revision.name}"[:LONGEST_NAME],
        says=f"What QEMU does of the protocol {revision.name}.",
        protocol=revision.protocol.then(lacking),
        bugs=(),
    )


STOCK = attrs.evolve(
    followed(HPCORE), name="stock",
    says="What a stock QEMU does, with x86 and loongarch64: it lacks some habits of hpcore's.",
)  # fmt: skip
"""An eject that nobody asked for, of a cold-booted vCPU too, is carried out by it: these guards
are switched off when they are met, so that each is told of."""

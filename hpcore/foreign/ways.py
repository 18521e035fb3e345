"""By whose protocol an import goes on, and by whose it is judged.

An import follows what QEMU did, by QEMU's own ways: hpcore's protocol without the habits that
QEMU's register block does not have (hw/acpi/cpu.c). What QEMU did is then held against the rules
that it is to be judged by.
"""

from __future__ import annotations

from functools import reduce

from hpcore.model.rules import RULES, Habit, Rules

LACKING: tuple[Habit, ...] = (
    Habit.REMOVE_WAITS_FOR_INSERT,
    Habit.DISABLE_CLEARS_EVENTS,
    Habit.SCAN_END_REARMS_GED,
    Habit.RESET_DROPS_PENDING,
    Habit.RESET_ENDS_COMMANDS,
    Habit.GUEST_REFUSAL_ENDS_UNPLUG,
    Habit.PLUG_WAITS_FOR_CONFIRMATION,
)
"""What hpcore does of its own accord, and QEMU does not."""

STOCK: Rules = reduce(Rules.without, (str(habit) for habit in LACKING), RULES)
"""What a stock QEMU does, with x86 and loongarch64: its habits, and hpcore's guards.

An eject that nobody asked for, of a cold-booted vCPU too, is carried out by it: these guards
are switched off when they are met, so that each is told of.
"""

BY_NAME = {"hpcore": RULES, "stock": STOCK}
"""The rules that have a name."""

IMPORTED = "imported"
"""What the header of an imported log has in the place of an accelerator."""


def followed(accelerator: str) -> Rules:
    """The rules by which the events of a log were made: QEMU's ways in an imported one."""
    return STOCK if accelerator == IMPORTED else RULES

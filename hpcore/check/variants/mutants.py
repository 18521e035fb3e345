"""Protocols that are wrong in one place: what the checker must find.

A mutant is the real rules with one guard or habit off, or two steps swapped. Every guard
and habit and every pair of neighbours is one; so a rule that keeps nothing shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from attrs import field, frozen

from hpcore.check.world.environment import Environment
from hpcore.model.effects import Step
from hpcore.model.guards import SWITCHES
from hpcore.model.rules import BUILD, RULES, TEARDOWN, Habit, Rules

SECOND_LINES: Mapping[str, str] = {
    "hotplug_supported": "a capped machine has no vacant slot",
    "eject_not_cold_booted": "a cold-booted vCPU is never asked for, so it was not requested",
    "eject_of_enabled": "an ejecting slot is not asked for any more",
    "reset_taken": "a step of the machine is under way whenever it was booted and can't be reset",
    "resume_taken": "a machine that was booted is paused only while it can be resumed",
    "id_unused": "two slots of one name are still two slots",
}
"""Rules that another rule stands behind, or that are there for their words; and why."""

_ASKS: Mapping[str, Mapping[str, Any]] = {
    "not_ending": {"power_off": True},
    "not_migrating": {"migration": True},
    "migration_quiet": {"migration": True},
    "migration_keeps_hotpluggable": {"migration": True},
    "eject_waits_for_migration": {"migration": True},
    "machine_idle": {"migration": True},
    "guest_runs": {"reset": True, "migration": True},
    "reset_drops_pending": {"reset": True},
    "reset_keeps_plugged": {"reset": True},
    "reset_ends_commands": {"reset": True},
    "failed_plug_is_undone": {"faults": 1},
    "bind_matches_affinity": {"faults": 1},
    "outcome_expected": {"faults": 1},
    "plug_finished": {"faults": 1},
    "machine_runs": {"migration": True, "power_off": True, "power_on": True},
    "machine_not_off": {"power_off": True, "power_on": True},
    "machine_up": {"power_off": True, "power_on": True},
    "reset_first": {"power_off": True, "power_on": True},
    "restart_waits_for_resume": {"reset": True, "pause": True},
    "power_off_ends_commands": {"power_off": True, "power_on": True},
}
"""What must be able to happen for the rule to matter."""


@frozen
class Mutant:
    """A protocol that differs from the real one.

    `clean` says why nothing may be found, where that is so. `caught_by` are the invariants
    one of which must catch it; empty: any. `peer` is the bug of the research branch that
    it stands for, in words.
    """

    name: str
    rules: Rules
    clean: str | None = None
    caught_by: frozenset[str] = frozenset()
    peer: str | None = None
    asks: Mapping[str, Any] = field(factory=dict, hash=False)

    def within(self, environment: Environment) -> Environment:
        """`environment`, and in it what must be able to happen for the mutant to matter."""
        wider = {
            key: max(value, getattr(environment, key)) for key, value in self.asks.items()
        }
        slots = max(environment.slots, environment.boot + 1)
        return attrs.evolve(environment, slots=slots, **wider)

    def smallest(self) -> Environment:
        """The least in which it can be told from the real protocol."""
        least = Environment(
            slots=2, boot=1, faults=0, reset=False, migration=False, power_off=False
        )
        return self.within(least)


def _swapped(order: tuple[Step, ...], i: int) -> tuple[Step, ...]:
    out = list(order)
    out[i], out[i + 1] = out[i + 1], out[i]
    return tuple(out)


def _switched_off() -> list[Mutant]:
    return [
        Mutant(name, RULES.without(name), SECOND_LINES.get(name), asks=_ASKS.get(name, {}))
        for name in dict.fromkeys((*SWITCHES, *map(str, Habit)))
    ]


def _reordered() -> list[Mutant]:
    out = []
    for i in range(len(BUILD) - 1):
        name = f"{BUILD[i + 1]}_before_{BUILD[i]}"
        out.append(Mutant(name, Rules(build=_swapped(BUILD, i))))
    for i in range(len(TEARDOWN) - 1):
        name = f"{TEARDOWN[i + 1]}_before_{TEARDOWN[i]}"
        out.append(Mutant(name, Rules(teardown=_swapped(TEARDOWN, i))))
    return out


MUTANTS: Mapping[str, Mutant] = {m.name: m for m in (*_switched_off(), *_reordered())}


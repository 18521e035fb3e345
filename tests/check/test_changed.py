"""Each of the invariants of decisions and events has a wrong protocol that it alone finds."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from typing import Any

import pytest

from hpcore.check import prove
from hpcore.check.properties import PROPERTIES
from hpcore.check.variants.mutants import MUTANTS
from hpcore.check.variants.noticed import without
from hpcore.model.answers import ANSWERS
from hpcore.model.consequences import CONSEQUENCES
from tests.mutation.mutants import ROOT

CALLS, EVENTS = "hpcore/model/calls.py", "hpcore/model/events.py"
EVOLVE, OUTCOMES = "hpcore/model/evolve.py", "hpcore/model/outcomes.py"
COMMANDS, PROGRESS = "hpcore/model/commands.py", "hpcore/model/progress.py"
STATES, DECIDE = "hpcore/model/states.py", "hpcore/model/decide.py"

Changes = dict[str, tuple[str, str, str, str, dict[str, Any]]]
CHANGES: Changes = {
    "a denied CPU_ON is answered as granted": (
        "cpu_on_answered", EVENTS,
        "event.caller, False, event.status", "event.caller, True, event.status", {},
    ),
    "what is on is answered with DENIED": (
        "cpu_on_answered", CALLS,
        "PsciStatus.ALREADY_ON if on else", "PsciStatus.DENIED if on else", {},
    ),
    "a refused eject is not taken back": (
        "effects_follow", EVENTS, "return (Reassert(slot),)", "return ()", {},
    ),
    "the GED is not raised again": (
        "effects_follow", EVENTS, "return (RaiseGed(),)", "return ()", {},
    ),
    "START is told of no enabled vCPU": (
        "effects_follow", EVENTS,
        "RunMachineStep(machine_step, enabled)", "RunMachineStep(machine_step)", {},
    ),
    "a plug completes without its device check": (
        "success_is_true", PROGRESS,
        "(booting and step is Step.NOTIFY_INSERT)", "step is Step.NOTIFY_INSERT", {},
    ),
    "a power-off ends a device_del whose vCPU is on its way out": (
        "failure_is_true", CALLS,
        "slot.command is Owed.UNPLUG and slot.lifecycle is not SlotState.EJECTING",
        "slot.command is Owed.UNPLUG", {"power_on": True},
    ),
    "a machine that ends tells of its commands without their ids": (
        "failure_is_true", PROGRESS, 'id_ = slot.id or ""', 'id_ = ""', {"faults": 1},
    ),
    "a refusal withdraws what the guest has yet to take": (
        "request_withdrawn_whole", CALLS, "still_asked=slot.remove", "still_asked=False", {},
    ),
    "a refusal withdraws nothing": (
        "request_ends_with_a_word", CALLS, "still_asked=slot.remove", "still_asked=True", {},
    ),
    "a pause is not begun": (
        "commands_taken", COMMANDS, "draft.emit(ev.MachineStepBegun(MachineStep.PAUSE))", "pass",
        {"pause": True},
    ),
    "a CPU_OFF is not heard": (
        "guest_heard", CALLS, "draft.emit(ev.CpuWentOff(s.slot))", "pass", {},
    ),
    "a failed pause ends the machine": (
        "outcomes_taken", OUTCOMES, "not in (MachineStep.PAUSE, MachineStep.RESUME)",
        "not in (MachineStep.RESUME,)", {"pause": True, "faults": 1},
    ),
    "_STA says enabled of what is parked": (
        "tables_say_what_is", STATES, "STA_ENABLED if slot.enabled else", "STA_ENABLED or", {},
    ),
    "a start powers no vCPU on": (
        "boot_vcpu_alone", EVOLVE, "return _started(slot, rules) if boot else slot",
        "return slot", {},
    ),
    "DEVICE_DELETED is told of a plug that failed": (
        "ends_as_it_began", OUTCOMES, "if leaving.command in (Owed.UNPLUG, Owed.REVOKE):",
        "if leaving:", {"faults": 1},
    ),
    "what is disabled counts as off": (
        "facts_have_causes", EVOLVE, "slot = changed(slot, enabled=False)\n    if Habit.DIS",
        "slot = changed(slot, enabled=False, powered=False)\n    if Habit.DIS", {},
    ),
    "a plug before the boot is begun at once": (
        "realized_as_new", PROGRESS, "shared.phase in (Phase.DEFINED, Phase.CREATED) or shared",
        "shared.phase is Phase.CREATED or shared", {"plugged": 1},
    ),
    "a plug is begun before the GIC is there": (
        "untouched_before_boot", PROGRESS,
        "shared.phase in (Phase.DEFINED, Phase.CREATED) or shared",
        "shared.phase is Phase.DEFINED or shared", {"before_boot": True},
    ),
    "a migration that has failed goes on": (
        "machine_follows_events", EVOLVE,
        "migrating=shared.migrating and step not in CARRYING)", "migrating=shared.migrating)",
        {"migration": True, "faults": 1},
    ),
    "the GIC is initialised in the place of the vCPUs' making": (
        "gic_sized_for_all", COMMANDS, "draft.emit(ev.MachineStepBegun(MachineStep.CREATE_VCPUS))",
        "draft.emit(ev.MachineStepBegun(MachineStep.INIT_GIC))", {},
    ),
    "a reset before the boot is refused": (
        "commands_taken", COMMANDS,
        "if shared.phase is Phase.DEFINED and shared.step is None:\n        return  # QEMU's suc",
        "if False:\n        return  # QEMU's suc", {"reset": True, "before_boot": True},
    ),
    "any vCPU is taken back before the boot": (
        "ends_as_it_began", COMMANDS,
        "shared.phase is Phase.DEFINED and draft.slot(index).command is Owed.PLUG",
        "shared.phase is Phase.DEFINED", {"before_boot": True},
    ),
    "a guest's silence that nobody minds is not answered": (
        "followed_or_refused", OUTCOMES,
        "draft.refuse(s, guards.WAITS_FOR_GUEST, s.slot, i=s.slot)", "pass", {},
    ),
    "a resume before the boot is not answered": (
        "followed_or_refused", COMMANDS,
        "not shared.paused and (shared.phase is not Phase.DEFINED or shared.step is not None)",
        "not shared.paused", {"pause": True, "before_boot": True},
    ),
    "a driver that there is not is not answered": (
        "followed_or_refused", COMMANDS,
        "draft.refuse(s, reason, driver=s.driver, expected=config.driver)", "pass", {},
    ),
    "a driver that there is not is taken": (
        "followed_or_refused", COMMANDS, "s.driver is not None and s.driver != config.driver",
        "False", {},
    ),
    "a failure that nobody waits for ends the machine": (
        "followed_or_refused", OUTCOMES,
        "_not_under_way(draft, s)\n        return\n    error = plain",
        "lose(draft, s.error)\n        return\n    error = plain", {"faults": 1},
    ),
    "what has ended says nothing": (
        "followed_or_refused", DECIDE,
        "draft.refuse(stimulus, guards.MACHINE_ENDED, phase=state.shared.phase)", "pass", {},
    ),
    "the id of what failed to be plugged is kept": (
        "events_have_effect", EVOLVE, "return changed(slot, id=None)", "return slot",
        {"faults": 1},
    ),
    "vCPU 0 starts before what was plugged is there": (
        "starts_in_order", PROGRESS,
        "if any(s.command is Owed.PLUG and not s.enabled for s in slots):", "if False:",
        {"plugged": 1},
    ),
    "vCPU 0 starts before all are enabled that boot": (
        "starts_in_order", PROGRESS, "if all(s.enabled and s.command is Owed.NONE for s in slots",
        "if any(s.enabled and s.command is Owed.NONE for s in slots", {"boot": 2},
    ),
    "a deferred vCPU has its thread once it is realized": (
        "no_thread_before_on", EVOLVE,
        "after = evolve_slot(before, event, boot=slot == BOOT_VCPU, rules=rules)",
        "after = evolve_slot(before, event, boot=slot == BOOT_VCPU)", {"rules": "deferred"},
    ),
}  # fmt: skip


@cache
def found() -> dict[str, str]:
    asked = [change[1:] for change in CHANGES.values()]
    done = subprocess.run(
        [sys.executable, "-m", "tests.check.changed"], input=json.dumps(asked), text=True,
        cwd=ROOT, capture_output=True, timeout=900, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(zip(CHANGES, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("change", CHANGES)
def test_a_wrong_protocol_is_found_by_one_invariant_alone(change: str) -> None:
    assert found()[change] == CHANGES[change][0]


@pytest.mark.parametrize(
    ("habit", "alone"),
    [
        ("plug_waits_for_confirmation", "eject_confirmed_first"),
        ("restart_waits_for_resume", "starts_in_order"),
    ],
)
def test_a_habit_that_is_left_out_is_found_by_one_invariant_alone(habit: str, alone: str) -> None:
    mutant = MUTANTS[habit]
    assert prove(mutant.smallest(), mutant.rules).violations == (alone,)


@pytest.mark.parametrize("order", ["release_before_stop", "stop_before_unbind"])
def test_what_stands_on_what_is_seen_where_the_order_is_left_out(order: str) -> None:
    """No event alone takes a vCPU's base away: an order must be wrong, which is said first."""
    mutant = MUTANTS[order]
    asked = without(PROPERTIES, ["eject_in_order"])
    result = prove(mutant.smallest(), mutant.rules, properties=asked)
    assert result.violations == ("nothing_without_base",)


def test_each_of_them_has_a_wrong_protocol_of_its_own() -> None:
    finds = {change[0] for change in CHANGES.values()}
    assert {p.name for p in (*CONSEQUENCES, *ANSWERS)} - finds == {"nothing_without_base"}

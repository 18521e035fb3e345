"""Each of the invariants of decisions and events has a wrong protocol that it alone finds."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from typing import Any

import pytest

from tests.mutation.mutants import ROOT

CALLS, EVENTS = "hpcore/model/calls.py", "hpcore/model/events.py"
EVOLVE, OUTCOMES = "hpcore/model/evolve.py", "hpcore/model/outcomes.py"
COMMANDS, PROGRESS = "hpcore/model/commands.py", "hpcore/model/progress.py"
STATES = "hpcore/model/states.py"

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
    "the id of what failed to be plugged is kept": (
        "events_have_effect", EVOLVE, "return changed(slot, id=None)", "return slot",
        {"faults": 1},
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

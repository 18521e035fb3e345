"""What events, stimuli, effects and the parts of a state are where nothing is said."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import pytest

from hpcore.model.acpi import OstSource, OstStatus
from hpcore.model.config import MachineConfig
from hpcore.model.effects import AnswerCpuOn, RunMachineStep
from hpcore.model.events import EVENTS
from hpcore.model.machines import GiccState, Phase, SlotState
from hpcore.model.states import Owed, Shared, Slot
from hpcore.model.stimuli import STIMULI, OstReported


def defaults(cls: type) -> dict[str, Any]:
    """The fields of a class that need not be given, and what they are then."""
    return {a.name: a.default for a in attrs.fields(cls) if a.default is not attrs.NOTHING}


def of_registry(registry: Mapping[str, type]) -> dict[str, dict[str, Any]]:
    return {name: found for name, cls in registry.items() if (found := defaults(cls))}


def test_what_an_event_says_where_nothing_is_said() -> None:
    assert of_registry(EVENTS) == {
        "refused": {"slot": None},
        "machine_step_begun": {"enabled": ()},
        "step_done": {"affinity": None},
        "unplug_accepted": {"forced": False},
        "unplug_failed": {"still_asked": False},
        "cpu_on_granted": {"entry": 0, "context": 0, "delegated": False},
        "cpu_on_denied": {"delegated": False},
    }


def test_what_a_stimulus_says_where_nothing_is_said() -> None:
    assert of_registry(STIMULI) == {
        "device_add": {"props": (), "driver": None},
        "device_del": {"force": False},
        "cpu_on_called": {"caller": 0, "entry": 0, "context": 0, "verdict": None},
        "save": {"file": ""},
        "restored": {"file": ""},
        "done": {"affinity": None},
        "failed": {"error": "failed"},
        "machine_failed": {"error": "failed"},
    }


def test_what_an_effect_asks_for_where_nothing_is_said() -> None:
    assert defaults(RunMachineStep) == {"enabled": ()}
    assert defaults(AnswerCpuOn) == {"entry": 0, "context": 0}


def test_what_a_machine_is_before_anything_happens() -> None:
    slot = Slot(cold=False)
    named = {
        "cold": False, "lifecycle": SlotState.PARKED, "gicc": GiccState.UNBOUND,
        "command": Owed.NONE, "step": None, "id": None, "affinity": None,
    }  # fmt: skip
    found = attrs.asdict(slot)
    assert {name: found[name] for name in named} == named
    assert not any(value for name, value in found.items() if name not in named)
    shared = attrs.asdict(Shared())
    assert shared.pop("phase") is Phase.DEFINED
    assert not any(shared.values())
    assert defaults(MachineConfig) == {
        "cpu_model": "cortex-a57", "gic_version": 3, "memory": 1024, "no_hotplug": None,
    }  # fmt: skip


@pytest.mark.parametrize("source", OstSource)
@pytest.mark.parametrize("status", OstStatus)
def test_numbers_of_acpi_by_their_names_are_plain_numbers_once_they_are_reported(
    source: OstSource, status: OstStatus
) -> None:
    reported = OstReported(1, source, status)
    assert (reported.source, reported.status) == (source, status)
    assert type(reported.source) is int
    assert type(reported.status) is int

"""What must be able to happen, or the search explored nothing: the *sometimes* properties.

A property is not asked of an environment whose options leave it out by name: a reset
without resets, a plug without slots to plug. Anything else that cannot happen fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from attrs import frozen

from hpcore.check.world.environment import Environment
from hpcore.check.world.guests import Guest
from hpcore.model import events as ev
from hpcore.model.psci import PsciStatus


@frozen
class Sometimes:
    """`shows` says whether an event is it; `possible` whether an environment can have it."""

    name: str
    says: str
    shows: Callable[[ev.Event], bool]
    possible: Callable[[Environment], bool]


def _has_hot(e: Environment) -> bool:
    return e.slots > e.boot


SOMETIMES = (
    Sometimes(
        "a_plug_completes", "A device_add ends enabled and notified.",
        lambda event: isinstance(event, ev.PlugCompleted), _has_hot,
    ),
    Sometimes(
        "an_eject_completes", "A device_del ends in DEVICE_DELETED.",
        lambda event: isinstance(event, ev.UnplugCompleted), _has_hot,
    ),
    Sometimes(
        "the_guest_ejects", "The guest gives a vCPU back by _EJ0.",
        lambda event: isinstance(event, ev.EjectAccepted), _has_hot,
    ),
    Sometimes(
        "a_command_is_refused", "A command is answered with a refusal.",
        lambda event: isinstance(event, ev.Refused) and event.stimulus == "DeviceAdd",
        lambda e: True,
    ),
    Sometimes(
        "cpu_on_is_denied", "A CPU_ON is answered with DENIED.",
        lambda event: isinstance(event, ev.CpuOnDenied) and event.status == PsciStatus.DENIED,
        lambda e: e.slots > e.boot and e.guest is not Guest.LEGACY,
    ),
    Sometimes(
        "the_machine_is_reset", "The machine is reset.",
        lambda event: isinstance(event, ev.MachineWasReset), lambda e: e.reset,
    ),
    Sometimes(
        "the_machine_migrates", "A migration completes.",
        lambda event: isinstance(event, ev.MachineStepDone) and event.step == "migrate",
        lambda e: e.migration,
    ),
    Sometimes(
        "an_effect_fails", "An effect on a slot fails, and the machine goes on.",
        lambda event: isinstance(event, ev.StepFailed), lambda e: _has_hot(e) and e.faults > 0,
    ),
)  # fmt: skip


def shown_by(events: tuple[ev.Event, ...]) -> Iterator[str]:
    """The sometimes properties that a decision's events show."""
    for event in events:
        for rule in SOMETIMES:
            if rule.shows(event):
                yield rule.name

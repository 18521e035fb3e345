"""Accepted commands by themselves: which events say what of them, and when they are over."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hpcore.model import events as ev
from hpcore.model import stimuli as st
from hpcore.model.config import MachineConfig
from hpcore.model.effects import MachineStep, Step
from hpcore.model.machines import Phase
from hpcore.model.states import initial
from hpcore.run.commands import (
    Asked,
    CommandFailed,
    Ends,
    MachineCommand,
    NeverRegistered,
    Plug,
    PlugStage,
    Unplug,
    begun_by,
)
from hpcore.run.controller import Controller
from hpcore.run.courses import LAST_STEP
from tests.run.test_controller import SOON, play
from tests.support.paper import Behaviour

NOBODY: Any = None
"""The controller of commands that nobody waits for."""

COMPLETED, REGISTERED = ev.PlugCompleted(2, "core2"), ev.Registered(2)
PLUG_FAILED = ev.PlugFailed(2, "core2", "no")
EJECTED = ev.UnplugCompleted(2, "core2")


def plug() -> Plug:
    return Plug(Asked(NOBODY, SOON), 2, "core2")


def unplug() -> Unplug:
    return Unplug(Asked(NOBODY, SOON), 2, "core2")


def follow(command: Plug | Unplug | MachineCommand, *events: ev.Event) -> Ends:
    ends = Ends()
    ends.add(command)
    for event in events:
        ends.follow(event)
    return ends


def test_a_plug_comes_to_its_stages_one_by_one() -> None:
    command = plug()
    ends = follow(command)
    seen = [(command.stage, command.over)]
    for event in (COMPLETED, REGISTERED):
        ends.follow(event)
        seen.append((command.stage, command.over))
    assert seen == [
        (PlugStage.ACCEPTED, False), (PlugStage.NOTIFIED, False), (PlugStage.REGISTERED, True),
    ]  # fmt: skip


def test_a_guest_may_register_a_vcpu_before_the_plug_has_ended() -> None:
    command = plug()
    ends = follow(command, REGISTERED)
    assert (command.stage, command.over) == (PlugStage.ACCEPTED, False)
    ends.follow(COMPLETED)
    assert (command.stage, command.over) == (PlugStage.REGISTERED, True)


def test_what_befalls_the_slot_later_is_told_to_no_command_that_is_over() -> None:
    command = plug()
    follow(command, COMPLETED, REGISTERED, PLUG_FAILED)
    assert command.failure is None
    failed = plug()
    follow(failed, PLUG_FAILED, COMPLETED, REGISTERED)
    assert (failed.stage, failed.notified_after) == (PlugStage.FAILED, None)
    taken = unplug()
    follow(taken, EJECTED, ev.UnplugFailed(2, "core2", "no"))
    assert (taken.over, taken.failure) == (True, None)


class Now:
    """A controller at which whatever is waited for holds, or never will."""

    def __init__(self) -> None:
        self.state = initial(MachineConfig.of(cpus=2, maxcpus=4))

    async def until(self, holds: Any, seconds: float, waiting_for: str) -> None:
        assert holds(self.state), waiting_for


def waited_for(command: Plug) -> bool:
    command._asked = Asked(cast(Controller, Now()), SOON)
    return asyncio.run(command.registered())


def test_a_vcpu_that_was_registered_and_then_unplugged_was_registered() -> None:
    command = plug()
    follow(command, REGISTERED, ev.EjectAccepted(2), COMPLETED)
    assert waited_for(command)


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (ev.EjectAccepted(2), "vCPU 2 was unplugged before the guest had registered it"),
        (ev.OstReceived(2, 1, 1), "vCPU 2 is plugged, but "),
    ],
)
def test_a_vcpu_that_the_guest_will_not_register_is_not_waited_for(
    event: ev.Event, why: str
) -> None:
    command = plug()
    ends = follow(command, COMPLETED, event)
    assert command.over
    with pytest.raises(NeverRegistered, match=why):
        waited_for(command)
    ends.follow(REGISTERED)
    assert command.registered_after is None


def test_a_plug_that_failed_raises_its_event() -> None:
    command = plug()
    follow(command, PLUG_FAILED)
    with pytest.raises(CommandFailed) as error:
        waited_for(command)
    assert error.value.event == PLUG_FAILED


def test_a_command_hears_of_its_own_slot_and_of_the_whole_machine() -> None:
    command = plug()
    ends = follow(command, ev.PlugCompleted(3, "core3"))
    assert command.notified_after is None
    ends.follow(ev.MachineStepBegun(MachineStep.RESTART, (0, 1)))
    assert command.registered_after is None
    ends.follow(ev.MachineStepBegun(MachineStep.RESTART, (0, 1, 2)))
    assert command.registered_after is not None


@pytest.mark.parametrize("step", [MachineStep.RESUME, MachineStep.START])
def test_a_command_on_the_machine_ends_with_its_own_last_step(step: MachineStep) -> None:
    begun = (ev.MachineStepBegun(MachineStep.PAUSE),)
    controller: Any = SimpleNamespace(state=initial(MachineConfig.of()))
    command = begun_by(Asked(controller, SOON), st.Pause(), begun)
    assert isinstance(command, MachineCommand)
    ends = follow(command, ev.MachineStepDone(step), ev.MachineStepFailed(step, "no"))
    assert not command.over
    ends.follow(ev.MachineStepDone(MachineStep.PAUSE))
    assert command.end == ev.MachineStepDone(MachineStep.PAUSE)


@pytest.mark.parametrize(
    ("command", "step"),
    [
        (st.Boot(), MachineStep.START), (st.Reset(), MachineStep.RESTART),
        (st.Pause(), MachineStep.PAUSE), (st.Resume(), MachineStep.RESUME),
        (st.Migrate(), MachineStep.MIGRATE),
    ],
)  # fmt: skip
def test_each_command_on_the_machine_has_the_step_that_it_ends_with(
    command: Any, step: MachineStep
) -> None:
    assert LAST_STEP[type(command)] is step


def test_a_command_knows_how_long_ago_it_was_asked_for() -> None:
    asked = Asked(NOBODY, SOON)
    assert 0 <= asked.ago < SOON
    assert Asked(NOBODY, SOON, at=asked.at - 7).ago >= 7


@pytest.mark.parametrize(
    ("behaviour", "command", "waiting_for"),
    [
        (Behaviour(hangs={(Step.BIND, 2)}), st.DeviceAdd("core2", (("core-id", 2),)), "the plug"),
        (Behaviour(deaf_to={MachineStep.PAUSE}), st.Pause(), "the pause"),
    ],
)
def test_who_waits_too_long_is_told_for_what(
    behaviour: Behaviour, command: Any, waiting_for: str
) -> None:
    said: list[str] = []

    async def script(c: Controller) -> None:
        await c.submit(st.Boot())
        await c.until(lambda s: s.shared.phase is Phase.RUNNING, SOON, "boot")
        begun = begun_by(Asked(c, 0.1), command, await c.submit(command))
        try:
            await begun.ended()
        except Exception as error:
            said.append(str(error))
        c.post(st.Lost("enough"))
        await asyncio.wait_for(c.ended(), SOON)

    play(behaviour, script)
    (only,) = said
    assert only.startswith(waiting_for)
    assert only.endswith("did not come within 0.1 s")

"""A machine that its user is ending: it takes no command any more, and ends."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hpcore.model import events as ev
from hpcore.model import stimuli as st
from hpcore.model.decide import decide
from hpcore.model.effects import MachineStep
from hpcore.model.machines import Phase
from tests.model.test_decide import plugged, running, settle
from tests.support.world import World

Made = Callable[[], World]
CORE3 = (("core-id", 3),)
COMMANDS = (
    st.Boot(), st.DeviceAdd("core3", CORE3), st.DeviceDel("core2"),
    st.DeviceDel("core2", force=True), st.Reset(), st.Pause(), st.Resume(), st.Migrate(),
    st.Save("file"),
)  # fmt: skip


def new() -> World:
    """Before the boot, with a vCPU plugged."""
    world = World()
    world.feed(st.DeviceAdd("core2", (("core-id", 2),)))
    return world


def paused() -> World:
    world = plugged()
    world.feed(st.Pause())
    return settle(world)


def off() -> World:
    world = plugged()
    world.feed(st.PowerOffSeen())
    return world


def ending(world: World) -> World:
    """The same, with the user's end of it under way."""
    world.feed(st.PowerDown())
    assert world.state.shared.ending
    return world


WORLDS = {made.__name__: made for made in (new, plugged, paused, off)}


@pytest.mark.parametrize("made", WORLDS.values(), ids=WORLDS)
@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_it_takes_no_command_whatever_it_was_doing(made: Made, command: st.Stimulus) -> None:
    decision = decide(ending(made()).state, command)
    (refused,) = decision.events
    assert isinstance(refused, ev.Refused)
    assert (refused.guard, refused.slot) == ("not_ending", None)
    assert refused.message == "the machine is being ended; no command is taken any more"
    assert decision.effects == ()


@pytest.mark.parametrize("made", WORLDS.values(), ids=WORLDS)
def test_it_ends_after_it_has_refused(made: Made) -> None:
    world = ending(made())
    for command in COMMANDS:
        world.feed(command)
    assert settle(world).state.shared.phase is Phase.ENDED


def test_it_may_be_asked_to_end_again() -> None:
    events = decide(ending(running()).state, st.PowerDown()).events
    assert events == (ev.MachineStepBegun(MachineStep.POWER_DOWN),)


def test_what_it_had_accepted_before_fails_with_its_end() -> None:
    world = running()
    world.feed(st.DeviceAdd("core3", CORE3))
    ending(world).finish_one()
    assert world.steps, "the plug goes on meanwhile"
    failed = ev.PlugFailed(3, "core3", "the machine was powered off")
    assert failed in decide(world.state, st.MachineDone(MachineStep.POWER_DOWN)).events


def test_its_guest_goes_on_until_it_is_gone() -> None:
    world = ending(plugged())
    for call in (st.ScanStarted(), st.InsertAcked(2), st.ScanEnded(), st.OstReported(2, 1, 0)):
        world.feed(call)
    assert world.state.slots[2].registered

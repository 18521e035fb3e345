"""When a live machine is at rest: each single thing that is under way, and no other, is unrest."""

from __future__ import annotations

from typing import Any, cast

import attrs
import pytest

from hpcore.guest.played import PlayedGuest
from hpcore.guest.protocol import Guest
from hpcore.model import stimuli as st
from hpcore.model.config import MachineConfig
from hpcore.model.effects import MachineStep, Step
from hpcore.model.machines import Phase
from hpcore.model.states import Owed, State, initial
from hpcore.run import Controller, LiveMachine
from tests.run.live import guest_registers, on_paper
from tests.support.paper import Behaviour

NEW = initial(MachineConfig.of(cpus=2, maxcpus=4))


class StandIn:
    """Of a controller, what a machine at rest is asked about."""

    def __init__(self, state: State, *, heard_all: bool = True, quiet: bool = True) -> None:
        self.state, self.heard_all, self.quiet = state, heard_all, quiet
        self.watchers: list[object] = []


class Played(PlayedGuest):
    """A played guest that says of itself whether it rests, and whether it may never answer."""

    def __init__(self, rests: bool, hostile: bool) -> None:
        self._rests, self._hostile = rests, hostile

    @property
    def at_rest(self) -> bool:
        return self._rests

    @property
    def may_never_answer(self) -> bool:
        return self._hostile


def shared(**fields: Any) -> State:
    """A machine that runs, with these fields of its shared part."""
    return attrs.evolve(
        NEW, shared=attrs.evolve(NEW.shared, **{"phase": Phase.RUNNING, **fields})
    )


def slot(**fields: Any) -> State:
    """A machine that runs, with these fields of its slot 2."""
    return shared().with_slot(2, attrs.evolve(NEW.slots[2], **fields))


def at_rest(
    state: State, guest: Guest | None = None, *, heard_all: bool = True, quiet: bool = True
) -> bool:
    controller = StandIn(state, heard_all=heard_all, quiet=quiet)
    machine = LiveMachine(cast(Controller, controller))
    machine._guest.met = guest
    return machine.at_rest


@pytest.mark.parametrize(
    ("state", "rests"),
    [
        (shared(), True),
        (shared(step=MachineStep.MIGRATE), False),
        (shared(ged=True), False),
        (shared(scanning=True), False),
        (shared(ged=True, scanning=True), False),
        (slot(step=Step.BIND), False),
        (slot(command=Owed.PLUG), False),
        (slot(unconfirmed=True), False),
        (slot(insert=True, remove=True, requested=True), True),  # bits that nobody looks at yet
        (shared(phase=Phase.OFF, ged=True, scanning=True), True),  # no guest that could look
    ],
)  # fmt: skip
def test_what_is_under_way_or_owed_is_unrest(state: State, rests: bool) -> None:
    assert at_rest(state) is rests
    assert not at_rest(state, quiet=False)


@pytest.mark.parametrize(
    ("state", "rests"),
    [
        (shared(paused=True), True),
        (shared(paused=True, step=MachineStep.RESUME), False),
        (shared(paused=True, ged=True, scanning=True), True),
        (slot(command=Owed.PLUG), True),
        (slot(step=Step.BIND), True),
    ],
)  # fmt: skip
def test_in_a_pause_what_is_owed_waits_and_all_that_was_told_is_decided(
    state: State, rests: bool
) -> None:
    paused = attrs.evolve(state, shared=attrs.evolve(state.shared, paused=True))
    assert at_rest(paused, quiet=False) is rests
    assert not at_rest(paused, heard_all=False)


@pytest.mark.parametrize("hostile", [False, True])
@pytest.mark.parametrize(
    ("state", "guest_rests", "rests"),
    [
        (shared(), True, True),
        (shared(), False, False),
        (shared(ged=True), True, False),
        (shared(scanning=True), True, True),  # a hostile one may never end its scan
        (shared(scanning=True), False, False),
        (slot(step=Step.BIND), True, False),
        (shared(phase=Phase.OFF), False, True),
    ],
)
def test_a_played_guest_says_itself_whether_it_rests(
    state: State, guest_rests: bool, rests: bool, hostile: bool
) -> None:
    assert at_rest(state, Played(guest_rests, hostile)) is rests


@pytest.mark.parametrize("state", [slot(command=Owed.UNPLUG), slot(unconfirmed=True)])
def test_what_a_guest_owes_that_may_never_answer_is_not_waited_for(state: State) -> None:
    assert at_rest(state, Played(True, hostile=True))
    assert not at_rest(state, Played(True, hostile=False))
    assert not at_rest(state, Played(False, hostile=True))


def test_a_machine_is_not_at_rest_while_a_command_is_owed_an_end() -> None:
    async def script(m: LiveMachine, c: Controller) -> None:
        await (await m.begin(st.DeviceAdd("core2", (("core-id", 2),)))).ended()
        guest_registers(c, 2)
        await m.until(lambda _s: m.at_rest, "rest after the plug")
        unplug = await m.begin(st.DeviceDel("core2"))
        await m.until(lambda s: s.slots[2].requested and s.slots[2].step is None, "the request")
        for call in (st.ScanStarted(), st.RemoveAcked(2), st.ScanEnded()):
            c.post(call)
        await m.until(lambda s: not s.slots[2].remove and not s.shared.scanning, "the scan")
        assert not m.at_rest, "the unplug has not ended"
        c.post(st.EjectCalled(2))
        assert await unplug.ended()
        assert not m.at_rest, "the guest has not said how its eject went"
        c.post(st.OstReported(2, 3, 0))
        await m.until(lambda _s: m.at_rest, "rest after the guest's word")

    on_paper(Behaviour(guest="silent"), script)

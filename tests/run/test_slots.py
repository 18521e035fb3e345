"""The slots of a live machine, by number and by name; what ran out of patience says for what."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from hpcore.guest.shell import GuestGoneError
from hpcore.model import events as ev
from hpcore.model import stimuli as st
from hpcore.model.acpi import OstSource, OstStatus
from hpcore.model.config import MachineConfig
from hpcore.model.effects import MachineStep, Step
from hpcore.model.states import initial
from hpcore.run import Controller, LiveMachine, Patience, RunError
from hpcore.run.commands import Asked, begun_by
from hpcore.run.controller import TICK
from hpcore.run.deadlines import Deadlines, GuestWait, MachineWait, StepWait
from tests.run.test_controller import SOON, asked_back, play, plugged, registered
from tests.support.logs import ListLog
from tests.support.paper import Behaviour, PaperAccelerator

CONFIG = MachineConfig.of(cpus=2, maxcpus=4)


def test_a_slot_is_found_by_its_number_and_by_the_id_under_which_it_is_plugged() -> None:
    accelerator = PaperAccelerator()
    machine = LiveMachine(Controller(
        initial(CONFIG), ListLog, lambda r: accelerator.open(CONFIG, None, r)
    ))  # fmt: skip
    assert [machine.slot(n).index for n in range(4)] == [0, 1, 2, 3]
    assert [view.cold for view in machine.slots] == [True, True, False, False]
    for number in (-1, 4):
        with pytest.raises(RunError) as error:
            machine.slot(number)
        assert str(error.value) == f"there is no vCPU {number}; the machine has 0 to 3"
    with pytest.raises(RunError, match="no vCPU is plugged under the id 'core2'"):
        machine.slot("core2")
    with pytest.raises(RunError, match="there is no guest yet; boot the machine first"):
        _ = machine.guest


def test_who_waits_too_long_for_an_eject_is_told_so() -> None:
    async def script(c: Controller) -> None:
        c.session._b.guest = "silent"  # type: ignore[attr-defined]
        unplug = begun_by(Asked(c, 0.1), ask := st.DeviceDel("core2"), await c.submit(ask))
        with pytest.raises(RunError, match=r"^the unplug's end did not come within 0\.1 s"):
            await unplug.ended()

    async def whole(c: Controller) -> None:
        await registered(c)
        await script(c)

    play(Behaviour(), whole, patience=Patience())


@pytest.mark.parametrize(
    ("wait", "seconds"), [(GuestWait(2), 60.0), (MachineWait(MachineStep.RESET), 120.0)]
)
def test_a_wait_is_over_when_all_its_time_has_passed(wait: Any, seconds: float) -> None:
    deadlines = Deadlines()
    assert deadlines.patience.of(wait) == seconds
    deadlines._left[wait] = deadlines.patience.of(wait)
    assert deadlines.pass_time(seconds - 1) == []
    assert deadlines.pass_time(1) == [wait]
    assert deadlines.pass_time(1) == []


def test_what_patience_is_had_with_by_itself() -> None:
    usual = Patience()
    assert usual.of(StepWait(2, Step.BIND)) == usual.step == 30.0
    assert (usual.guest, usual.machine, usual.boot, usual.end) == (60.0, 120.0, 600.0, 120.0)


def test_a_controller_that_has_heard_no_reason_says_that_the_machine_has_ended() -> None:
    async def script(c: Controller) -> None:
        assert c.why_ended() == "the machine has ended"

    play(Behaviour(), script)


def test_a_console_that_ends_first_is_not_taken_for_the_reason() -> None:
    async def script(c: Controller) -> None:
        await registered(c)
        machine = LiveMachine(c)

        async def console_ends() -> None:
            asyncio.get_running_loop().call_later(0.2, c.post, st.Lost("QEMU was killed"))
            raise GuestGoneError("the console has ended")

        with pytest.raises(GuestGoneError):
            await machine.unless_ended(console_ends())
        assert machine.state.shared.ended
        assert machine.why_ended() == "QEMU was killed"

    play(Behaviour(), script)


def test_a_guest_that_says_it_is_at_work_has_its_whole_time_again() -> None:
    log = ListLog()
    given = 10 * TICK

    def given_up() -> bool:
        return any(isinstance(event, ev.UnplugFailed) for event in log.events)

    async def script(c: Controller) -> None:
        await plugged(c)
        await asked_back(c)
        await asyncio.sleep(given / 2)
        assert not given_up()
        c.post(st.OstReported(2, OstSource.EJECT_REQUEST, OstStatus.IN_PROGRESS))
        said = time.monotonic()
        await c.until(lambda _: given_up(), SOON, "an end")
        assert time.monotonic() - said > given - 2 * TICK

    play(Behaviour(guest="silent"), script, log, Patience(guest=given))

"""A live machine that fails, dies, or has no guest: who waits for it is told why."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from hpcore.model import stimuli as st
from hpcore.model.effects import MachineStep, Step
from hpcore.model.machines import Phase
from hpcore.model.states import initial
from hpcore.run import (
    CommandFailed,
    Controller,
    GuestScript,
    LiveMachine,
    Patience,
    RunError,
    open_machine,
)
from tests.run.live import CONFIG, SLOW, on_paper
from tests.run.test_controller import SOON
from tests.support.logs import ListLog
from tests.support.paper import Behaviour, PaperAccelerator
from tests.support.played import found


def test_a_start_that_fails_says_why() -> None:
    accelerator = PaperAccelerator(Behaviour(fails={(Step.WIRE, 1)}))
    controller = Controller(
        initial(CONFIG), ListLog, lambda r: accelerator.open(CONFIG, None, r), SLOW
    )

    async def main() -> None:
        machine = LiveMachine(controller)
        async with controller:
            with pytest.raises(RunError, match="cold-booted vCPU 1: wire failed: as told"):
                await machine.boot()

    asyncio.run(asyncio.wait_for(main(), SOON))


def test_a_machine_without_a_guest_has_none_to_ask() -> None:
    async def script(m: LiveMachine, _c: Controller) -> None:
        with pytest.raises(RunError, match="no guest that could do that"):
            await m.power_off()
        await m.power_down()
        assert await m.ended() == "the machine was powered off by the user"

    on_paper(Behaviour(), script)


def test_before_the_boot_there_is_no_guest_to_ask(tmp_path: Path) -> None:
    async def main() -> None:
        async with open_machine(found(), CONFIG, GuestScript(), log=tmp_path / "log") as machine:
            with pytest.raises(RunError, match="boot the machine first"):
                await machine.guest.online(1)

    asyncio.run(main())


def test_an_accelerator_that_dies_ends_all_that_is_waited_for() -> None:
    async def script(m: LiveMachine, _c: Controller) -> None:
        never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        guest_work = asyncio.create_task(m.unless_ended(never))
        with pytest.raises(CommandFailed, match="it died, as told"):
            await m.plug("core2", core_id=2)
        with pytest.raises(RunError, match="it died, as told"):
            await guest_work
        assert await m.ended() == "it died, as told"
        with pytest.raises(RunError, match="it died, as told"):
            await m.reset()
        assert m.state.shared.phase is Phase.FAILED

    on_paper(Behaviour(dies_at=(Step.ENABLE, 2)), script)


def test_what_is_asked_of_the_guest_may_take_longer_than_its_last_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hpcore.run.waiting.LAST_WORDS_SECONDS", 0.01)

    async def script(m: LiveMachine, _c: Controller) -> None:
        assert await m.unless_ended(asyncio.sleep(0.2, "done")) == "done"

    on_paper(Behaviour(), script)


@pytest.mark.parametrize("ends", [LiveMachine.power_off, LiveMachine.power_down])
def test_an_end_that_does_not_come_is_said_to_be_missing(
    ends: Callable[[LiveMachine], Awaitable[None]],
) -> None:
    class StaysOn:
        async def wait_ready(self, seconds: float) -> None:
            pass

        async def power_off(self) -> None:
            pass

    async def script(m: LiveMachine, c: Controller) -> None:
        c.session.played = StaysOn()  # type: ignore[misc, assignment]
        await m.guest_ready()
        with pytest.raises(RunError, match=r"^the machine's end did not come within 0\.3 s"):
            await ends(m)
        c.post(st.Lost("enough"))

    on_paper(Behaviour(deaf_to={MachineStep.POWER_DOWN}), script, Patience(end=0.3, boot=SOON))

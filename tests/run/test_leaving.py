"""Leaving a controller: what is under way has ended before the session is closed."""

from __future__ import annotations

import asyncio
from typing import Any

from hpcore.model import stimuli as st
from hpcore.model.config import MachineConfig
from hpcore.model.effects import Effect, MachineStep, RunMachineStep
from hpcore.model.states import initial
from hpcore.run import Controller, Patience
from tests.support.logs import ListLog


class Slow:
    """A session whose power-down is done at once, and any other effect never."""

    def __init__(self) -> None:
        self.console = self.played = self.process_id = None
        self.happened: list[str] = []
        self.begun = asyncio.Event()

    async def execute(self, effect: Effect) -> int | None:
        if effect == RunMachineStep(MachineStep.POWER_DOWN):
            return None
        self.happened.append("begun")
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            self.happened.append("let go of")
        return None

    async def close(self) -> None:
        self.happened.append("closed")


def test_an_effect_that_never_ends_is_let_go_of_before_the_session_is_closed() -> None:
    session = Slow()

    async def opened(_report: Any) -> Slow:
        return session

    async def main() -> None:
        async with Controller(
            initial(MachineConfig.of(cpus=1, maxcpus=2)), ListLog, opened, Patience()
        ) as controller:
            await controller.submit(st.Boot())
            await session.begun.wait()
        assert session.happened == ["begun", "let go of", "closed"]

    asyncio.run(asyncio.wait_for(main(), 30))

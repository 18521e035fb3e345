"""A scenario taken step by step on a real QEMU, its registers held against the model each time.

What went wrong is told as a scenario that `hpcore run --accel qtest` repeats.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from itertools import count

from hpcore_qtest import QtestAccelerator
from hpcore_qtest.base import QtestSession
from hpcore_qtest.virt.redistributor import ISPENDR0
from hpcore_qtest.virt.session import VirtSession

from hpcore.guest.played import PlayedGuest
from hpcore.guest.played.hostile import Call
from hpcore.model import events as ev
from hpcore.model.config import MachineConfig
from hpcore.model.effects import Step
from hpcore.model.machines import Phase
from hpcore.model.states import State, initial
from hpcore.model.stimuli import Stimulus
from hpcore.platform import virt
from hpcore.run.accelerator import GuestScript
from hpcore.run.controller import Controller
from hpcore.run.deadlines import Patience
from hpcore.run.machine import LiveMachine
from hpcore.scenario import values as sc
from hpcore.scenario.play import Player
from hpcore.scenario.write import dump
from tests.qtest.agreement import differences
from tests.support.logs import NoLog

AGREE_SECONDS = 5.0
"""For registers to become what the model says: the guest may still be at its interrupt."""
LOOKS = 25
"""At least, however long they take: each gives QEMU and the guest a turn."""
SGIS = 16


class Disagreement(AssertionError):
    """The machine is not as the model believes. The scenario that led there is in the text."""


class Rehearsal:
    """One machine, and the lines taken so far. `close` ends it."""

    accel = "qtest"
    session: QtestSession

    def __init__(self, config: MachineConfig, kind: str = "linux") -> None:
        self.config, self.kind = config, kind
        self.lines: list[sc.Line] = []
        self.taken: Counter[str] = Counter()
        self._pending: dict[int, int] = {}
        self._stack = AsyncExitStack()
        self._controller = Controller(
            initial(config), NoLog, self._open, Patience(guest=1e6, end=20.0)
        )
        self._machine = LiveMachine(self._controller)
        self._machine.subscribe(self._watch)
        self._player = Player(self._machine)

    @property
    def state(self) -> State:
        """What the model believes."""
        return self._machine.state

    @property
    def guest(self) -> PlayedGuest:
        assert self.session.played is not None
        return self.session.played

    def watch(self, watcher: Callable[[ev.Event], None]) -> None:
        """Have every event told, from here on."""
        self._machine.subscribe(lambda event, _state: watcher(event))

    def post(self, command: Stimulus) -> None:
        """Give a command, and wait for nothing."""
        self._controller.post(command)

    async def start(self) -> Rehearsal:
        """Boot the machine."""
        await self._stack.enter_async_context(self._controller)
        await self.take(sc.BootStep())
        return self

    async def close(self) -> None:
        """End the machine."""
        await self._stack.aclose()

    async def take(self, step: sc.ScenarioStep) -> None:
        """Take a step and let the machine come to rest; then model and machine must agree.

        A command may be refused; the scenario then says with which words. Raises
        Disagreement.
        """
        waits = not isinstance(step, sc.PlugStep | sc.UnplugStep | sc.OnlineStep | sc.OfflineStep)
        line = sc.Line(step, len(self.lines) + 1, type(step).__name__.lower(), None, waits)
        await self._player.play((line,))
        error = self._player.results[-1].error
        self.lines.append(sc.Line(step, line.number, line.text, error, waits))
        self.taken[line.text] += 1
        rest = sc.Line(sc.SettleStep(), len(self.lines) + 1, "settle")
        settled = await self._player.play((rest,))
        self.lines.append(rest)
        if not settled:
            raise self._told(str(self._player.results[-1].error))
        await self._agree()

    async def pend(self, cpu: int, sgi: int) -> None:
        """Have the guest make an SGI or PPI pend in the redistributor of `cpu`."""
        self._pending[cpu] = self._pending.get(cpu, 0) | 1 << sgi
        address = virt.redistributor(cpu) + ISPENDR0
        await self.take(sc.CallStep(Call.WRITE, (address, 4, 1 << sgi)))

    def scenario(self) -> sc.Scenario:
        """All that was done, as a scenario."""
        about = "Steps after which QEMU's registers and the model disagreed."
        return sc.Scenario("", about, self.config, "", tuple(self.lines), self.kind)

    async def _agree(self) -> None:
        shared = self.state.shared
        resetting = shared.phase is Phase.RESETTING  # what is plugged comes back by RESTART
        if shared.paused and (resetting or any(slot.step for slot in self.state.slots)):
            return  # the model has begun what the machine does after the pause
        deadline = time.monotonic() + AGREE_SECONDS
        for look in count(1):
            if self.state.shared.ended:
                raise self._told(f"the machine ended: {self._machine.why_ended()}")
            found = await self._differences()
            if not found:
                return
            if look >= LOOKS and time.monotonic() > deadline:
                raise self._told("; ".join(found))

    async def _differences(self) -> list[str]:
        assert isinstance(self.session, VirtSession)
        return await differences(self.state, self.session, self._pending)

    def _told(self, what: str) -> Disagreement:
        if (failure := self._machine.failure) is not None:
            what = f"{what} ({failure})"
        return Disagreement(
            f"{what}\n\nTo repeat it, `hpcore run FILE --accel {self.accel}` with this in FILE:\n\n"
            f"{dump(self.scenario())}"
        )

    async def _open(self, report: object) -> QtestSession:
        self.session = await QtestAccelerator().open(
            self.config, GuestScript(self.kind), self._controller.post
        )
        return self.session

    def _watch(self, event: ev.Event, _state: State) -> None:
        """What makes pending SGIs and PPIs vanish."""
        match event:
            case ev.StepDone(step=Step.BIND | Step.UNWIRE | Step.UNBIND, slot=slot):
                self._pending.pop(slot, None)
            case ev.MachineWasReset():
                self._pending.clear()

"""A session without a core: effects by hand, and every stimulus kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, Self, TypeVar

from hpcore.model.effects import NOTIFICATIONS, Effect, MachineStep, RunMachineStep, RunStep, Step
from hpcore.model.rules import BUILD
from hpcore.model.stimuli import Stimulus
from hpcore.promises.waits import SECONDS, until
from hpcore.run.accelerator import Session

COLD_BUILD = tuple(step for step in BUILD if step not in NOTIFICATIONS)
"""How a cold-booted vCPU is built: as a plug, without the notification."""

BACK = {
    Step.REALIZE: (Step.STOP, Step.RELEASE, Step.PARK),
    Step.BIND: (Step.UNBIND, Step.STOP, Step.RELEASE, Step.PARK),
    Step.WIRE: (Step.UNWIRE, Step.UNBIND, Step.STOP, Step.RELEASE, Step.PARK),
    Step.ENABLE: (
        Step.DISABLE, Step.UNWIRE, Step.UNBIND, Step.STOP, Step.RELEASE, Step.PARK,
    ),
}  # fmt: skip
"""How a plug that got so far, and failed then, is taken back."""

S = TypeVar("S", bound=Session)
T = TypeVar("T")


class SessionRig(Generic[S]):
    """A session and what it has reported, in order. Use as `async with SessionRig(...) as rig:`.

    Leaving closes the session. Nothing may take longer than `seconds`.
    """

    def __init__(self, session: S, stimuli: list[Stimulus], seconds: float = SECONDS) -> None:
        """`stimuli.append` is what the session was opened with, to report to."""
        self.session, self.stimuli, self.seconds = session, stimuli, seconds

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    async def do(self, effect: Effect) -> int | None:
        """Have the session carry `effect` out."""
        async with asyncio.timeout(self.seconds):
            return await self.session.execute(effect)

    async def steps(self, slot: int, *steps: Step) -> int | None:
        """Steps of `slot`, one after the other; what the last of them returned."""
        value = None
        for step in steps:
            value = await self.do(RunStep(step, slot))
        return value

    async def machine_step(self, step: MachineStep, enabled: tuple[int, ...] = ()) -> None:
        """A step of the machine; `enabled` is what START and RESTART are told."""
        await self.do(RunMachineStep(step, enabled))

    async def created(self) -> None:
        """Have the machine made: it takes steps from here on."""
        await self.machine_step(MachineStep.CREATE_VCPUS)
        await self.machine_step(MachineStep.INIT_GIC)

    async def started(self, *slots: int) -> None:
        """Have the guest started, with the vCPUs of `slots` there, as the core boots a machine."""
        for slot in slots:
            await self.steps(slot, *COLD_BUILD)
        await self.machine_step(MachineStep.START, slots)

    async def until(self, look: Callable[[], T | None], what: str) -> T:
        """What `look` finds, as soon as it is not None or False. Raises AssertionError."""
        return await until(look, what, self.seconds)

    async def heard(self, what: Stimulus | type[Stimulus], since: int = 0) -> Stimulus:
        """The first stimulus, from number `since` on, that is `what` or of that kind."""

        def found() -> Stimulus | None:
            for stimulus in self.stimuli[since:]:
                if stimulus == what or (isinstance(what, type) and isinstance(stimulus, what)):
                    return stimulus
            return None

        return await self.until(found, f"the session reports {what}")

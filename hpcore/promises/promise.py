"""A promise of an accelerator, what it is held against, and how it is held."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from functools import cached_property
from typing import Any

from attrs import field, frozen

from hpcore.model.config import MachineConfig
from hpcore.model.effects import MachineStep
from hpcore.model.stimuli import ResetSeen, Stimulus
from hpcore.promises.rig import COLD_BUILD, SessionRig
from hpcore.promises.waits import SECONDS
from hpcore.run.accelerator import (
    Accelerator,
    AcceleratorError,
    Capabilities,
    EffectError,
    GuestImages,
    GuestScript,
    Session,
)
from hpcore.run.deadlines import Patience

POSSIBLE = 18
"""So many that the last ones have an affinity that is not their number: Aff1 is 1 there."""
MEMORY = 256

IDLE = GuestScript(append="maxcpus=1")
"""A played guest that asks for no CPU_ON at its boot. Nobody would answer without a core."""


class PromiseBroken(AssertionError):
    """An accelerator does not keep a promise. The text says which, and what it did instead."""


def hold(kept: object, says: str) -> None:
    """Raise PromiseBroken with what `says` where the promise was not `kept`."""
    if not kept:
        raise PromiseBroken(says)


@frozen(slots=False)  # a cached property wants a dictionary
class Subject:
    """What is held to its promises: an accelerator, and what its tests know of it.

    `guest` is what boots in the promises about guests: images, or a script where the
    accelerator plays its guest. Without one no promise about guests is held. `lose` makes
    the machine of a session break, as it might by itself, once CREATE_VCPUS is done;
    without it the promises about a loss are not held. `seconds` is what any one effect may
    take, `patience` how long the core waits in the promises about guests.
    """

    accelerator: Accelerator
    guest: GuestImages | GuestScript | None = None
    lose: Callable[[Session], None] | None = None
    seconds: float = SECONDS
    patience: Patience = field(factory=Patience)

    @cached_property
    def capabilities(self) -> Capabilities:
        """What the accelerator says of itself."""
        return self.accelerator.probe()

    @property
    def hotplugs(self) -> bool:
        """Whether vCPUs can be plugged."""
        return self.capabilities.no_hotplug is None

    @property
    def config(self) -> MachineConfig:
        """The machine of the promises: vCPU 0, and some more that can be plugged if any can."""
        possible = min(POSSIBLE, self.capabilities.max_vcpus)
        cpus = 1 if self.hotplugs else possible
        return MachineConfig.of(cpus=cpus, maxcpus=possible, memory=MEMORY)

    @property
    def cold(self) -> range:
        """The slots that are there at the start."""
        return range(self.config.topology.cpus)

    @property
    def pluggable(self) -> range:
        """The slots that are not."""
        return range(self.config.topology.cpus, self.config.possible)

    @property
    def script(self) -> GuestScript | None:
        """The guest of a session without a core: one that is played, or none."""
        return IDLE if self.capabilities.plays_guest else None

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[SessionRig[Session]]:
        """A session with nothing started, and without a core."""
        stimuli: list[Stimulus] = []
        session = await self.accelerator.open(self.config, self.script, stimuli.append)
        async with SessionRig(session, stimuli, self.seconds) as rig:
            yield rig

    @asynccontextmanager
    async def created(self) -> AsyncIterator[SessionRig[Session]]:
        """A session that takes steps."""
        async with self.opened() as rig:
            await rig.created()
            yield rig

    @asynccontextmanager
    async def running(self) -> AsyncIterator[SessionRig[Session]]:
        """A session whose vCPUs are there; the guest runs, if it is one that is played."""
        async with self.created() as rig:
            if self.script is not None:
                await rig.started(*self.cold)
            else:
                for slot in self.cold:
                    await rig.steps(slot, *COLD_BUILD)
            yield rig

    @asynccontextmanager
    async def reset(self, *plugged: int) -> AsyncIterator[SessionRig[Session]]:
        """A session that was reset, with the slots of `plugged` enabled; RESTART is to come."""
        async with self.running() as rig:
            for slot in plugged:
                await rig.steps(slot, *COLD_BUILD)
            await rig.machine_step(MachineStep.RESET)
            await rig.heard(ResetSeen())
            yield rig


Check = Callable[[Subject], Coroutine[Any, Any, None]]
Applies = Callable[[Subject], object]


@frozen
class Promise:
    """What every accelerator keeps, or every one of which `applies` is true.

    `check` raises where it is broken: PromiseBroken mostly, or whatever went wrong.
    """

    name: str
    says: str
    check: Check = field(repr=False)
    applies: Applies = field(repr=False)

    def hold(self, subject: Subject) -> None:
        """Hold `subject` to it. Raises PromiseBroken."""
        try:
            asyncio.run(self.check(subject))
        except PromiseBroken as broken:
            raise PromiseBroken(f"{self.says}\n{broken}") from None
        except TimeoutError as late:
            raise PromiseBroken(
                f"{self.says}\nSomething was not done in time."
            ) from late
        except Exception as error:
            raise PromiseBroken(f"{self.says}\n{type(error).__name__}: {error}") from error


class Promises:
    """The promises of a file, in its order."""

    def __init__(self) -> None:
        self.made: list[Promise] = []

    def promise(
        self, applies: Applies = lambda _subject: True
    ) -> Callable[[Check], Promise]:
        """Make a coroutine function a promise, which its docstring says in one sentence."""

        def made(check: Check) -> Promise:
            says = " ".join((check.__doc__ or "").split())
            promise = Promise(check.__name__, says, check, applies)
            self.made.append(promise)
            return promise

        return made


def hotplugs(subject: Subject) -> object:
    """For promises about plugged vCPUs."""
    return subject.hotplugs


async def refused(work: Awaitable[object], what: str) -> None:
    """Hold that `work` ends with an EffectError that says something."""
    try:
        await work
    except EffectError as error:
        hold(str(error), f"{what} is refused without a word of why.")
    except Exception as error:
        raise PromiseBroken(
            f"{what} raised {type(error).__name__} ({error}); it must raise EffectError."
        ) from error
    else:
        raise PromiseBroken(f"{what} was done; it must raise EffectError.")


async def gone(work: Awaitable[object], what: str) -> None:
    """Hold that `work` ends with an AcceleratorError that says something."""
    try:
        await work
    except AcceleratorError as error:
        hold(str(error), f"{what} fails without a word of why.")
    except Exception as error:
        raise PromiseBroken(
            f"{what} raised {type(error).__name__} ({error}); it must raise AcceleratorError."
        ) from error
    else:
        raise PromiseBroken(f"{what} was done; it must raise AcceleratorError.")


async def give_way(tasks: Iterable[asyncio.Task[object]] = (), seconds: float = 0.1) -> None:
    """Let other tasks run for a while, at most until all of `tasks` are done."""
    waiting = list(tasks)
    if waiting:
        await asyncio.wait(waiting, timeout=seconds)
    else:
        await asyncio.sleep(seconds)

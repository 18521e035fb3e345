"""A played guest over all its boots, in the hands of a scenario and of its accelerator."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar

from hpcore.guest.errors import GuestError
from hpcore.guest.played.answers import Answers, AnswersOfABoot
from hpcore.guest.played.hardware import Hardware
from hpcore.guest.played.hostile import HostileKernel, Move, make
from hpcore.guest.played.linux import LinuxKernel
from hpcore.guest.protocol import Masks

T = TypeVar("T")


class PlayedGuest:
    """A `hpcore.guest.protocol.Guest`, and what its accelerator needs beside that.

    For one event loop, and not thread-safe. `kernel` is the boot under way, or None.
    """

    def __init__(
        self, make_kernel: Callable[[], LinuxKernel], hardware: Hardware, answers: Answers
    ) -> None:
        self._make_kernel, self._hardware, self._answers = make_kernel, hardware, answers
        self.kernel: LinuxKernel | None = None
        self._life: asyncio.Task[None] | None = None
        self._asked: set[asyncio.Task[object]] = set()
        self._failure: str | None = None
        self._pended = False
        self._starts = self._ready_start = 0
        self.times_ready = 0
        """See `Guest`."""
        self._changed = asyncio.Event()

    # -------------------------------------------------------- its accelerator's

    def start(self) -> None:
        """vCPU 0 enters the kernel: by START, and again by RESTART."""
        pended = self._pended
        self.stop()
        kernel = self._new_kernel()
        if pended:
            kernel.interrupt()
        self._enter(kernel)

    def saved(self) -> dict[str, Any]:
        """What it knows, as JSON takes it. Raises GuestError while it is not `undisturbed`."""
        if self.kernel is None or not self.undisturbed:
            raise GuestError(self._failure or "the played guest is in the middle of something")
        return self.kernel.saved()

    def go_on(self, saved: Mapping[str, Any]) -> None:
        """Be the guest that `saved` was said of, in place of `start`.

        Raises ValueError, KeyError or TypeError for what nothing was said of.
        """
        kernel = self._new_kernel()
        kernel.load(saved)
        self._enter(kernel)

    def ged_interrupt(self) -> None:
        """The GED's line was raised. Before `start` it stays pending in the GIC."""
        if self.kernel is None:
            self._pended = True
        else:
            self.kernel.interrupt()

    def stop(self) -> None:
        """No vCPU runs any more: the machine was reset, or has ended.

        What a scenario had asked of the guest ends in a GuestError.
        """
        for task in (self._life, *self._asked):
            if task is not None:
                task.cancel()
        self.kernel = self._life = None
        self._pended = False

    # ------------------------------------------------------------- a scenario's

    async def wait_ready(self, within: float, since: int | None = None) -> None:
        """See `Guest`. That it has booted can be asked any number of times, so `since` is not."""
        await self._until(self._booted, within, "boot")

    async def idle(self, within: float = 60.0) -> None:
        """Wait until it has booted, and has nothing to do. Raises GuestError."""
        await self._until(lambda: self.at_rest, within, "come to rest")

    async def masks(self) -> Masks:
        """See `Guest`."""
        return self._kernel().masks

    async def online(self, cpu: int) -> None:
        """See `Guest`."""
        await self._ask(self._kernel().write_online(cpu, True))

    async def offline(self, cpu: int) -> None:
        """See `Guest`."""
        await self._ask(self._kernel().write_online(cpu, False))

    async def run(self, line: str) -> str | None:
        """See `Guest`: None, for there is no shell."""
        self._kernel()
        return None

    async def make(self, move: Move) -> None:
        """Make one call beside what the kernel does, of which it knows nothing."""
        await self._ask(make(move, self._hardware, self._kernel().config.possible))

    @property
    def at_rest(self) -> bool:
        """Whether it has booted, and has nothing to do."""
        return self.kernel is not None and self.kernel.idle

    @property
    def undisturbed(self) -> bool:
        """Whether it is at rest, and nobody has asked it for anything that is not done."""
        return self.at_rest and not self._asked

    async def comes_to_rest(self, within: float) -> None:
        """Wait until it is `undisturbed`. Raises GuestError."""
        await self._until(lambda: self.undisturbed, within, "come to rest")

    @property
    def may_never_answer(self) -> bool:
        """Whether it may leave for ever what the machine has asked of it: a hostile one does."""
        return isinstance(self.kernel, HostileKernel)

    async def reboot(self, within: float) -> None:
        """See `Guest`. As Linux does, with the secondary vCPUs stopped but not off."""
        starts = self._starts
        await self.begin_reboot()
        await self._until(lambda: self._starts > starts and self._booted(), within, "boot again")

    async def begin_reboot(self) -> None:
        """See `Guest`."""
        self._kernel()
        await self._call(self._hardware.system_reset())

    async def power_off(self) -> None:
        """See `Guest`."""
        self._kernel()
        await self._call(self._hardware.system_off())

    # ----------------------------------------------------------------- helpers

    def _new_kernel(self) -> LinuxKernel:
        kernel = self._make_kernel()
        kernel.tell = self._tell
        kernel.answers = AnswersOfABoot(self._answers)
        return kernel

    def _enter(self, kernel: LinuxKernel) -> None:
        self._failure = None
        self.kernel = kernel
        self._starts += 1
        self._life = asyncio.create_task(kernel.live(), name="played guest")
        self._life.add_done_callback(self._life_ended)

    def _booted(self) -> bool:
        return self.kernel is not None and self.kernel.booted

    def _kernel(self) -> LinuxKernel:
        if self.kernel is None or not self.kernel.booted:
            raise GuestError(self._failure or "the guest has not booted")
        return self.kernel

    def _tell(self) -> None:
        if self._booted() and self._ready_start != self._starts:
            self._ready_start = self._starts
            self.times_ready += 1
        self._changed.set()
        self._changed = asyncio.Event()

    def _life_ended(self, life: asyncio.Task[None]) -> None:
        error = None if life.cancelled() else life.exception()
        if error is not None and life is self._life:
            self._failure = _lost(error)
            self.kernel = None
        self._tell()

    async def _until(self, holds: Callable[[], bool], within: float, what: str) -> None:
        try:
            async with asyncio.timeout(within):
                while not holds():
                    if self._failure is not None:
                        raise GuestError(self._failure)
                    await self._changed.wait()
        except TimeoutError:
            raise GuestError(f"the played guest did not {what} within {within:g} s") from None

    async def _ask(self, work: Coroutine[object, object, T]) -> T:
        """Have this boot of the guest do something; with the boot, it ends."""
        task = asyncio.ensure_future(work)
        self._asked.add(task)
        try:
            return await self._call(task)
        except asyncio.CancelledError:
            here = asyncio.current_task()
            if here is not None and here.cancelling():
                raise
            raise GuestError("the guest was reset, or ended, before it had done so") from None
        finally:
            self._asked.discard(task)
            self._tell()

    async def _call(self, work: Coroutine[object, object, T] | asyncio.Task[T]) -> T:
        try:
            return await work
        except GuestError:
            raise
        except Exception as error:  # an accelerator's, which this room does not know
            raise GuestError(_lost(error)) from error


def _lost(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"the played guest can't reach its machine: {error}"

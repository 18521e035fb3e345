"""What every part of a session stands on: the machine, its threads, how it is reset and lost."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from contextlib import suppress
from typing import NoReturn

import structlog

from hpcore.guest.boot import BootFiles
from hpcore.guest.protocol import Guest
from hpcore.model.config import MachineConfig
from hpcore.model.stimuli import Lost, PowerOffSeen, ResetSeen, Stimulus
from hpcore.run.accelerator import AcceleratorError, Console, Report
from hpcore.run.gate import ENDED, Gate
from hpcore_kvm.blocking import BlockingCalls
from hpcore_kvm.boot import LoadError
from hpcore_kvm.console import UartConsole
from hpcore_kvm.errors import KvmError, MismatchError, OrderError
from hpcore_kvm.machine import KvmMachine
from hpcore_kvm.order import Order, SlotParts
from hpcore_kvm.threads import Hold
from hpcore_kvm.uapi import SystemEventType

log = structlog.get_logger(__name__)

OUT_SECONDS = 20.0
"""How long a vCPU's thread may take to leave KVM_RUN, or to end, once kicked. It takes a
millisecond or two; a thread that does not is stuck in the kernel."""

FAILURES = (KvmError, MismatchError, OrderError, LoadError, RuntimeError)
"""What KVM, a file or the host's want of threads makes of a call."""


class KvmBase:
    """A machine and its event loop. `hpcore_kvm.session` has what the core asks of it."""

    def __init__(
        self, config: MachineConfig, images: BootFiles | None, report: Report, *,
        deferred: bool = False,
    ) -> None:  # fmt: skip
        """`deferred`: a vCPU has no thread before its first CPU_ON."""
        self._config, self._images = config, images
        self._tell = report
        self._loop = asyncio.get_running_loop()
        self._machine: KvmMachine | None = None
        self._console: UartConsole | None = None
        slots = [SlotParts(config.cold_booted(i)) for i in range(config.possible)]
        self._order = Order(slots, deferred)
        self._gate = Gate(config.possible)
        self._waiting = asyncio.Lock()  # of who waits for threads, or reports a reset
        self._silent = False  # nothing is reported any more
        self._free = asyncio.Event()  # not while what the devices have is being carried
        self._free.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._work = BlockingCalls()

    @property
    def console(self) -> Console | None:
        """The guest's console, once CREATE_VCPUS is done."""
        return self._console

    @property
    def played(self) -> Guest | None:
        """None: a real guest runs."""
        return None

    @property
    def process_id(self) -> int | None:
        """This process, once CREATE_VCPUS is done: the guest runs in its threads."""
        return None if self._machine is None else os.getpid()

    @property
    def machine(self) -> KvmMachine | None:
        """The machine, for measurements and tests, once CREATE_VCPUS is done."""
        return self._machine

    async def close(self) -> None:
        """End all threads, and free all that was made."""
        self._silent = True
        self._end(ENDED)
        await self._work.done()  # it uses what is about to be freed
        async with self._waiting:
            machine, self._machine = self._machine, None
            if machine is None:
                return
            machine.threads.hold(Hold.OVER)
            await self._work.do(end_machine, machine)

    def _new_machine(self, console: UartConsole) -> KvmMachine:
        return KvmMachine(
            self._config, self._images, self._report, self._system_event, self._failed,
            console.print, deferred=self._order.deferred,
        )  # fmt: skip

    async def _create(self) -> None:
        console = UartConsole()
        machine = self._new_machine(console)
        console.connect(machine.uart.receive)
        self._machine = machine
        try:
            await self._work.do(machine.create)
        except FAILURES:
            self._machine = None
            raise
        self._console = console
        self._gate.created()

    def _running(self) -> KvmMachine:
        self._gate.require_created()
        assert self._machine is not None, "it is there until the gate says that it is gone"
        return self._machine

    async def _wait_out(self, slot: int | None = None) -> None:
        """Wait until every thread, or that of `slot`, is out of KVM_RUN."""
        threads = self._running().threads
        if threads.wait_out(0, slot):  # most often none is in there
            late = await self._work.do(threads.wait_out, OUT_SECONDS, slot)
            if late:
                self._stuck(late)
        self._running()

    def _stuck(self, slots: list[int]) -> NoReturn:
        self._lose(
            f"the threads of vCPUs {slots} did not leave KVM_RUN within {OUT_SECONDS:g} s; "
            "the host's kernel log may say why"
        )
        raise AcceleratorError(self._gate.gone)

    # ------------------------------------------------------------ from the vCPUs' threads

    def _report(self, stimulus: Stimulus) -> None:
        if not self._silent:
            self._tell(stimulus)

    def _system_event(self, kind: int) -> None:
        machine = self._machine
        if machine is None:
            return
        if kind == SystemEventType.RESET:
            machine.threads.hold(Hold.RESET)
            self._loop.call_soon_threadsafe(self._guest_resets)
        else:
            machine.threads.hold(Hold.RESET)  # no vCPU runs before a RESTART, if one comes
            self._loop.call_soon_threadsafe(self._went_off)

    def _failed(self, why: str) -> None:
        if self._machine is not None:
            self._machine.threads.hold(Hold.OVER)
        self._loop.call_soon_threadsafe(self._lose, why)

    # ------------------------------------------------------------------------ in the loop

    def _went_off(self) -> None:
        if self._gate.is_open and self._machine is not None:
            self._gate.shut()
            self._machine.threads.power_off_all()
            self._report(PowerOffSeen())

    def _guest_resets(self) -> None:
        if self._gate.is_open:  # or another vCPU has reset it, or powered it off, just before
            self._reset_begins()

    def _reset_begins(self) -> None:
        """No vCPU runs any more; ResetSeen follows once none is in KVM_RUN either.

        A machine that is off, or was reset in a pause, is reset again.
        """
        if self._machine is None:
            return
        self._gate.shut()
        self._machine.threads.hold(Hold.RESET)
        self._machine.threads.power_off_all()
        self._spawn(self._report_reset())

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _report_reset(self) -> None:
        async with self._waiting:
            if self._gate.gone is None:
                with suppress(AcceleratorError):
                    await self._wait_out()
                    self._report(ResetSeen())

    def _lose(self, why: str) -> None:
        if self._gate.gone is None:
            log.error("the machine is lost", why=why)
            if self._machine is not None:
                self._machine.threads.hold(Hold.OVER)
            self._report(Lost(why))
            self._end(why)

    def _end(self, why: str) -> None:
        """Whatever waits, and whatever comes, is told that the machine is gone."""
        self._gate.end(why)
        if self._console is not None:
            self._console.end()


def end_machine(machine: KvmMachine) -> None:
    """End the machine's threads, and free all that was made for it. Blocks."""
    late = machine.threads.join_all(OUT_SECONDS)
    if late:
        # what they run on must stay, as KVM may still write to it
        log.error("vcpu_threads_stuck", vcpus=late, seconds=OUT_SECONDS)
    else:
        machine.close()

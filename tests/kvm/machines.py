"""Whole machines for the tests: a core, a session on the real KVM, and a guest of a few words.

The guest does what its mailbox tells each of its vCPUs, one thing at a time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from hpcore_kvm.bus import Bus, Region
from hpcore_kvm.machine import KvmMachine
from hpcore_kvm.session import KvmSession

from hpcore.guest.boot import BootFiles
from hpcore.model import stimuli
from hpcore.model.config import MachineConfig
from hpcore.model.effects import Effect, MachineStep, RunMachineStep
from hpcore.model.events import Event
from hpcore.model.states import State, initial
from hpcore.model.stimuli import Stimulus
from hpcore.platform import virt
from hpcore.promises.rig import SessionRig
from hpcore.run.accelerator import Session
from hpcore.run.controller import Controller
from hpcore.run.deadlines import Patience
from hpcore.run.machine import LiveMachine
from tests.kvm.programs import CALLER, Program, image
from tests.kvm.rig import HOLE
from tests.support.logs import ListLog
from tests.support.waits import SECONDS, until

MEMORY = 256
ENTRY = virt.KERNEL_BASE + 8
"""Where a second vCPU begins with CALLER, its mailbox in x0."""

HVC, STORE, LOAD = 1, 2, 3
MAILBOX_SIZE = 0x100
IDLE_SECONDS = 0.001
WORD = 1 << 64


def config(cpus: int, maxcpus: int) -> MachineConfig:
    return MachineConfig.of(cpus=cpus, maxcpus=maxcpus, memory=MEMORY)


def mailbox(cpu: int) -> int:
    """The address of a vCPU's mailbox."""
    return HOLE + cpu * MAILBOX_SIZE


class Mailboxes:
    """A device: what each vCPU is to do, and what came of it."""

    def __init__(self) -> None:
        self._orders: dict[int, tuple[int, ...]] = {}
        self._results: dict[int, int] = {}
        self._taken: set[int] = set()
        self._lock = threading.Lock()
        self.polls: dict[int, int] = {}

    def order(self, cpu: int, *words: int) -> None:
        """Have `cpu` do so."""
        with self._lock:
            self._results.pop(cpu, None)
            self._taken.discard(cpu)
            self._orders[cpu] = (*words, *(0,) * (5 - len(words)))

    def result(self, cpu: int) -> int | None:
        """What the last order of `cpu` gave, if it is done."""
        with self._lock:
            return self._results.get(cpu)

    def read(self, offset: int, _size: int) -> int:
        cpu, at = divmod(offset, MAILBOX_SIZE)
        with self._lock:
            order = self._orders.get(cpu)
            if at:
                return order[at // 8] if order else 0
            self.polls[cpu] = self.polls.get(cpu, 0) + 1
            new = order is not None and cpu not in self._taken
            self._taken.add(cpu)  # once: a guest that was reset asks again
        if order is None or not new:
            time.sleep(IDLE_SECONDS)
            return 0
        return order[0]

    def write(self, offset: int, _size: int, value: int) -> None:
        cpu = offset // MAILBOX_SIZE
        with self._lock:
            self._orders.pop(cpu, None)
            self._results[cpu] = value - WORD if value >> 63 else value


class KvmRig(SessionRig[KvmSession]):
    """A session without a core, and its machine."""

    @property
    def machine(self) -> KvmMachine:
        assert self.session.machine is not None
        return self.session.machine


def bare(
    cpus: int, maxcpus: int, images: BootFiles | None = None, *, deferred: bool = False
) -> KvmRig:
    """A session that is closed in the end."""
    stimuli: list[Stimulus] = []
    machine = config(cpus, maxcpus)
    return KvmRig(KvmSession(machine, images, stimuli.append, deferred=deferred), stimuli)


class Whole:
    """A machine under a core, and the guest's mailboxes."""

    def __init__(self, machine: MachineConfig, images: BootFiles, enter: Enter) -> None:
        self.log, self.boxes = ListLog(), Mailboxes()
        self._images, self._enter = images, enter
        patience = Patience(boot=SECONDS, end=SECONDS)
        self.core = Controller(initial(machine), lambda: self.log, self._open, patience)
        self.live = LiveMachine(self.core)

    @property
    def events(self) -> list[Event]:
        return self.log.events

    @property
    def machine(self) -> KvmMachine:
        assert isinstance(self.core.session, KvmSession)
        assert self.core.session.machine is not None
        return self.core.session.machine

    async def boot(self) -> None:
        """Start the guest, which then waits for orders."""
        await self.live.start()

    async def until(self, holds: Callable[[State], bool]) -> None:
        await self.core.until(holds, SECONDS, "what the test waits for")

    async def plug(self, slot: int) -> None:
        await (await self.live.begin(stimuli.DeviceAdd(f"cpu{slot}", (("core-id", slot),)))).ended()
        assert self.live.slot(slot).enabled

    async def revoke(self, slot: int) -> None:
        """Take the vCPU by force."""
        await self.core.submit(stimuli.DeviceDel(f"cpu{slot}", force=True))
        await self.until(lambda s: s.slots[slot].id is None)

    async def order(self, cpu: int, *words: int) -> int:
        """Have the guest's `cpu` do so, and wait for what comes of it."""
        self.boxes.order(cpu, *words)
        return await until(lambda: self.boxes.result(cpu))

    async def store(self, cpu: int, address: int, value: int) -> None:
        """Have the guest's `cpu` store a 32-bit word."""
        await self.order(cpu, STORE, 0, address, value)

    async def load(self, cpu: int, address: int) -> int:
        """Have the guest's `cpu` load a 32-bit word."""
        return await self.order(cpu, LOAD, 0, address)

    async def _open(self, report: Callable[[Stimulus], None]) -> Session:
        session = KvmSession(self.core.state.config, self._images, report)
        self._enter(self, session)
        return session


Enter = Callable[[Whole, KvmSession], None]


def _with_mailboxes(whole: Whole, session: KvmSession) -> None:
    """Put the mailboxes on the bus as soon as there is one."""
    execute: Callable[[Effect], Awaitable[int | None]] = session.execute

    async def adding(effect: Effect) -> int | None:
        value = await execute(effect)
        if effect == RunMachineStep(MachineStep.CREATE_VCPUS):
            assert session.machine is not None
            size = MAILBOX_SIZE * whole.core.state.config.possible
            region = Region(HOLE, size, whole.boxes)
            session.machine.bus = Bus(*session.machine.bus.regions, region)
        return value

    session.execute = adding  # type: ignore[method-assign]


@asynccontextmanager
async def whole(
    directory: Path, cpus: int, maxcpus: int, program: Program = CALLER
) -> AsyncIterator[Whole]:
    """A machine whose guest is `program`, not booted yet."""
    rig = Whole(config(cpus, maxcpus), flat(directory, program), _with_mailboxes)
    async with rig.core:
        yield rig


def flat(directory: Path, program: Program) -> BootFiles:
    """A guest that is `program`, from its first word on."""
    kernel, initrd = directory / "kernel", directory / "initrd"
    kernel.write_bytes(image(program))
    initrd.write_bytes(b"")
    return BootFiles(b"", b"", kernel, initrd)


def thread_ids() -> set[int]:
    """The kernel's ids of this process's threads."""
    return {int(path.name) for path in Path("/proc/self/task").iterdir()}


def open_files() -> int:
    """How many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))

"""Machines for tests: the monitor alone, spoken to directly, and whole sessions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from hpcore_tcg import TcgAccelerator
from hpcore_tcg.build import ensure_monitor
from hpcore_tcg.link import RequestRefused
from hpcore_tcg.machine import TcgMachine, Told
from hpcore_tcg.protocol import Event, Frame, Op, Power, StateBit, Status
from hpcore_tcg.session import TcgSession

from hpcore.guest.images import FetchedGuest
from hpcore.guest.linux import LinuxGuest
from hpcore.guest.protocol import Masks
from hpcore.guest.shell import Shell, ShellResult
from hpcore.model.config import MachineConfig
from hpcore.model.effects import Step
from hpcore.model.rules import TEARDOWN
from hpcore.model.stimuli import EjectCalled, OstReported, Stimulus
from hpcore.promises.rig import COLD_BUILD, SessionRig
from hpcore.qemu import find_qemu
from hpcore.qemu.kept import QemuGone
from hpcore.qemu.kept_moves import who_has
from hpcore.qemu.runtime_directory import remove_runtime_directory
from hpcore.run.accelerator import GuestImages

EJECTING = 0x84


def config(cpus: int, maxcpus: int) -> MachineConfig:
    return MachineConfig.of(cpus=cpus, maxcpus=maxcpus)


class MonitorRig:
    """The real monitor in a QEMU without a guest, before RUN."""

    machine: TcgMachine

    def __init__(self) -> None:
        self.events: list[Frame] = []
        self.lost: list[str] = []
        self._news = asyncio.Event()

    async def event(self, frame: Frame) -> None:
        self.events.append(frame)
        self._news.set()

    async def wait_event(self, kind: Event, count: int = 1, seconds: float = 30.0) -> Frame:
        """The `count`th event of this kind."""
        async with asyncio.timeout(seconds):
            while True:
                found = [frame for frame in self.events if frame.kind == kind]
                if len(found) >= count:
                    return found[count - 1]
                self._news.clear()
                await self._news.wait()

    async def ask(self, op: Op, slot: int = 0, arg: int = 0) -> int:
        """The value of the answer; raises Refused."""
        async with asyncio.timeout(30):
            return await self.machine.link.send(op, slot, arg)

    async def status(self, op: Op, slot: int = 0, arg: int = 0) -> Status:
        """How the monitor answers."""
        try:
            await self.ask(op, slot, arg)
        except RequestRefused as refused:
            return Status(refused.status)
        return Status.OK

    async def init(self) -> int:
        hello = await self.wait_event(Event.HELLO, len(self.of(Event.HELLO)) or 1)
        return await self.ask(Op.INIT, arg=hello["epoch"])

    async def flag(self, slot: int, bit: StateBit) -> int:
        width = 2 if bit is StateBit.POWER else 8 if bit is StateBit.STA else 1
        return await self.ask(Op.QUERY, slot) >> bit & ((1 << width) - 1)

    async def power(self, slot: int) -> Power:
        return Power(await self.flag(slot, StateBit.POWER))

    def of(self, kind: Event) -> list[Frame]:
        return [frame for frame in self.events if frame.kind == kind]


@asynccontextmanager
async def monitor(vcpus: int) -> AsyncIterator[MonitorRig]:
    """A rig whose monitor has said HELLO."""
    rig = MonitorRig()
    told = Told(rig.event, rig.lost.append, lambda _reason: None, lambda: None)
    machine = await TcgMachine.start(config(1, vcpus), None, find_qemu(), ensure_monitor(), told)
    rig.machine = machine
    try:
        await machine.qmp.execute("cont")
        await rig.wait_event(Event.HELLO)
        yield rig
    finally:
        await machine.close()


class TcgRig(SessionRig[TcgSession]):
    """A session without a core, and what its Linux says."""

    shell: Shell

    async def linux(self) -> None:
        """Wait until Linux has a shell."""
        assert self.session.console is not None
        self.shell = Shell(self.session.console)
        await self.shell.wait_ready()
        await self.shell.run("dmesg -n 1")

    async def masks(self) -> Masks:
        return await LinuxGuest(self.shell).masks()

    async def online(self, slot: int, value: int = 1) -> ShellResult:
        return await self.shell.run(f"echo {value} > /sys/devices/system/cpu/cpu{slot}/online")

    async def ost(self, slot: int, source: int, since: int) -> int:
        """The final `_OST` status for an event."""

        def final() -> OstReported | None:
            for s in self.stimuli[since:]:
                match s:
                    case OstReported(status=status) if status != EJECTING:
                        if (s.slot, s.source) == (slot, source):
                            return s
            return None

        found = await self.until(final, f"vCPU {slot}'s _OST for event {source}")
        return found.status

    async def plug(self, slot: int) -> int:
        """Plug as the core does; the `_OST` status."""
        await self.steps(slot, *COLD_BUILD)
        since = len(self.stimuli)
        await self.steps(slot, Step.NOTIFY_INSERT)
        return await self.ost(slot, 1, since)

    async def unplug(self, slot: int) -> int:
        """Unplug as the core does; the final `_OST` status."""
        since = len(self.stimuli)
        await self.steps(slot, Step.NOTIFY_REMOVE)
        await self.heard(EjectCalled(slot), since)
        await self.steps(slot, *TEARDOWN)
        return await self.ost(slot, 3, since)


async def no_more(place: Path) -> None:
    """End the kept machine whose directory is `place`, whichever QEMU has it; leave nothing."""
    with suppress(QemuGone):
        await (await who_has(place, lambda qemu: qemu / "qmp")).close()
    remove_runtime_directory(place)


@asynccontextmanager
async def session(
    cpus: int, maxcpus: int, guest: FetchedGuest | None = None, append: str = ""
) -> AsyncIterator[TcgRig]:
    """A session with nothing started; ended at the end."""
    stimuli: list[Stimulus] = []
    images = None if guest is None else GuestImages(guest.kernel, guest.initramfs(), append)
    opened = await TcgAccelerator().open(config(cpus, maxcpus), images, stimuli.append)
    async with TcgRig(opened, stimuli) as rig:
        yield rig

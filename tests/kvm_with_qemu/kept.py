"""What a test has of a machine that is kept: its guest while no hpcore is there, and with one."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from hpcore.log import read
from hpcore.model import stimuli
from hpcore.model.events import Event
from hpcore.qemu.console import SocketConsole
from hpcore.qemu.kept_machine import CONSOLE_KEPT
from hpcore.qemu.runtime_directory import remove_runtime_directory
from hpcore.run.attach import attach_machine
from hpcore.run.kept import place_of
from hpcore.run.machine import LiveMachine
from hpcore.run.view import view
from tests.kvm_with_qemu.keeps import PLUGGED
from tests.kvm_with_qemu.strings import Strings
from tests.support.waits import SECONDS, until

OTHERS_ECHOES = 1000
"""Numbers of echoes that whoever had the guest before has not reached."""


@contextmanager
def killed(log: Path) -> Iterator[Path]:
    """A machine whose vCPU 1 is plugged, and whose hpcore was killed; where it lives."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.kvm_with_qemu.keeps", str(log)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == PLUGGED
        finally:
            process.kill()
    header, records = read(log)
    records.close()
    place = place_of(header)
    assert place is not None
    try:
        yield place
    finally:
        for pid in pids_of(place):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        remove_runtime_directory(place)


def pids_of(place: Path) -> list[int]:
    """The processes that were started with a word about `place`: its QEMU."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if str(place / "qmp").encode() in (process / "cmdline").read_bytes():
                found.append(int(process.name))
    return found


def printed(place: Path) -> bytes:
    """All that the guest has printed."""
    return (place / CONSOLE_KEPT).read_bytes()


@asynccontextmanager
async def alone(place: Path) -> AsyncIterator[Strings]:
    """The strings of the guest, while there is no hpcore."""
    streams = await asyncio.open_unix_connection(str(place / "console"))
    console = SocketConsole(*streams)
    try:
        yield Strings(lambda: console)
        await until(lambda: not console.untaken)
    finally:
        await console.close()


class Attached(Strings):
    """A machine that was taken up again, and the strings of its guest."""

    def __init__(self) -> None:
        super().__init__(lambda: self)
        self._orders = OTHERS_ECHOES
        self._machine: LiveMachine | None = None
        self._printed, self._news = bytearray(), asyncio.Event()
        self.taken_up = ""
        self.events: list[Event] = []

    @property
    def machine(self) -> LiveMachine:
        assert self._machine is not None, "it is attached"
        return self._machine

    def has(self, machine: LiveMachine, taken_up: str) -> None:
        self._machine, self.taken_up = machine, taken_up
        machine.subscribe(lambda event, _state: self.events.append(event))

    async def plug(self, slot: int) -> None:
        """Plug the vCPU; this guest never says that it has seen it."""
        await self.machine.begin(stimuli.DeviceAdd(f"cpu{slot}", (("core-id", slot),)))
        await self.machine.until(
            lambda s: view(s)[slot].enabled and s.slots[slot].step is None, "the plug"
        )

    async def revoke(self, slot: int) -> None:
        """Take the vCPU by force."""
        await self.machine.begin(stimuli.DeviceDel(f"cpu{slot}", force=True))
        await self.machine.until(lambda s: s.slots[slot].id is None, "the unplug")

    # ----------------------------------------------------------- the console, for the strings

    def hear(self, data: bytes) -> None:
        if self._machine is not None:  # what was printed before is no answer to its orders
            self._printed += data
            self._news.set()

    def write(self, data: bytes) -> None:
        console = self.machine._c.session.console
        assert console is not None
        console.write(data)

    async def read(self) -> bytes:
        await asyncio.wait_for(self._news.wait(), SECONDS)
        self._news.clear()
        data = bytes(self._printed)
        self._printed.clear()
        return data


@asynccontextmanager
async def attached(log: Path) -> AsyncIterator[Attached]:
    """Take the machine of `log` up again, and leave it running."""
    rig = Attached()
    async with attach_machine(log, printed=rig.hear) as found:
        rig.has(found.machine, str(found.taken_up))
        await rig.echo()
        yield rig

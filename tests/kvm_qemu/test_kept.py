"""hpcore dies at every line of its log, and another one takes the machine up: nothing is lost.

QEMU is played (played_qemu.py), and so are KVM and the guest; all of hpcore is real.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
from hpcore_kvm_qemu import launch
from hpcore_kvm_qemu.kept import KeptKvmQemuSession
from hpcore_kvm_qemu.kept_machine import KeptKvmQemuMachine

from hpcore.log import Entry, LogWriter, Sync, read
from hpcore.model import events as ev
from hpcore.model import stimuli
from hpcore.model.config import MachineConfig
from hpcore.model.machines import Phase
from hpcore.model.states import State
from hpcore.qemu.find import Qemu
from hpcore.qemu.kept import KeptQemu
from hpcore.qemu.runtime_directory import (
    lock_of,
    remove_runtime_directory,
    runtime_directory,
)
from hpcore.run import attach
from hpcore.run.accelerator import Capabilities, GuestImages, GuestScript, Kept, Report
from hpcore.run.attach import MachineEnded, attach_machine
from hpcore.run.discovery import Found
from hpcore.run.errors import RunError
from hpcore.run.kept import NotKept
from hpcore.run.machine import LiveMachine
from hpcore.run.open import open_machine
from hpcore.triage.replay import replay
from tests.kvm_qemu.played_qemu import PlayedQemu, played
from tests.support.waits import SECONDS, until

CONFIG = MachineConfig.of(cpus=1, maxcpus=3)
QEMU = Qemu(Path("qemu"), "7.2")


class PlayedKeeper:
    """The accelerator, but that its QEMU is there before it is started."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def probe(self) -> Capabilities:
        return Capabilities(no_keep=None)

    @property
    def found(self) -> Found:
        return Found("kvm-qemu", "tests", self, self.probe())

    async def open(
        self, machine: MachineConfig, guest: GuestImages | GuestScript | None, report: Report
    ) -> KeptKvmQemuSession:
        return await self.keep(machine, guest, report)

    async def keep(
        self, machine: MachineConfig, guest: GuestImages | GuestScript | None, report: Report
    ) -> KeptKvmQemuSession:
        session = KeptKvmQemuSession(machine, report, self.directory, boots=True)
        session._start_machine = partial(
            KeptKvmQemuMachine.create, machine, None, QEMU, Path("interposer"), self.directory
        )
        return session

    async def attach(self, kept: Kept, report: Report) -> KeptKvmQemuSession:
        return await KeptKvmQemuSession.attach(kept, report)


class Rig:
    """The played QEMU, the log, and one hpcore after the other."""

    def __init__(self, qemu: PlayedQemu, log: Path) -> None:
        self.qemu, self.log = qemu, log
        self.keeper = PlayedKeeper(qemu.directory)

    @asynccontextmanager
    async def made(self) -> AsyncIterator[LiveMachine]:
        async with open_machine(
            self.keeper.found, CONFIG, log=self.log, sync=Sync.OS, keep=True
        ) as machine:
            yield machine

    @asynccontextmanager
    async def again(self) -> AsyncIterator[LiveMachine]:
        """Taken up by another."""
        async with attach_machine(self.log) as again:
            yield again.machine

    def events(self) -> list[ev.Event]:
        _, records = read(self.log)
        with records:
            return [record.event for record in records]

    def ended(self, kind: type[ev.Event]) -> bool:
        return any(isinstance(event, kind) for event in self.events())


R = TypeVar("R", bound=Rig)


@asynccontextmanager
async def rig(
    log: Path, monkeypatch: pytest.MonkeyPatch, kind: Callable[[PlayedQemu, Path], R]
) -> AsyncIterator[R]:
    directory = runtime_directory()
    lock = os.dup(lock_of(directory))  # as the real one inherits it
    try:
        async with played(directory, CONFIG.possible) as qemu:
            pid = qemu.process.pid
            monkeypatch.setattr(launch, "command_line", lambda *_, **__: [])
            monkeypatch.setattr(launch, "environment", lambda *_: {})
            monkeypatch.setattr(KeptQemu, "start", lambda *_: KeptQemu(pid, directory))
            for module in ("hpcore.qemu.kept", "hpcore_kvm_qemu.link"):
                monkeypatch.setattr(f"{module}.peer", lambda _sock: pid)
            found = kind(qemu, log)
            monkeypatch.setattr(attach, "look_up", lambda _name: found.keeper.found)
            yield found
    finally:
        os.close(lock)
        remove_runtime_directory(directory)


class Death:
    """The log's writer fails at its `at`th writing, before it is written or just after.

    That is the death of a run, in one process: nothing is decided, begun or logged any more.
    """

    def __init__(self, at: int, *, written: bool) -> None:
        self.at, self.written, self.count = at, written, 0
        self.alive = True

    @property
    def of(self) -> Callable[[LogWriter, Iterable[Entry]], int]:
        """In the place of `LogWriter.append_all`."""

        def append_all(writer: LogWriter, entries: Iterable[Entry]) -> int:
            return self._writes(writer, entries)

        return append_all

    def _writes(self, writer: LogWriter, entries: Iterable[Entry]) -> int:
        self.count += 1
        if not self.alive or self.count == self.at:
            first = self.alive
            self.alive = False
            if first and self.written:
                REAL(writer, entries)
            raise RunError("killed")
        return REAL(writer, entries)


REAL = LogWriter.append_all


async def boot(machine: LiveMachine) -> None:
    await machine.begin(stimuli.Boot())
    await running(machine)


async def running(machine: LiveMachine) -> None:
    await machine.until(
        lambda s: s.shared.phase is Phase.RUNNING and s.shared.step is None, "the start", SECONDS
    )


async def work(found: Rig, machine: LiveMachine) -> None:
    """What a user does, from wherever the log is on: plug, reset, and unplug vCPU 1."""
    if not found.ended(ev.PlugAccepted):
        await machine.begin(stimuli.DeviceAdd("cpu1", (("core-id", 1),)))
    if not found.ended(ev.UnplugAccepted):
        await machine.until(on_and_known, "the plug", SECONDS)
        assert found.qemu.said["CPU_ON SUCCESS"] == 1
        await machine.begin(stimuli.DeviceDel("cpu1"))
    await machine.until(
        lambda s: s.slots[1].id is None and not s.slots[1].busy, "the unplug", SECONDS
    )
    assert await found.qemu.cpu_on(2) < 0
    await until(lambda: machine.failure is not None or as_often(found), "the last call")
    if machine.failure is not None:
        raise machine.failure


def on_and_known(state: State) -> bool:
    slot = state.slots[1]
    return slot.powered and slot.registered and slot.step is None


def as_often(found: Rig) -> bool:
    """Whether the log has what the guest did, each thing once."""
    said, events = found.qemu.said, found.events()

    def count(*kinds: type[ev.Event]) -> int:
        return sum(isinstance(event, kinds) for event in events)

    return (
        count(ev.CpuOnGranted) == said["CPU_ON SUCCESS"]
        and count(ev.CpuOnDenied) == said["CPU_ON DENIED"]
        and count(ev.CpuWentOff) == said["CPU_OFF"]
        and count(ev.EjectAccepted, ev.EjectRefused) == said["eject"]
        and count(ev.OstReceived) == said["OST"]
        and count(ev.InsertCleared) == said["insert"]
        and count(ev.RemoveCleared) == said["remove"]
        and count(ev.ScanBegun) == said["scan"]
        and count(ev.MachineWasReset) == said["reset"]
    )


def dies(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    at: int,
    *,
    written: bool,
    kind: Callable[[PlayedQemu, Path], Rig] = Rig,
) -> int:
    """A run that dies at the `at`th writing, and is taken up; how often was written."""
    death = Death(at, written=written)

    async def run() -> None:
        async with rig(tmp_path / f"{at}.jsonl", monkeypatch, kind) as found:
            monkeypatch.setattr(LogWriter, "append_all", death.of)
            with suppress(RunError):
                async with found.made() as machine:
                    await boot(machine)
                    await work(found, machine)
            monkeypatch.setattr(LogWriter, "append_all", REAL)
            if death.alive:
                return
            try:
                if found.qemu._page is not None and not found.qemu.held:
                    await until(lambda: not found.qemu.up, "the interposer's look")
                    assert await found.qemu.cpu_on(1) < 0  # nothing is granted by the dead
                async with found.again() as again:
                    await running(again)
                    await work(found, again)
                    assert as_often(found)
            except (MachineEnded, NotKept):  # it had yet to run
                assert not found.qemu.said
            assert replay(found.log).ok

    asyncio.run(run())
    return death.count if death.alive else 0


WRITINGS = 34
"""Of a run that nobody kills, or more."""


@pytest.mark.parametrize("written", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, WRITINGS + 1))
def test_a_death_at_any_line_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, written: bool
) -> None:
    dies(tmp_path, monkeypatch, at, written=written)

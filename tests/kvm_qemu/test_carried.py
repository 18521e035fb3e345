"""A machine is carried to another QEMU, or to a file, and what hpcore has of it goes along.

QEMU is played (played_qemu.py), and so are KVM and the guest; all of hpcore is real.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import pytest
from hpcore_kvm_qemu.machine import DEAF, KvmQemuMachine
from hpcore_kvm_qemu.saved import HOTPLUG
from hpcore_kvm_qemu.session import KvmQemuSession

from hpcore.log import Sync, read
from hpcore.model import events as ev
from hpcore.model import stimuli
from hpcore.model.config import MachineConfig
from hpcore.model.machines import Phase
from hpcore.model.psci import PsciStatus
from hpcore.model.states import State
from hpcore.qemu.find import Qemu
from hpcore.qemu.process import QemuProcess
from hpcore.qemu.running import RunningQemu
from hpcore.run.accelerator import (
    AcceleratorError,
    Belongings,
    Capabilities,
    GuestImages,
    GuestScript,
    Report,
    Stream,
)
from hpcore.run.discovery import Found
from hpcore.run.machine import LiveMachine
from hpcore.run.open import open_machine
from hpcore.run.saving import load_saved, restore_machine
from hpcore.session.carrying import QEMU
from hpcore.session.elsewhere import Elsewhere, LoadedFiles
from hpcore.triage.replay import replay
from tests.kvm_qemu.played_qemu import PlayedQemu, played
from tests.support.waits import SECONDS, until

CONFIG = MachineConfig.of(cpus=1, maxcpus=3)


class PlayedProcess(RunningQemu):
    """A played QEMU as hpcore has it: in the test's process, which so is who connects."""

    def __init__(self, directory: Path, qemu: PlayedQemu) -> None:
        super().__init__(directory)
        self._qemu = qemu

    @property
    def pid(self) -> int:
        return os.getpid()

    @property
    def running(self) -> bool:
        return self._qemu.process.poll() is None

    @property
    def last_words(self) -> str:
        return "played" if self.running else "it ended with signal SIGKILL"

    async def wait(self) -> None:
        await until(lambda: not self.running, "its end", SECONDS * 10)

    async def close(self) -> None:
        self._qemu.die()
        self.remove_directory()


class Host:
    """The accelerator, but that each QEMU that it starts is a played one."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.qemus: list[PlayedQemu] = []
        self.begun: Callable[[PlayedQemu], None] = lambda _qemu: None
        """Called with each QEMU that waits for a machine."""
        self.session: KvmQemuSession | None = None

    @property
    def qemu(self) -> PlayedQemu:
        """The one that was started last."""
        return self.qemus[-1]

    @property
    def found(self) -> Found:
        return Found("kvm-qemu", "tests", self, self.probe())

    def probe(self) -> Capabilities:
        return Capabilities(no_save=None)

    async def start(
        self, argv: Sequence[str | Path], directory: Path, *_: object
    ) -> PlayedProcess:
        """In place of `QemuProcess.start`."""
        qemu = await self._stack.enter_async_context(played(directory, CONFIG.possible))
        self.qemus.append(qemu)
        if "-incoming" in argv:
            self.begun(qemu)
        return PlayedProcess(directory, qemu)

    async def open(
        self, machine: MachineConfig, guest: GuestImages | GuestScript | None, report: Report
    ) -> KvmQemuSession:
        start = partial(
            KvmQemuMachine.start, machine, None, Qemu(Path("qemu"), "7.2"), Path("interposer")
        )
        other = partial(start, DEAF, incoming=True)
        elsewhere = Elsewhere(other, LoadedFiles({}), None, live=True)
        self.session = KvmQemuSession(machine, start, report, boots=True, elsewhere=elsewhere)
        return self.session

    async def restore(
        self, state: State, belongings: Belongings, stream: Stream, report: Report
    ) -> KvmQemuSession:
        session = await self.open(state.config, None, report)
        await session.load(state, belongings, stream)
        return session


@asynccontextmanager
async def host(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Host]:
    async with AsyncExitStack() as stack:
        found = Host(stack)
        monkeypatch.setattr(QemuProcess, "start", found.start)
        yield found


@asynccontextmanager
async def opened(found: Host, log: Path) -> AsyncIterator[LiveMachine]:
    """Booted, with vCPU 1 plugged and on; vCPU 2 is parked."""
    async with open_machine(found.found, CONFIG, log=log, sync=Sync.OS) as machine:
        await machine.begin(stimuli.Boot())
        await runs(machine)
        await plugs(found, machine, 1)
        assert await found.qemu.cpu_on(2) == PsciStatus.DENIED
        yield machine


async def runs(machine: LiveMachine) -> None:
    await machine.until(
        lambda s: s.shared.phase is Phase.RUNNING and s.shared.step is None, "a start", SECONDS
    )


async def plugs(found: Host, machine: LiveMachine, slot: int) -> None:
    await machine.begin(stimuli.DeviceAdd(f"cpu{slot}", (("core-id", slot),)))
    await machine.until(
        lambda s: s.slots[slot].powered and s.slots[slot].registered and not s.shared.scanning,
        "the plug", SECONDS,
    )  # fmt: skip


async def unplugs(machine: LiveMachine, slot: int) -> None:
    await machine.begin(stimuli.DeviceDel(f"cpu{slot}"))
    await machine.until(
        lambda s: s.slots[slot].id is None and not s.slots[slot].busy, "the unplug", SECONDS
    )


async def it_is_as_it_was(found: Host, machine: LiveMachine) -> None:
    """Where it runs now: vCPU 1 is on and can go, vCPU 2 is denied until it is plugged."""
    assert found.qemu.powered == {0, 1}
    assert await found.qemu.cpu_on(2) == PsciStatus.DENIED
    await plugs(found, machine, 2)
    await unplugs(machine, 1)
    assert await found.qemu.cpu_on(1) == PsciStatus.DENIED
    assert found.qemu.powered == {0, 2}


def events(log: Path) -> list[ev.Event]:
    _, records = read(log)
    with records:
        return [record.event for record in records]



def test_a_machine_that_moves_keeps_its_grants_and_gains_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log.jsonl"

    async def run() -> None:
        async with host(monkeypatch) as found, opened(found, log) as machine:
            for _ in range(2):
                source = found.qemu
                await machine.migrate()
                assert found.qemu is not source and source.process.poll() is not None
                assert "cont" not in source.obeyed[source.obeyed.index("migrate") :]
                assert found.qemu.powered == {0, 1}
            await it_is_as_it_was(found, machine)

    asyncio.run(run())
    assert replay(log).ok
    off = [event.by for event in events(log) if isinstance(event, ev.MachinePoweredOff)]
    assert off == ["user"], "what QEMU says of a shutdown as it is ended is not the guest's word"


def test_a_vcpu_that_comes_in_powered_and_was_not_granted_is_kept_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with host(monkeypatch) as found, opened(found, tmp_path / "log.jsonl") as machine:
            found.qemu.migration.lie = {2}
            await machine.migrate()
            assert found.qemu.powered == {0, 1}
            await it_is_as_it_was(found, machine)

    asyncio.run(run())


@pytest.mark.parametrize("command", ["migrate-incoming", "migrate", "migrate-continue", "cont"])
def test_where_the_other_qemu_dies_the_machine_goes_on_and_the_next_try_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """At each command of the two monitors, just before it is obeyed."""
    log = tmp_path / "log.jsonl"

    async def run() -> None:
        async with host(monkeypatch) as found, opened(found, log) as machine:
            source = found.qemu
            dies_at(found, source, command)
            with pytest.raises(Exception, match=r"SIGKILL|closed|ended|failed"):
                await machine.migrate()
            found.begun = lambda _qemu: None
            del found.qemus[1:]
            assert await source.cpu_on(2) == PsciStatus.DENIED
            await machine.migrate()
            assert found.qemu is not source
            await it_is_as_it_was(found, machine)

    asyncio.run(run())
    assert replay(log).ok
    assert any(isinstance(event, ev.MachineStepFailed) for event in events(log))


def test_a_qemu_whose_machine_stays_at_the_end_of_a_migration_is_given_up_with_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpcore.qemu.migration.TAKE_UP_SECONDS", 0.2)
    monkeypatch.setattr("tests.kvm_qemu.played_migration.FINALIZING", 60.0)

    async def run() -> None:
        async with host(monkeypatch) as found, opened(found, tmp_path / "log.jsonl") as machine:
            source = found.qemu
            dies_at(found, source, "cont")
            with pytest.raises(Exception, match="says 'completed', and of the machine 'finish-mi"):
                await machine.migrate()
            assert "cont" not in source.obeyed[source.obeyed.index("migrate") :]

    asyncio.run(run())


def dies_at(found: Host, source: PlayedQemu, command: str) -> None:
    """The next QEMU that waits for a machine dies when that command is given, to either."""

    def begun(there: PlayedQemu) -> None:
        def dies(said: str) -> None:
            if said == command and there.process.poll() is None:
                there.die()

        source.before = there.before = dies

    found.begun = begun


def test_a_machine_that_moves_in_a_pause_is_held_until_it_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log.jsonl"

    async def run() -> None:
        async with host(monkeypatch) as found, opened(found, log) as machine:
            await machine.pause()
            await machine.migrate()
            assert found.qemu.held and found.qemu.status == "paused"
            await machine.resume()
            assert not found.qemu.held
            await it_is_as_it_was(found, machine)

    asyncio.run(run())
    assert replay(log).ok


def test_a_machine_that_is_reset_before_it_has_run_there_starts_anew_when_it_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interposer counts no reset before the machine's start there; QEMU's word is taken."""
    log = tmp_path / "log.jsonl"

    async def run() -> None:
        async with host(monkeypatch) as found, opened(found, log) as machine:
            await machine.pause()
            await machine.migrate()
            await machine.begin(stimuli.Reset())
            await machine.until(lambda s: s.shared.phase is Phase.RESETTING, "a reset", SECONDS)
            assert found.qemu.held
            await machine.begin(stimuli.Resume())
            await runs(machine)
            assert not found.qemu.held and found.qemu.powered == {0}
            assert await found.qemu.cpu_on(1) == PsciStatus.SUCCESS
            assert await found.qemu.cpu_on(2) == PsciStatus.DENIED
            await machine.begin(stimuli.Reset())
            await until(lambda: found.qemu.said["reset"] == 2, "the next reset")
            await runs(machine)

    asyncio.run(run())
    assert replay(log).ok
    assert sum(isinstance(event, ev.MachineWasReset) for event in events(log)) == 2


def test_an_interrupt_that_was_on_its_way_is_raised_again_where_the_machine_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log.jsonl"

    async def run() -> None:
        async with host(monkeypatch) as found, opened(found, log) as machine:
            os.close(found.qemu.event)  # hpcore's own is another: the guest hears nothing here
            found.qemu.event = os.eventfd(0, os.EFD_NONBLOCK)
            await machine.begin(stimuli.DeviceAdd("cpu2", (("core-id", 2),)))
            await machine.until(lambda s: s.slots[2].insert and s.slots[2].step is None, "it", 9)
            await machine.migrate()
            await machine.until(lambda s: s.slots[2].powered, "the guest's scan there", SECONDS)

    asyncio.run(run())
    assert replay(log).ok


def test_two_machines_of_one_file_go_on_where_it_was_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, log = tmp_path / "vm.saved", tmp_path / "log.jsonl"

    async def run() -> None:
        async with host(monkeypatch) as found:
            async with opened(found, log) as machine:
                await machine.save(file)
                await it_is_as_it_was(found, machine)  # the one that was saved goes on
            saved = load_saved(file)
            for number in range(2):
                other = tmp_path / f"{number}.jsonl"
                async with restore_machine(found.found, saved, log=other) as machine:
                    assert found.qemu.held and found.qemu.powered == {0, 1}
                    await machine.resume()
                    await it_is_as_it_was(found, machine)
                    await machine.migrate()
                    assert found.qemu.powered == {0, 2}
                assert replay(other).ok
            for facts, files, says in (
                ({QEMU: "9.9.9"}, {}, r"saved with qemu 9\.9\.9, and here it is"),
                ({}, {f"{HOTPLUG}.json": b"{}"}, "section hotplug does not have"),
            ):
                had = saved.file.belongings
                wrong = Belongings({**had.facts, **facts}, {**had.files, **files})
                unlike = attrs.evolve(saved, file=attrs.evolve(saved.file, belongings=wrong))
                with pytest.raises(AcceleratorError, match=says):
                    async with restore_machine(found.found, unlike, log=tmp_path / "no.jsonl"):
                        pass
                assert found.qemu.process.poll() is not None and not found.qemu.powered

    asyncio.run(run())
    assert replay(log).ok


def test_what_is_asked_of_a_vcpus_thread_is_done_before_the_machine_is_carried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with host(monkeypatch) as found, opened(found, tmp_path / "log.jsonl") as machine:
            session, source = found.session, found.qemu
            assert session is not None
            with session._asked():
                moving = asyncio.create_task(machine.migrate())
                await until(lambda: len(found.qemus) == 2, "the other QEMU")
                await until(lambda: not session._free.is_set(), "the move")
                await asyncio.sleep(0.05)
                assert "migrate" not in source.obeyed
            await moving
            await it_is_as_it_was(found, machine)

    asyncio.run(run())

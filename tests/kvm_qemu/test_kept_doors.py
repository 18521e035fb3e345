"""A door dies at every line of its log, and another takes the VM's machine up: nothing is lost.

QEMU is played (played_qemu.py), and so are KVM and the guest; of the door, all but its monitors'
sockets is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import attrs
import pytest
from hpcore_kvm_qemu.accelerator import KvmQemuAccelerator, KvmQemuKeptPrepared
from hpcore_kvm_qemu.launch import LINK
from hpcore_kvm_qemu.policy import Policy

from hpcore.door import again as door_again
from hpcore.door import asked
from hpcore.door.again import opened_again
from hpcore.door.front import Part
from hpcore.door.fronts import OWN, SESSIONS
from hpcore.door.keeping import Opening, keeping
from hpcore.door.log import VmLog
from hpcore.door.machine import attached
from hpcore.door.options import ArgumentRefused
from hpcore.log import LogWriter
from hpcore.model import stimuli
from hpcore.model.psci import PsciStatus
from hpcore.qemu.kept import KeptQemu
from hpcore.run.accelerator import Capabilities, GuestImages, Report
from hpcore.run.discovery import Found
from hpcore.run.errors import RunError
from hpcore.run.kept import NotKept, home, record
from hpcore.run.machine import LiveMachine
from hpcore.run.open import header_of
from hpcore.triage.replay import replay
from tests.door.test_offered import arm64_with_kvm
from tests.kvm_qemu.played_qemu import PlayedQemu
from tests.kvm_qemu.test_kept import (
    REAL,
    WRITINGS,
    Death,
    Rig,
    boot,
    dies,
    on_and_known,
    rig,
    running,
)
from tests.support.waits import SECONDS, until

__all__ = ["arm64_with_kvm"]

pytestmark = pytest.mark.usefixtures("arm64_with_kvm")

WORDS = ("-M", "virt", "-accel", "kvm", "-cpu", "host", "-smp", "1,maxcpus=3", "-m", "256",
         "-kernel", "vmlinuz")  # fmt: skip
FOUND = Found("kvm-qemu", "tests", KvmQemuAccelerator(), Capabilities(no_keep=None))


class Memory:
    """The guest's, and in place of what a Renewal writes there before each start but the first."""

    def __init__(self, qemu: PlayedQemu) -> None:
        self.qemu, self.has, self.resets = qemu, "loaded", 0
        self.is_stuck: asyncio.Event | None = None
        """Of a door that is to be killed amid a writing: it has come there."""

    async def renew(self, _report: Report) -> None:
        self.look()
        assert self.qemu.held, "the guest runs, and its memory is written"
        assert self.has == "loaded", "that is not what QEMU was started with"
        self.has = "half"
        if self.is_stuck is not None:
            self.is_stuck.set()
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        self.has = "new"

    def look(self) -> None:
        """QEMU puts what it was started with there, at each reset."""
        if self.qemu.said["reset"] != self.resets:
            self.resets, self.has = self.qemu.said["reset"], "loaded"


class DoorRig(Rig):
    """A VM whose QEMU is played, and one door after the other."""

    def __init__(self, qemu: PlayedQemu, log: Path) -> None:
        super().__init__(qemu, log)
        self.renewed: Memory | None = None
        for name in (OWN, SESSIONS):
            (qemu.directory / name).symlink_to("qmp")

    @asynccontextmanager
    async def made(self) -> AsyncIterator[LiveMachine]:
        wanted, place = asked.read(WORDS), self.qemu.directory
        policy = Policy(wanted.config, place / LINK, kept=True)
        policy.expect(self.qemu.process.pid)
        prepared = KvmQemuKeptPrepared(wanted.config, policy, Part({}, ()))
        header = attrs.evolve(header_of(FOUND, wanted.config), kept=home(place))
        images = None
        if self.renewed is not None:
            images = GuestImages(Path("kernel"), Path("initrd"), "", shell=False)
        try:
            with VmLog(self.log, header, None) as log:
                record(place, self.log, FOUND.name, shell=False, door=True)
                Opening(WORDS, place, self.log.with_suffix(".txt"), images).write(place)
                process, renewal = KeptQemu(self.qemu.process.pid, place), self.renewed
                async with attached(
                    wanted, prepared, process, place / SESSIONS, log, renewal  # type: ignore[arg-type]
                ) as drives:
                    yield drives.machine
        finally:
            prepared.close()

    @asynccontextmanager
    async def again(self) -> AsyncIterator[LiveMachine]:
        async with opened_again(self.log, serves=False) as again:
            yield again.attached.machine


@pytest.fixture(autouse=True)
def _played(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door_again, "look_up", lambda _name: FOUND)
    monkeypatch.setattr(door_again, "_diagnose", lambda *_: None)
    monkeypatch.setattr(door_again, "_go_to", lambda *_: None)


@pytest.mark.parametrize("written", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, WRITINGS + 1))
def test_a_doors_death_at_any_line_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, written: bool
) -> None:
    dies(tmp_path, monkeypatch, at, written=written, kind=DoorRig)


def test_one_door_after_the_other_and_never_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each denies what the one before has granted, until it has taken the machine up."""

    async def run() -> None:
        async with rig(tmp_path / "log.jsonl", monkeypatch, DoorRig) as found:
            async with found.made() as machine:
                await boot(machine)
                await machine.begin(stimuli.DeviceAdd("cpu1", (("core-id", 1),)))
                await machine.until(on_and_known, "the plug", SECONDS)
                with pytest.raises(NotKept, match="another hpcore has this machine"):
                    async with found.again():
                        raise AssertionError("there are two")
            for _ in range(2):
                await found.qemu.cpu_off(1)
                assert await found.qemu.cpu_on(1) == PsciStatus.DENIED
                async with found.again() as again:
                    assert again.slot(1).enabled
                    with pytest.raises(NotKept, match="another hpcore has this machine"):
                        async with found.again():
                            raise AssertionError("there are two")
                    assert await found.qemu.cpu_on(1) == PsciStatus.SUCCESS
                    assert await found.qemu.cpu_on(2) == PsciStatus.DENIED
            async with found.again() as again:
                again.end_when_left()
            assert found.qemu.process.wait(SECONDS) < 0
            assert not found.qemu.directory.exists()
            assert replay(found.log).ok

    asyncio.run(run())


def renewed(qemu: PlayedQemu, log: Path) -> DoorRig:
    found = DoorRig(qemu, log)
    found.renewed = Memory(qemu)
    return found


@asynccontextmanager
async def from_disk(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[DoorRig, Memory]]:
    """A VM that boots from its disk, of which every door has the same memory to write."""
    async with rig(log, monkeypatch, renewed) as found:
        memory = found.renewed
        assert memory is not None
        monkeypatch.setattr(door_again, "Renewal", lambda *_: memory)
        yield found, memory


async def restarted(found: DoorRig, machine: LiveMachine) -> None:
    await machine.until(
        lambda s: s.shared.step is None and not found.qemu.held, "the restart", SECONDS
    )
    await running(machine)


def test_a_writing_of_the_guests_memory_that_a_death_cut_is_begun_from_a_reset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        async with from_disk(tmp_path / "log.jsonl", monkeypatch) as (found, memory):
            with suppress(RunError):
                async with found.made() as machine:
                    await boot(machine)
                    memory.is_stuck = asyncio.Event()
                    found.qemu.reset()
                    await asyncio.wait_for(memory.is_stuck.wait(), SECONDS)
            memory.is_stuck = None
            assert (memory.has, found.qemu.held) == ("half", True)
            async with found.again() as again:
                await restarted(found, again)
                assert (memory.has, found.qemu.said["reset"]) == ("new", 2)
                assert await found.qemu.cpu_on(1) == PsciStatus.DENIED
            assert replay(found.log).ok

    asyncio.run(run())


@pytest.mark.parametrize("written", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(8, 12))
def test_the_guests_memory_is_written_once_and_never_while_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int, written: bool
) -> None:
    death = Death(at, written=written)

    async def run() -> None:
        async with from_disk(tmp_path / "log.jsonl", monkeypatch) as (found, memory):
            monkeypatch.setattr(LogWriter, "append_all", death.of)
            with suppress(RunError):
                async with found.made() as machine:
                    await boot(machine)
                    await reset(found, machine)
            monkeypatch.setattr(LogWriter, "append_all", REAL)
            assert not death.alive, "there are fewer writings"
            before, ran = found.qemu.said["reset"], not found.qemu.held
            async with found.again() as again:
                await restarted(found, again)
                # one more where a writing may have been cut, and none for a guest that runs
                assert before <= found.qemu.said["reset"] <= before + (not ran)
                if not before:
                    await reset(found, again)
            assert memory.has == "new"
            assert replay(found.log).ok

    asyncio.run(run())


async def reset(found: DoorRig, machine: LiveMachine) -> None:
    found.qemu.reset()
    await until(lambda: machine.failure is not None or not found.qemu.held, "the restart")
    if machine.failure is not None:
        raise machine.failure
    await restarted(found, machine)


@pytest.mark.parametrize(
    "words", [("-chroot", "/srv"), ("-runas", "nobody"), ("-run-with", "user=nobody")]
)
def test_what_would_keep_qemu_from_the_next_door_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(ArgumentRefused) as refusal:
        keeping(FOUND, asked.read([*WORDS, *words]))
    assert str(refusal.value).startswith(f"{' '.join(words)}: from there QEMU does not reach")
    assert keeping(FOUND, asked.read([*WORDS, "-run-with", "async-teardown=on"]))

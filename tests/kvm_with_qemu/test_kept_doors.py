"""VMs on KVM that outlive their door: killed, denied meanwhile, taken up again, ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from hpcore.guest.errors import GuestError
from hpcore.model.effects import MachineStep
from hpcore.model.events import CpuOnDenied, MachineStepDone
from hpcore.triage.replay import replay
from tests.door import started
from tests.door.started import (
    EXECUTABLE,
    KVM,
    PLUGGABLE_ON_KVM,
    SMALL,
    connected,
    is_gone,
    settings,
)
from tests.door.test_keeping import attach, kill_door, place
from tests.support.command import records, refused
from tests.support.guests import fetched_images
from tests.support.waits import until

READY_SECONDS = 240.0

vm = partial(started.vm, machine=KVM, memory=SMALL, keep=True, boots=False)


@pytest.mark.long
def test_a_killed_doors_vm_is_denied_until_the_next_door_and_works_with_that() -> None:
    """In QEMU's sandbox, which sets in before its interposer connects to the next door."""

    async def main() -> None:
        async with vm("-sandbox", "on") as made:
            await made.guest.wait_ready(READY_SECONDS)
            await made.client.plug(2, driver=PLUGGABLE_ON_KVM)
            await made.shows({0, 1, 2})
            await made.guest.offline(2)
            before = denied(made.log)  # at its boot, those that are not plugged
            await kill_door(made)
            with pytest.raises(GuestError):
                await made.guest.online(2)  # though it is plugged
            await made.guest.offline(1)
            assert (await made.guest.masks()).online == {0}
            assert made.process.returncode is None
            async with attach(made.log) as taken:
                assert "served again: QMP, -qmp unix:" in taken.said
                again = await made.connect("qmp")
                assert set(await again.there()) == {0, 1, 2}
                error = await asyncio.to_thread(refused, "attach", made.log)
                assert "another hpcore has this machine" in error
                await made.shows({0, 1, 2})
                assert denied(made.log) == [*before, 2]
                await again.unplug(2)
                await made.enabled({0, 1})
                await again.plug(3, driver=PLUGGABLE_ON_KVM)
                await made.shows({0, 1, 3})
                lives = place(made.log)
                await again.do("quit")
                assert await made.ended() == 0
                assert await taken.ended() == 0
                await again.close()
            assert not lives.exists()
            assert replay(made.log).ok

    asyncio.run(main())


def denied(log: Path) -> list[int]:
    """The vCPUs of which the guest's CPU_ON was denied, as the log has it."""
    return [r.event.slot for r in records(log) if isinstance(r.event, CpuOnDenied)]


@pytest.mark.long
def test_a_daemon_is_taken_up_again() -> None:
    async def main() -> None:
        async with daemon() as directory:
            pid = int((directory / "pid").read_text())  # it takes the file away when it ends
            (log,) = (directory / "logs").glob("*.jsonl")
            await until(partial(has_started, log), "the start")
            client = await connected(directory / "qmp")
            await client.plug(2, driver=PLUGGABLE_ON_KVM)
            door = int(log.stem.rpartition("-")[2])
            os.kill(door, signal.SIGKILL)
            await until(lambda: is_gone(door), "the door's end")
            await client.close()
            async with attach(log) as taken:
                again = await connected(directory / "qmp")
                assert set(await again.there()) == {0, 1, 2}
                lives = place(log)
                await again.do("quit")
                assert await taken.ended() == 0
                await again.close()
            assert not lives.exists()
            assert is_gone(pid)
            assert replay(log).ok

    asyncio.run(main())


def has_started(log: Path) -> bool:
    """Whether the log has it that the guest runs, so that its QEMU outlives the door."""
    done = (r.event for r in records(log) if isinstance(r.event, MachineStepDone))
    return any(event.step is MachineStep.START for event in done)


@asynccontextmanager
async def daemon() -> AsyncIterator[Path]:
    """A VM that has become a daemon, and where its sockets, logs and pidfile are."""
    images = fetched_images()
    assert images is not None, "make setup fetches the guest"
    with tempfile.TemporaryDirectory(prefix="vm-", dir="/tmp") as name:
        directory = Path(name)
        process = await asyncio.create_subprocess_exec(
            EXECUTABLE, *KVM, "-smp", "2,maxcpus=4", "-m", SMALL, "-nodefaults",
            "-display", "none", "-kernel", images.kernel, "-initrd", images.initrd,
            "-qmp", "unix:qmp,server=on,wait=off", "-daemonize", "-pidfile", "pid",
            env={**os.environ, **settings(directory, keep=True)}, cwd=directory,
            stdin=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            assert await process.wait() == 0
            await until((directory / "qmp").exists, "its monitor")
            yield directory
        finally:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                os.kill(int((directory / "pid").read_text()), signal.SIGKILL)


@pytest.mark.long
def test_a_vm_that_was_never_let_go_on_ends_with_its_door() -> None:
    async def main() -> None:
        async with vm("-S") as made:
            await kill_door(made)
            assert await made.ended() == 0
            error = await asyncio.to_thread(refused, "attach", made.log)
            assert "hpcore ended before it had started the machine" in error

    asyncio.run(main())

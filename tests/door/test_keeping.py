"""VMs that outlive their door: killed, taken up again with all that is theirs, refused, ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import attrs
import pytest
from attrs import define

from hpcore.door.asked import read
from hpcore.door.keeping import STAYS, KeepingFronted, Opening, keeping, refuse_what_is_lost
from hpcore.door.options import ArgumentRefused
from hpcore.errors import HpcoreError
from hpcore.log import read as read_log
from hpcore.model.machines import Phase
from hpcore.run.accelerator import GuestImages
from hpcore.run.attach import attach_machine
from hpcore.run.discovery import find
from hpcore.run.kept import NotKept, place_of
from hpcore.triage.replay import replay
from tests.door.started import EXECUTABLE, Vm, connected, is_gone, settings, vm
from tests.qemu.support import needs_qemu
from tests.support.command import HPCORE, hpcore, refused
from tests.support.waits import SECONDS, until

pytestmark = needs_qemu

LEAVES = "Ctrl-C leaves the VM running"


@define
class Attach:
    """`hpcore attach` of a VM's log, and what it has said by the time that it serves."""

    process: asyncio.subprocess.Process
    said: str

    async def ended(self) -> int:
        """Its exit status, once it has ended by itself."""
        code = await asyncio.wait_for(self.process.wait(), SECONDS)
        assert self.process.stdout is not None
        self.said += (await self.process.stdout.read()).decode()
        return code


@asynccontextmanager
async def attach(log: Path) -> AsyncIterator[Attach]:
    """`hpcore attach LOG`, which serves; ended on leaving, if it has not yet."""
    process = await asyncio.create_subprocess_exec(
        HPCORE, "attach", log,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        found = Attach(process, "")
        while LEAVES not in found.said:
            line = await asyncio.wait_for(process.stdout.readline(), SECONDS)
            assert line, found.said
            found.said += line.decode()
        yield found
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def kill_door(machine: Vm) -> None:
    door = machine.door()
    os.kill(door, signal.SIGKILL)
    await until(lambda: is_gone(door), "the door's end")


def listens(path: Path) -> bool:
    """Whether somebody listens there, who takes this for a client that is gone again."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0


def place(log: Path) -> Path:
    header, records = read_log(log)
    records.close()
    found = place_of(header)
    assert found is not None
    return found


def test_a_vm_whose_door_is_killed_is_taken_up_as_the_same_vm_and_ends_by_quit() -> None:
    async def main() -> None:
        words = (
            "-pidfile", "{}/pid", "-device", "pcie-root-port,id=below",
            "-monitor", "unix:prompt,server=on,wait=off", "-no-shutdown",
        )  # fmt: skip
        async with vm(*words, keep=True) as machine:
            client, directory = machine.client, machine.directory
            await client.plug(2)
            await machine.shows({0, 1, 2})
            disk = directory / "disk.img"
            disk.write_bytes(bytes(1 << 20))
            await client.do(
                "blockdev-add", driver="file", filename=str(disk), node_name="added"
            )
            await client.do(
                "device_add", driver="virtio-blk-pci", drive="added", id="vdb", bus="below"
            )
            before = await client.do("query-hotpluggable-cpus"), await client.do("query-block")
            assert "keep, in the door's settings" in await client.refused("migrate", uri="exec:cat")
            await kill_door(machine)
            await machine.shows({0, 1, 2})
            assert machine.process.returncode is None

            async with attach(machine.log) as taken:
                assert "served again: QMP, -qmp unix:" in taken.said
                again = await machine.connect("qmp")
                listed = await again.do("query-hotpluggable-cpus"), await again.do("query-block")
                assert listed == before
                assert (await again.do("query-status"))["status"] == "running"
                assert (directory / "pid").read_text().strip() == str(machine.process.pid)
                error = await asyncio.to_thread(refused, "attach", machine.log)
                assert "another hpcore has this machine; leave it there first, by Ctrl-C" in error
                assert "keep, in the door's settings" in await again.refused(
                    "migrate", uri="exec:cat"
                )
                await again.unplug(2)
                await machine.shows({0, 1})
                await again.plug(3)
                await machine.shows({0, 1, 3})
                reader, writer = await asyncio.open_unix_connection(directory / "prompt")
                writer.write(b"info cpus\n")
                prompted = (await reader.readuntil(b"#3:")).decode()
                assert "CPU #1:" in prompted
                assert "CPU #2:" not in prompted
                writer.close()
                lives = place(machine.log)
                await again.do("quit")
                assert await machine.ended() == 0
                assert await taken.ended() == 0
                await again.close()
            assert not lives.exists()
            assert replay(machine.log).ok
            assert "its machine has ended" in await asyncio.to_thread(
                refused, "attach", machine.log
            )

    asyncio.run(main())


def test_what_the_guest_does_without_a_door_is_taken_in_and_it_may_be_left_and_ended() -> None:
    async def main() -> None:
        async with vm(keep=True) as machine:
            await machine.client.plug(2)
            await machine.shows({0, 1, 2})
            await kill_door(machine)
            await machine.guest.offline(1)
            await machine.guest.begin_reboot()
            async with attach(machine.log) as taken:
                await machine.guest.wait_ready(120.0)
                await machine.shows({0, 1, 2})  # what is plugged stays, over the reset
            assert taken.process.returncode == 128 + signal.SIGTERM
            assert machine.process.returncode is None
            state = replay(machine.log).state
            assert state.shared.phase is Phase.RUNNING
            listed = hpcore("kept", "--json").last["machines"]
            assert [m["held"] for m in listed if m["log"] == str(machine.log)] == [False]

            error = await asyncio.to_thread(refused, "attach", machine.log, "plug", "3")
            assert "takes its commands at its monitors" in error
            with pytest.raises(NotKept, match="is the log of a VM with a door"):
                async with attach_machine(machine.log):
                    pass
            ended = await asyncio.to_thread(hpcore, "attach", machine.log, "--end", "--json")
            assert ended.code == 0, ended
            assert ended.last["kept"] is False
            assert await machine.ended() == 0
            assert not place(machine.log).exists()
            assert replay(machine.log).ok

    asyncio.run(main())


def test_a_guest_that_powers_off_without_a_door_has_its_qemu_ended_by_the_next() -> None:
    async def main() -> None:
        async with vm(keep=True) as machine:
            await kill_door(machine)
            await machine.guest.power_off()
            said = await asyncio.to_thread(hpcore, "attach", machine.log)
            assert said.code == 0, said
            assert await machine.ended() == 0
            assert '"machine_powered_off","by":"guest"' in machine.log.read_text()
            assert replay(machine.log).ok
            assert not place(machine.log).exists()

    asyncio.run(main())


def test_a_vm_that_was_never_started_ends_with_its_door() -> None:
    async def main() -> None:
        async with vm("-S", keep=True, boots=False) as machine:
            await kill_door(machine)
            assert await machine.ended() == 0
            error = await asyncio.to_thread(refused, "attach", machine.log)
            assert "hpcore ended before it had started the machine" in error

    asyncio.run(main())


def test_a_kept_vm_that_is_killed_while_it_has_no_door_is_said_to_be_gone() -> None:
    async def main() -> None:
        async with vm(keep=True) as machine:
            await kill_door(machine)
            machine.process.kill()
            await machine.ended()
            error = await asyncio.to_thread(refused, "attach", machine.log)
            assert "the machine is gone: QEMU has ended" in error
            assert replay(machine.log).state.shared.phase is Phase.FAILED

    asyncio.run(main())


def test_a_door_that_can_log_no_more_closes_and_its_vm_goes_on() -> None:
    async def main() -> None:
        async with vm(keep=True) as machine:
            door = machine.door()
            resource.prlimit(door, resource.RLIMIT_FSIZE, (0, 0))
            with contextlib.suppress(Exception):  # it may be told why, or see the end first
                await machine.client.plug(2)
            await until(lambda: is_gone(door), "the door's end")
            await machine.shows({0, 1})
            async with attach(machine.log):
                again = await machine.connect("qmp")
                await again.plug(2)
                await machine.shows({0, 1, 2})
                await again.do("quit")
                await again.close()
            assert await machine.ended() == 0

    asyncio.run(main())


def test_a_paused_vm_stays_paused_and_a_monitor_that_waited_does_not_wait_again() -> None:
    async def main() -> None:
        monitors = ("-qmp", "unix:qmp,server=on,wait=off", "-qmp", "unix:more,server=on")
        comes: list[asyncio.Task[None]] = []

        async def come(path: Path) -> None:
            await until(partial(listens, path), "the monitor that waits")
            await (await connected(path)).close()

        def under(directory: Path) -> None:
            comes.append(asyncio.create_task(come(directory / "more")))

        async with vm(keep=True, monitors=monitors, under=under) as machine:
            await comes[0]
            await machine.client.do("stop")
            await kill_door(machine)
            async with attach(machine.log):
                more = await connected(machine.directory / "more")
                assert set(await more.there()) == {0, 1}
                assert (await more.do("query-status"))["status"] == "paused"
                await more.do("cont")
                await machine.shows({0, 1})
                await more.do("quit")
                await more.close()
            assert await machine.ended() == 0

    asyncio.run(main())


LINE = ("-M", "virt", "-cpu", "cortex-a57", "-m", "256", "-kernel", "Image")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("-incoming", "defer"), f"-incoming defer: {STAYS}"),
        (("-chardev", "socket,id=m,fd=3,server=on,wait=off", "-mon", "m,mode=control"),
         "-mon m,mode=control: its descriptor is the caller's and ends with the door"),
        (("-qmp", "unix:q"), "-qmp unix:q: a client that is connected to once"),
        (("-monitor", "tcp:localhost:0,server=on,wait=off"), "would be given another port"),
    ],
)  # fmt: skip
def test_what_another_door_could_not_have_again_is_refused(
    words: Sequence[str], why: str
) -> None:
    with pytest.raises(ArgumentRefused) as refusal:
        refuse_what_is_lost(read([*LINE, *words]))
    assert why in str(refusal.value)


@pytest.mark.parametrize(
    "words",
    [
        ("-qmp", "unix:q,server=on,wait=off"), ("-qmp", "tcp:127.0.0.1:4444,server=on"),
        ("-chardev", "socket,id=m,path=q,reconnect=1", "-mon", "m,mode=control"),
        ("-serial", "mon:stdio", "-add-fd", "fd=3,set=1"), ("-serial", "pty", "-daemonize"),
    ],
)  # fmt: skip
def test_what_is_qemus_own_or_can_be_had_again_is_kept(words: Sequence[str]) -> None:
    refuse_what_is_lost(read([*LINE, *words]))


def test_an_accelerator_that_keeps_no_vm_is_refused() -> None:
    asked = read([*LINE, "-qmp", "unix:q,server=on,wait=off"])
    with pytest.raises(HpcoreError, match="'kvm-qemu' does not outlive its door yet: use -accel"):
        keeping(attrs.evolve(find("tcg"), name="kvm-qemu", accelerator=None), asked)
    assert isinstance(keeping(find("tcg"), asked), KeepingFronted)


def test_a_start_that_is_refused_leaves_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec(
            EXECUTABLE, *LINE[:-1], "/dev/null", "-qmp", "unix:q",
            env={**os.environ, **settings(tmp_path, keep=True), "TMPDIR": str(tmp_path)},
            stderr=asyncio.subprocess.PIPE, cwd=tmp_path,
        )  # fmt: skip
        _, words = await process.communicate()
        assert process.returncode == 1
        assert b"with keep give it reconnect=SECONDS" in words

    asyncio.run(main())
    assert [entry.name for entry in tmp_path.iterdir()] == ["settings.toml"]


def test_what_a_door_was_opened_with_is_read_as_it_was_written(tmp_path: Path) -> None:
    images = GuestImages(tmp_path / "kernel", tmp_path / "initrd", "quiet", shell=False)
    for boots in (images, None):
        made = Opening(("-M", "virt"), tmp_path, tmp_path / "door.log", boots)
        made.write(tmp_path)
        assert Opening.read(tmp_path) == made
    with pytest.raises(NotKept, match="does not say how the VM's door was opened"):
        Opening.read(tmp_path / "none")

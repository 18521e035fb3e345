"""The ways in which VM managers start their emulator: daemonized, sandboxed, with sockets open."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from tests.door.started import EXECUTABLE, connected, is_gone, program, settings
from tests.qemu.support import needs_qemu
from tests.support.guests import fetched_images
from tests.support.waits import SECONDS, until

pytestmark = needs_qemu


def command(*words: str) -> list[str]:
    """A VM without a console, which starts at once."""
    images = fetched_images()
    assert images is not None, "make setup fetches the guest"
    return [
        str(EXECUTABLE), "-M", "virt", "-accel", "tcg", "-cpu", "cortex-a57", "-m", "512",
        "-smp", "1,maxcpus=3", "-nodefaults", "-display", "none", "-kernel", str(images.kernel),
        "-initrd", str(images.initrd), *words,
    ]  # fmt: skip


@asynccontextmanager
async def started(
    directory: Path, *words: str, fds: tuple[int, ...] = ()
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The process, which is killed on leaving if it has not ended; its door ends with it."""
    process = await asyncio.create_subprocess_exec(
        *command(*words), env={**os.environ, **settings(directory)}, pass_fds=fds,
        stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
        for file in (directory / "logs").glob("*.jsonl"):
            door = int(file.stem.rpartition("-")[2])
            await until(partial(is_gone, door), f"the end of the door {door}")


async def hotplugs(path: Path | tuple[str, int]) -> None:
    """A vCPU can be plugged by the monitor at `path`, and is listed there."""
    client = await connected(path)
    try:
        await client.plug(2)
        assert set(await client.there()) == {0, 2}
    finally:
        await client.close()


SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
"""As libvirt has it. A QEMU in it can't daemonize, which libvirt does in its place."""


def test_in_a_sandbox(tmp_path: Path) -> None:
    async def main() -> None:
        monitor = tmp_path / "qmp"
        words = ("-qmp", f"unix:{monitor},server=on,wait=off", "-sandbox", SANDBOX)
        async with started(tmp_path, *words):
            await until(monitor.exists, "the monitor")
            await hotplugs(monitor)

    asyncio.run(main())


def test_a_door_whose_daemon_never_came_ends(tmp_path: Path) -> None:
    """QEMU is killed by the sandbox where it daemonizes in one."""

    async def main() -> None:
        words = ("-daemonize", "-sandbox", SANDBOX)
        async with started(tmp_path, *words) as process:
            assert await asyncio.wait_for(process.wait(), SECONDS) == -signal.SIGSYS

    asyncio.run(main())


def test_daemonized_with_a_pid_file(tmp_path: Path) -> None:
    async def main() -> None:
        monitor, pid_file = tmp_path / "qmp", tmp_path / "pid"
        async with started(
            tmp_path, "-qmp", f"unix:{monitor},server=on,wait=off",
            "-daemonize", "-pidfile", str(pid_file),
        ) as process:  # fmt: skip
            assert await asyncio.wait_for(process.wait(), SECONDS) == 0, "it goes on by itself"
            qemu = int(pid_file.read_text())
            try:
                assert qemu != process.pid
                await hotplugs(monitor)
            finally:
                os.kill(qemu, signal.SIGTERM)
            await until(lambda: is_gone(qemu), "the end of QEMU")

    asyncio.run(main())


def test_a_monitor_on_a_socket_that_the_caller_has_opened(tmp_path: Path) -> None:
    """As libvirt and Kata do; the client may connect before the emulator is started."""

    async def main() -> None:
        path = tmp_path / "qmp"
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(path))
        listening.listen(1)
        number = listening.fileno()
        early = asyncio.create_task(hotplugs(path))
        words = ("-qmp", f"unix:fd={number},server=on,wait=off")
        async with started(tmp_path, *words, fds=(number,)):
            listening.close()
            await asyncio.wait_for(early, SECONDS)

    asyncio.run(main())


def test_several_monitors_by_tcp_by_name_and_at_the_callers(tmp_path: Path) -> None:
    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        called = socket.socket(socket.AF_UNIX)
        called.bind(str(tmp_path / "caller"))
        called.listen(1)
        called.setblocking(False)
        named = f"socket,id=m,path={tmp_path / 'named'},server=on,wait=off"
        async with started(
            tmp_path, "-qmp", f"tcp:127.0.0.1:{port},server=on,wait=off",
            "-chardev", named, "-mon", "chardev=m,mode=control",
            "-qmp", f"unix:{tmp_path / 'caller'}",
        ):  # fmt: skip
            loop = asyncio.get_running_loop()
            with called, (await asyncio.wait_for(loop.sock_accept(called), SECONDS))[0] as door:
                door.setblocking(False)
                greeting = await asyncio.wait_for(loop.sock_recv(door, 4096), SECONDS)
                assert greeting.startswith(b'{"QMP":')
            client = await connected(tmp_path / "named")
            await client.plug(1, "one")
            assert set(await client.there()) == {0, 1}
            await client.close()
            await hotplugs_beside(("127.0.0.1", port), {0, 1, 2})

    async def hotplugs_beside(address: tuple[str, int], there: set[int]) -> None:
        client = await connected(address)
        await client.plug(2)
        assert set(await client.there()) == there
        await client.close()

    asyncio.run(main())


def test_with_wait_the_machine_starts_when_its_client_is_there(tmp_path: Path) -> None:
    async def main() -> None:
        monitor = tmp_path / "qmp"
        async with started(tmp_path, "-qmp", f"unix:{monitor},server=on,wait=on") as process:
            await until(monitor.exists, "the monitor")
            assert not program(process.pid).startswith("qemu"), "it waits for the client"
            await hotplugs(monitor)

    asyncio.run(main())


def test_a_guest_that_reboots_with_no_reboot_ends_qemu(tmp_path: Path) -> None:
    """`-no-reboot`, as Kata has it: a reset is the end. The guest panics for want of an init."""

    async def main() -> None:
        words = ("-no-reboot", "-append", "panic=-1 rdinit=/none console=ttyAMA0")
        async with started(tmp_path, *words) as process:
            assert await asyncio.wait_for(process.wait(), 2 * SECONDS) == 0

    asyncio.run(main())

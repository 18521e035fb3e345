"""The executable as its users start it: a VM of theirs, with a real Linux in it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
from functools import partial
from pathlib import Path

from tests.door.started import EXECUTABLE, is_gone, program, settings, vm
from tests.qemu.support import needs_qemu
from tests.support.command import hpcore
from tests.support.guests import fetched_images
from tests.support.waits import SECONDS, until

pytestmark = needs_qemu


def test_a_vcpu_is_plugged_used_and_unplugged_and_the_log_replays() -> None:
    async def main() -> None:
        async with vm() as machine:
            client = machine.client
            await client.plug(2)
            await machine.shows({0, 1, 2})
            assert (await client.there())[2] == "/machine/peripheral/cpu2"
            fast = await client.do("query-cpus-fast")
            assert [cpu["cpu-index"] for cpu in fast] == [0, 1, 2]
            assert {cpu["thread-id"] for cpu in fast} <= machine.threads()
            await client.unplug(2)
            await machine.enabled({0, 1})
            assert set(await client.there()) == {0, 1}
            replayed = hpcore("replay", machine.log, "--quiet")
            assert replayed.code == 0, replayed

    asyncio.run(main())


def test_a_monitor_with_a_prompt_knows_the_vcpus_that_are_there() -> None:
    async def main() -> None:
        async with vm("-monitor", "unix:{}/prompt,server=on,wait=off", boots=False) as machine:
            await machine.client.plug(3)
            reader, writer = await asyncio.open_unix_connection(machine.directory / "prompt")
            try:
                await reader.readuntil(b"(qemu) ")
                writer.write(b"info cpus\n")
                said = (await reader.readuntil(b"\r\n(qemu) ")).decode()
            finally:
                writer.close()
            assert [n for n in range(4) if f"CPU #{n}:" in said] == [0, 1, 3]

    asyncio.run(main())


def test_the_process_that_was_started_is_qemu() -> None:
    async def main() -> None:
        async with vm(boots=False) as machine:
            assert program(machine.process.pid) == "qemu-system-aarch64"
            await machine.client.do("quit")
            assert await machine.ended() == 0

    asyncio.run(main())


def test_qemu_ends_with_its_door() -> None:
    async def main() -> None:
        async with vm(boots=False) as machine:
            os.kill(machine.door(), signal.SIGKILL)
            assert await machine.ended() == 0  # it was asked to, by SIGTERM

    asyncio.run(main())


def test_the_door_ends_with_qemu_and_says_so_in_its_log() -> None:
    async def main() -> None:
        async with vm(boots=False) as machine:
            machine.process.kill()
            await machine.ended()

    asyncio.run(main())


def test_what_is_refused_is_said_before_anything_is_started(tmp_path: Path) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec(
            str(EXECUTABLE), "-M", "virt", "-cpu", "cortex-a57", "-m", "1G", "-kernel",
            str(tmp_path / "none"), "-qmp", f"unix:{tmp_path}/q,server=on,wait=off",
            env={**os.environ, **settings(tmp_path)}, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, words = await process.communicate()
        assert process.returncode == 1
        assert words.startswith(b"hpcore-qemu-system-aarch64: cannot read the kernel"), words
        assert not list((tmp_path / "logs").glob("*")), "no machine was started"

    asyncio.run(main())


def test_a_door_that_can_log_no_more_ends_its_qemu() -> None:
    """Nothing is done that is not in the log; and nobody would control the QEMU."""

    async def main() -> None:
        async with vm(boots=False) as machine:
            resource.prlimit(machine.door(), resource.RLIMIT_FSIZE, (0, 0))
            with contextlib.suppress(Exception):  # it may be told why, or see the end first
                await machine.client.plug(2)
            assert await machine.ended() == 0
            assert hpcore("replay", machine.log, "--quiet").code == 0

    asyncio.run(main())


def test_a_door_that_waits_for_its_client_ends_with_a_caller_that_is_killed(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        images = fetched_images()
        assert images is not None
        waits = tmp_path / "waits"
        process = await asyncio.create_subprocess_exec(
            str(EXECUTABLE), "-M", "virt", "-cpu", "cortex-a57", "-m", "1G", "-nodefaults",
            "-kernel", str(images.kernel), "-qmp", f"unix:{waits},server=on",
            env={**os.environ, **settings(tmp_path)},
        )  # fmt: skip
        await until(waits.exists, "the monitor that waits")
        doors = named(str(waits)) - {process.pid}
        assert len(doors) == 2, "the door and its watchdog"
        process.kill()
        await process.wait()
        for pid in doors:
            await until(partial(is_gone, pid), "the end of the door")

    def named(word: str) -> set[int]:
        """The processes that have `word` in their command line."""
        found = set()
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has ended meanwhile
                if word.encode() in (process / "cmdline").read_bytes():
                    found.add(int(process.name))
        return found

    asyncio.run(main())


def test_an_argument_of_the_real_qemu_that_is_wrong_is_refused_by_it(tmp_path: Path) -> None:
    async def main() -> None:
        images = fetched_images()
        assert images is not None
        process = await asyncio.create_subprocess_exec(
            str(EXECUTABLE), "-M", "virt", "-cpu", "cortex-a57", "-m", "1G", "-nodefaults",
            "-kernel", str(images.kernel), "-device", "cheese",
            env={**os.environ, **settings(tmp_path)}, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, words = await process.communicate()
        assert process.returncode == 1
        assert b"'cheese' is not a valid device model name" in words
        (log,) = (tmp_path / "logs").glob("*.jsonl")
        door = int(log.stem.rpartition("-")[2])
        await until(lambda: is_gone(door), "the end of the door")

    asyncio.run(main())


def test_a_guest_that_panics_at_every_boot_is_named_and_ended() -> None:
    async def main() -> None:
        images = fetched_images()
        assert images is not None
        boot = ("-kernel", str(images.kernel), "-append", "console=ttyAMA0 panic=-1 rdinit=/none")
        async with vm(kernel=boot, boots=False) as machine:
            await asyncio.wait_for(machine.process.wait(), 4 * SECONDS)
            said = hpcore("replay", machine.log)
            assert said.out.count("the guest panicked: Kernel panic - not syncing") == 2, said
            assert "given up: the guest panicked in 2 boots in a row" in said.out

    asyncio.run(main())

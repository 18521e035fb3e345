"""Writing to the memory of a guest from outside of QEMU."""

from __future__ import annotations

import asyncio
import base64
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from attrs import frozen

from hpcore.qemu import QemuError, QemuProcess, Qmp, find_qemu, runtime_directory
from hpcore.qemu.guest_memory import CHUNK, SOCKET, GuestMemory, Piece
from tests.qemu.support import needs_qemu

pytestmark = needs_qemu

RAM, SIZE = 0x4000_0000, 64 << 20


@frozen
class Rig:
    process: QemuProcess
    qmp: Qmp
    memory: GuestMemory
    events: list[str]
    directory: Path

    async def holds(self, address: int, size: int) -> bytes:
        """What QEMU saves of the guest's memory."""
        file = self.directory / "saved"
        await self.qmp.execute("pmemsave", {"val": address, "size": size, "filename": str(file)})
        return file.read_bytes()


@asynccontextmanager
async def rig(*words: str) -> AsyncIterator[Rig]:
    """A machine with 64 MiB, stopped unless `words` say otherwise."""
    directory = runtime_directory()
    argv = [
        str(find_qemu().path), "-M", "virt", "-m", "64M", "-cpu", "cortex-a57", "-nodefaults",
        "-display", "none", "-qmp", f"unix:{directory}/qmp,server=on,wait=off", *words,
    ]  # fmt: skip
    process = await QemuProcess.start(argv, directory)
    events: list[str] = []
    try:
        qmp = await Qmp.connect(process, directory / "qmp", lambda name, _data: events.append(name))
        try:
            yield Rig(process, qmp, GuestMemory(process), events, directory)
        finally:
            await qmp.close()
    finally:
        await process.close()


@pytest.mark.parametrize("runs", [False, True])
def test_what_is_written_lies_there_and_the_machine_is_not_stopped_for_it(runs: bool) -> None:
    async def main() -> None:
        data = random.Random(1).randbytes(3 * CHUNK + 1)
        pieces = [
            Piece(RAM + (4 << 20) + 3, data),
            Piece(RAM + (9 << 20), b"\n"),
            Piece(RAM + SIZE - 2, b"ab"),
        ]
        async with rig(*(() if runs else ("-S",))) as r:
            await r.memory.prepare(r.qmp)
            await r.memory.write(pieces)
            for piece in pieces:
                assert await r.holds(piece.address, len(piece.data)) == piece.data
            assert await r.holds(RAM + (4 << 20), 3) == bytes(3)
            assert not set(r.events) & {"STOP", "RESUME"}

    asyncio.run(main())


def test_it_is_written_again_by_another_connection() -> None:
    async def main() -> None:
        async with rig("-S") as r:
            for data in (b"first", b"second"):
                await r.memory.prepare(r.qmp)
                await r.memory.write([Piece(RAM, data)])
                assert await r.holds(RAM, len(data)) == data

    asyncio.run(main())


def test_another_hpcore_writes_after_one_that_broke_off_anywhere_in_a_line() -> None:
    async def main() -> None:
        address, here = RAM + (1 << 20), b"here"
        lines = [
            b"b64write %#x 3 %s" % (RAM, base64.b64encode(b"abc")),
            b"b64read %#x 16" % RAM,
        ]
        async with rig("-S") as r:
            await r.memory.prepare(r.qmp)
            for line in lines:
                for length in range(len(line) + 1):
                    streams = await r.process.connect(r.directory / SOCKET)
                    streams[1].write(line[:length])
                    streams[1].close()
                    another = GuestMemory(r.process)
                    await another.prepare(r.qmp)
                    await another.write([Piece(address, here), Piece(address, bytes(4))])
            await another.write([Piece(address, here)])
            assert await r.holds(address, 4) == here

    asyncio.run(main())


def test_a_place_without_memory_is_found() -> None:
    async def main() -> None:
        async with rig("-S") as r:
            await r.memory.prepare(r.qmp)
            with pytest.raises(QemuError, match="at 0x44000000 is not as written"):
                await r.memory.write([Piece(RAM + SIZE, b"nowhere")])
            with pytest.raises(QemuError, match="is not as written"):
                await r.memory.write([Piece(RAM + SIZE - 1, bytes(1) + b"x" * CHUNK)])

    asyncio.run(main())


def test_a_qemu_that_has_a_test_server_of_its_own_says_so() -> None:
    async def main() -> None:
        async with rig("-S", "-qtest", "null", "-qtest-log", "none") as r:
            for _ in range(2):
                with pytest.raises(QemuError, match=r"QEMU refused object-add: .*qtest"):
                    await r.memory.prepare(r.qmp)

    asyncio.run(main())


def test_a_qemu_that_ends_meanwhile_is_an_error_and_nothing_hangs() -> None:
    async def main() -> None:
        async with rig("-S") as r:
            await r.memory.prepare(r.qmp)
            writing = asyncio.create_task(r.memory.write([Piece(RAM, bytes(32 << 20))]))
            await r.qmp.execute("quit")
            with pytest.raises(QemuError):
                await asyncio.wait_for(writing, 20)

    asyncio.run(main())

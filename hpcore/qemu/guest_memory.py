"""Writing to the memory of a guest that stands before its start, by QEMU's own test server.

QMP has no command that writes memory. QEMU's object `qtest` has one, with any accelerator: it
writes by physical address as a device does, so that what TCG has translated there is forgotten
(softmmu/qtest.c, address_space_write). Why not the gdb stub: a QEMU has one alone, which may be
the caller's, and a debugger that connects stops the machine.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable, Iterator, Mapping

from attrs import frozen

from hpcore.errors import printable
from hpcore.qemu.errors import QemuError
from hpcore.qemu.qmp import Qmp
from hpcore.qemu.running import RunningQemu, Streams

NAME, SOCKET = "hpcore-memory", "memory"
"""The name of the object and of its character device, and the socket in QEMU's directory."""
CHUNK = 48 << 10
"""Bytes of one command. QEMU takes a command in pieces of 1,024 bytes and looks through all it
has at each, so that long commands are slow, and short ones have more to parse."""
LOOKED_AT = 4 << 10
"""Bytes at both ends of what was written that are read back."""
END_OF_ANY_LINE = b"0 1 A\n"
"""Goes on in a number, has one more for a read, and of data less than QEMU takes."""
ANSWER_SECONDS = 30.0
"""For the answer to one command, of a QEMU on a busy host."""


@frozen
class Piece:
    """What is to lie at a physical address."""

    address: int
    data: bytes


class GuestMemory:
    """The memory of one QEMU. Its object `qtest` is made at the first write, and stays.

    It stays since QEMU 7.2 keeps half of a character device that such an object has had, so
    that there can be none of the same name again; QEMU 10 ends at the second object's first word.
    A hpcore that has taken the machine up finds those of the one before.
    """

    def __init__(self, qemu: RunningQemu) -> None:
        self._qemu = qemu
        self._path = qemu.directory / SOCKET

    async def prepare(self, qmp: Qmp) -> None:
        """Have QEMU offer its memory. Nothing is written yet. Raises QemuError."""
        if not await _is_listed(qmp, "query-chardev", "label"):
            address = {"type": "unix", "data": {"path": str(self._path)}}
            socket = {"addr": address, "server": True, "wait": False}
            backend = {"type": "socket", "data": socket}
            await qmp.execute("chardev-add", {"id": NAME, "backend": backend})
        if not await _is_listed(qmp, "qom-list", "name", {"path": "/objects"}):
            made = {"qom-type": "qtest", "id": NAME, "chardev": NAME, "log": "none"}
            await qmp.execute("object-add", made)

    async def write(self, pieces: Iterable[Piece]) -> None:
        """Write all of them, and read their ends back. `prepare` comes first.

        Raises QemuError; some may have been written then.
        """
        streams = await self._qemu.connect(self._path)
        try:
            await _end_half_a_line(streams)
            for piece in pieces:
                await _write(streams, piece)
                await _look(streams, piece)
        except (OSError, EOFError, TimeoutError) as error:
            raise QemuError(
                f"QEMU does not take what is to be in the guest's memory: {error or 'no answer'}; "
                f"{self._qemu.last_words}"
            ) from error
        finally:
            streams[1].close()


async def _is_listed(
    qmp: Qmp, command: str, key: str, arguments: Mapping[str, object] | None = None
) -> bool:
    """Whether what `command` lists has something of our name."""
    listed = await qmp.execute(command, arguments)
    return isinstance(listed, list) and any(entry[key] == NAME for entry in listed)


async def _end_half_a_line(streams: Streams) -> None:
    """Have QEMU forget what it has of a line of the connection before, if that broke off.

    QEMU keeps it, puts it before the next line, and ends itself over a number that it cannot
    read. This makes something of every beginning of a line of ours that QEMU refuses or that
    writes no more than that line would have.
    """
    streams[1].write(END_OF_ANY_LINE)
    await asyncio.wait_for(streams[0].readuntil(b"\n"), ANSWER_SECONDS)


def _chunks(piece: Piece) -> Iterator[Piece]:
    for at in range(0, len(piece.data), CHUNK):
        yield Piece(piece.address + at, piece.data[at : at + CHUNK])


async def _write(streams: Streams, piece: Piece) -> None:
    """Commands go out while the answers to earlier ones come in."""
    chunks = list(_chunks(piece))
    answers = asyncio.create_task(_all_answered(streams[0], len(chunks)))
    try:
        for chunk in chunks:
            text = base64.b64encode(chunk.data)
            streams[1].write(b"b64write %#x %#x %s\n" % (chunk.address, len(chunk.data), text))
            await asyncio.wait_for(streams[1].drain(), ANSWER_SECONDS)
        await answers
    finally:
        answers.cancel()
        await asyncio.gather(answers, return_exceptions=True)


async def _all_answered(reader: asyncio.StreamReader, count: int) -> None:
    for _ in range(count):
        await _answer(reader)


async def _look(streams: Streams, piece: Piece) -> None:
    """QEMU says OK to what it writes where there is no memory, too."""
    for at in {0, max(0, len(piece.data) - LOOKED_AT)}:
        data = piece.data[at : at + LOOKED_AT]
        streams[1].write(b"b64read %#x %#x\n" % (piece.address + at, len(data)))
        if base64.b64decode(await _answer(streams[0])) != data:
            raise QemuError(f"the guest's memory at {piece.address + at:#x} is not as written")


async def _answer(reader: asyncio.StreamReader) -> bytes:
    """What comes after OK. Raises QemuError where the command failed."""
    line = await asyncio.wait_for(reader.readuntil(b"\n"), ANSWER_SECONDS)
    status, _, value = line.strip().partition(b" ")
    if status != b"OK":
        said = printable(line.decode(errors="replace").strip())
        raise QemuError(f"QEMU does not do what writes to the guest's memory: {said}")
    return value

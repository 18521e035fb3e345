"""A human monitor at the door echoes and answers as one of QEMU's, byte for byte."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import pytest
from attrs import frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcore.door.qmp import Listening, PromptMonitor
from hpcore.door.qmp.hmp import HumanMonitor
from hpcore.door.qmp.line_editor import LONGEST, LineEditor
from hpcore.door.qmp.prompt import TELNET_OFFERS, Lines, Telnet
from hpcore.qemu.qmp import Qmp
from tests.door.rig import SECONDS, real
from tests.door.vm import DRIVER, Vm, play
from tests.qemu.support import needs_qemu

pytestmark = needs_qemu

ENDS = count()
"""Numbers for the last line that is typed: a word that no history has brings no early end."""


class NoVcpus:
    """Lines of which all are the real QEMU's, of a QEMU without a machine."""

    def __init__(self, own: Qmp) -> None:
        self._own = own

    async def greeting(self) -> str:
        return await HumanMonitor.greeting_of(self._own)

    async def say(self, line: str, cpu: int | None) -> str:
        return str(await self._own.execute("human-monitor-command", {"command-line": line}))


@asynccontextmanager
async def served(path: Path, lines: Lines, *, telnet: bool = False) -> AsyncIterator[None]:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen(1)
    serving = asyncio.create_task(PromptMonitor(Listening(sock), telnet).serve(lines))
    try:
        yield
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


async def typed(path: Path, keys: bytes, end: bytes = b"zzend") -> bytes:
    """What is shown to someone who types this, an end of an escape and of a line, and `end`."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(keys + b"\0\0\r" + end + b"\r")
    said = b""
    async with asyncio.timeout(SECONDS):
        while not said.endswith(b"unknown command: '" + end + b"'\r\n(qemu) "):
            more = await reader.read(1 << 16)
            assert more, said
            said += more
    writer.close()
    return said


@frozen
class Both:
    """A human monitor of a QEMU's, and one at a door before the same QEMU."""

    runner: asyncio.Runner
    direct: Path
    front: Path

    def show_the_same(self, keys: bytes) -> None:
        """Type it at both, and hold what they show against each other."""
        end = b"zzend%d" % next(ENDS)
        at_the_door = self.runner.run(typed(self.front, keys, end))
        assert at_the_door == self.runner.run(typed(self.direct, keys, end))


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    directory = tmp_path_factory.mktemp("hmp")
    direct, front = directory / "direct", directory / "front"

    @asynccontextmanager
    async def opened(runner: asyncio.Runner) -> AsyncIterator[Both]:
        human = ("-machine", "none", "-monitor", f"unix:{direct},server=on,wait=off")
        async with real(1, human) as qemu:
            own = await Qmp.connect(qemu.process, qemu.paths[0], lambda _name, _data: None)
            async with served(front, NoVcpus(own)):
                yield Both(runner, direct, front)
            await own.close()

    with asyncio.Runner() as runner:
        opening = opened(runner)
        yield runner.run(opening.__aenter__())
        runner.run(opening.__aexit__(None, None, None))


KEYS = (
    b"info name", b"info version\r", b"nosuch\n", b"a", b"b c ", b" ", b"\r", b"\n", b"\x01",
    b"\x04", b"\x05", b"\x08", b"\x7f", b"\x17", b"\x1b[A", b"\x1b[B", b"\x1b[C", b"\x1b[D",
    b"\x1b[1~", b"\x1b[3~", b"\x1b[4~", b"\x1b[13~", b"\x1bOF", b"\x1bOH", b"\x1bx", b"\x1b[x",
    b"\x1b", b"\0", b"\x03", b"info cpus\r\n", b"x" * 200,
)  # fmt: skip


@settings(max_examples=150)
@given(st.lists(st.sampled_from(KEYS), max_size=15).map(b"".join))
def test_what_is_typed_is_shown_as_qemu_shows_it(both: Both, keys: bytes) -> None:
    both.show_the_same(keys)


def test_a_line_has_a_longest_length() -> None:
    editor = LineEditor()
    lines = [editor.take(byte) for byte in b"x" * (LONGEST + 5) + b"\x08yz\r"]
    assert lines[-1] == b"x" * (LONGEST - 1) + b"y"


def test_the_last_lines_are_remembered_also_for_the_next_client(both: Both) -> None:
    many = b"".join(b"no%d\r" % n for n in range(70))
    for keys in (many, b"\x1b[A" * 80 + b"\r", b"no7\r\x1b[A\x1b[A\r\x1b[B"):
        both.show_the_same(keys)


def test_lines_about_vcpus_are_answered_by_hpcore_and_a_vcpu_can_be_chosen(tmp_path: Path) -> None:
    async def scene(vm: Vm) -> None:
        async with served(tmp_path / "front", vm.commands.human):
            line = f"device_add {DRIVER},id=x,socket-id=2\r".encode()
            said = await typed(tmp_path / "front", line + b"cpu 1\rinfo cpus\rcpu 77\rstop\r")
            assert b"Error" not in said and b"* CPU #1: thread_id=" in said
            assert b"  CPU #2:" in said and b"CPU #3" not in said
            assert b"invalid CPU index" in said
            assert vm.machine.slot("x").index == 2 and vm.machine.state.shared.paused

    play(scene, tmp_path)


def test_telnet_is_greeted_and_its_own_words_are_not_typed(tmp_path: Path) -> None:
    async def scene(vm: Vm) -> None:
        front = tmp_path / "front"
        async with served(front, vm.commands.human, telnet=True):
            said = await typed(front, b"\xff\xfd\x01st\xff\xfb\x00op\r\0")
            assert said.startswith(TELNET_OFFERS + b"QEMU ")
            assert vm.machine.state.shared.paused

    play(scene, tmp_path)


def test_a_telnet_command_may_be_split() -> None:
    telnet = Telnet()
    pieces = (b"a\xff", b"\xfd", b"\x01b\xff", b"\xffc\0")
    assert bytes(byte for piece in pieces for byte in telnet.typed(piece)) == b"ab\xffc"

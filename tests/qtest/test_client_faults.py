"""A qtest connection that goes wrong: what is said, to whom, and that nothing hangs."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hpcore_qtest.qemu.client import LONGEST_ANSWER, Qtest, QtestError
from hpcore_qtest.qemu.lines import Line
from hpcore_qtest.qemu.machine import Ears, StoppedQemu

from hpcore.platform import virt
from hpcore.qemu import Qemu, QemuError, find_qemu
from tests.qemu.support import alive, needs_qemu
from tests.qtest.rig import ARGUMENTS, bare
from tests.support.waits import until

pytestmark = needs_qemu

TYPER = virt.GICD_BASE + 4


@asynccontextmanager
async def answering(
    answer: bytes, machine: StoppedQemu, path: Path, lost: list[str]
) -> AsyncIterator[Qtest]:
    """A connection to somebody who answers the first question well, and then `answer`."""
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await reader.readline()
        writer.write(b"OK little\n")
        await reader.readline()
        writer.write(answer)
        if not answer:
            writer.close()

    server = await asyncio.start_unix_server(serve, path)
    try:
        qtest = await Qtest.connect(machine.process, path, lambda _n, _up: None, lost.append)
        try:
            yield qtest
        finally:
            await qtest.close()
    finally:
        for writer in writers:
            writer.close()
        server.close()


@pytest.mark.parametrize("answer, says", [
    (b"HELLO there\n", "answered 'HELLO there' to 'readl 0x8000004'"),
    (b"OKAY\n", "answered 'OKAY' to 'readl 0x8000004'"),
    (b"OK seven\n", "answered 'seven' to a register's value"),
    (b"OK\n", "answered '' to a register's value"),
    (b"IRQ sideways 3\n", "answered 'IRQ sideways 3' to 'readl 0x8000004'"),
    (b"IRQ raise x\n", "answered 'IRQ raise x' to 'readl 0x8000004'"),
    (b"\xff\xfe\n", re.escape("answered '\\\\xff\\\\xfe' to 'readl 0x8000004'")),
    (b"x" * (LONGEST_ANSWER + 1), "answered 'x+ ...' to 'readl 0x8000004'"),
    (b"", "QEMU closed its qtest socket before it answered qtest's 'readl .*, though it runs"),
])  # fmt: skip
def test_an_answer_that_is_none_is_quoted_beside_the_question(
    answer: bytes, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpcore_qtest.qemu.client.LAST_WORDS_SECONDS", 0.05)

    async def run() -> None:
        lost: list[str] = []
        async with bare() as machine, answering(answer, machine, tmp_path / "q", lost) as qtest:
            with pytest.raises(QtestError, match=says):
                await qtest.read(TYPER, 4)
            with pytest.raises(QtestError, match=says):  # nothing can be trusted any more
                await qtest.read(TYPER, 4)
            assert len(lost) == 1 and re.search(says, lost[0])

    asyncio.run(run())


def test_an_answer_to_no_question_ends_the_connection(tmp_path: Path) -> None:
    async def run() -> None:
        lost: list[str] = []
        answer = b"OK 0x1\nOK 0x2\n"
        async with bare() as machine, answering(answer, machine, tmp_path / "q", lost) as qtest:
            assert await qtest.read(TYPER, 4) == 1
            await until(lambda: bool(lost), "it is lost")
            assert lost[0].startswith("QEMU's qtest socket answered 'OK 0x2' to nothing that was")

    asyncio.run(run())


def test_a_qemu_that_stalls_is_named_with_the_question() -> None:
    async def run() -> None:
        lost: list[str] = []
        async with bare(Ears(lost=lost.append)) as machine:
            machine.qtest.patience = 0.2
            machine.qtest._look()  # what was answered is not watched with the old one any more
            os.kill(machine.process.pid, signal.SIGSTOP)
            first = machine.qtest.send([Line("readl 0x8000004")])
            second = machine.qtest.send([Line("readl 0x8000000")])
            says = r"did not answer qtest's 'readl 0x8000004' within 0\.2 s; it wrote nothing"
            with pytest.raises(QtestError, match=says):
                await first
            with pytest.raises(QtestError, match=says):
                await second
            assert len(lost) == 1
            os.kill(machine.process.pid, signal.SIGCONT)  # so that it ends when it is asked to
        assert not alive(machine.process.pid)

    asyncio.run(run())


def test_a_qemu_that_is_killed_fails_all_that_was_asked_and_is_reported_once() -> None:
    async def run() -> None:
        lost: list[str] = []
        async with bare(Ears(lost=lost.append)) as machine:
            pid = machine.process.pid
            os.kill(pid, signal.SIGSTOP)  # so that nothing is answered before
            asked = [machine.qtest.send([Line("readl 0x8000004")]) for _ in range(3)]
            os.kill(pid, signal.SIGKILL)
            for future in asked:
                with pytest.raises(QtestError, match=r"before it answered qtest's .* SIGKILL"):
                    await future
            await until(lambda: bool(lost), "it is reported")
            assert len(lost) == 1 and "SIGKILL" in lost[0]
        assert not alive(pid)
        assert len(lost) == 1

    asyncio.run(run())


def test_a_line_that_ends_qemu_gives_qemus_last_words() -> None:
    async def run() -> None:
        async with bare() as machine:
            with pytest.raises(QtestError, match=r"(?s)SIGABRT and said: .*assert"):
                await machine.qtest.send([Line("readl")])  # made past all checks

    asyncio.run(run())


def test_serial_ports_that_nobody_reads_do_not_hold_qemu_up() -> None:
    async def run() -> None:
        async with bare(serials=2) as machine:
            await machine.qtest.write(virt.UART0_BASE + 0x30, 4, 0x301)
            data = bytes(range(0x20, 0x7F)) * 3000  # far more than a socket holds
            await machine.qtest.write_all(((virt.UART0_BASE, byte) for byte in data), 1)
            assert await machine.qtest.read(TYPER, 4)
            got = b""
            while len(got) < len(data):
                got += await machine.serials[0].read()
            assert got == data

    asyncio.run(run())


def test_what_qemu_says_of_wrong_arguments_is_in_the_error(tmp_path: Path) -> None:
    async def run() -> None:
        with pytest.raises(QemuError, match=r"did not start.*unsupported machine type"):
            await StoppedQemu.start(find_qemu(), ("-machine", "nonsense"))
        with pytest.raises(QemuError, match=r"cannot be asked for its accelerators: .*gone"):
            await StoppedQemu.start(Qemu(tmp_path / "gone", "9.9"), ARGUMENTS)

    asyncio.run(run())

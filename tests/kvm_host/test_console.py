"""The console hands lines on at once, and wakes its reader no more often than it must."""

from __future__ import annotations

import asyncio
import threading

import pytest
from hpcore_kvm import console as console_module
from hpcore_kvm.console import KEPT, UartConsole


def test_a_line_is_read_as_a_whole() -> None:
    async def run() -> None:
        console = UartConsole()

        def print_line() -> None:
            for byte in b"hello\n":
                console.print(bytes((byte,)))

        thread = threading.Thread(target=print_line)
        reader = asyncio.create_task(console.read())
        await asyncio.sleep(0)
        thread.start()
        thread.join()
        assert await asyncio.wait_for(reader, 10) == b"hello\n"

    asyncio.run(run())


def test_a_line_without_an_end_is_read_all_the_same() -> None:
    async def run() -> None:
        console = UartConsole()
        for text in (b"login: ", b"again: "):
            console.print(text)
            assert await asyncio.wait_for(console.read(), 10) == text

    asyncio.run(run())


def test_a_wait_that_a_line_overtook_does_not_look_like_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(console_module, "LINGER", 0.01)

    async def run() -> None:
        console = UartConsole()
        console.print(b"a line ")
        console.print(b"and its end\n")
        assert await asyncio.wait_for(console.read(), 10) == b"a line and its end\n"
        reader = asyncio.create_task(console.read())
        await asyncio.wait({reader}, timeout=0.1)
        assert not reader.done()
        console.end()
        assert await asyncio.wait_for(reader, 10) == b""

    asyncio.run(run())


def test_output_that_nobody_reads_does_not_grow_without_end() -> None:
    async def run() -> None:
        console = UartConsole()
        console.print(b"lost")
        console.print(b"x" * KEPT + b"\n")
        assert await console.read() == b"x" * (KEPT - 1) + b"\n"

    asyncio.run(run())


def test_what_was_printed_can_be_read_after_the_end_and_then_nothing() -> None:
    async def run() -> None:
        sent: list[bytes] = []
        console = UartConsole()
        console.write(b"nobody is there yet")
        console.connect(sent.append)
        console.write(b"ls\n")
        console.print(b"last words")
        console.end()
        console.write(b"too late")
        assert sent == [b"ls\n"]
        assert [await console.read() for _ in range(3)] == [b"last words", b"", b""]

    asyncio.run(run())


def test_a_reader_is_woken_once_for_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console_module, "LINGER", 60)

    async def run() -> None:
        console = UartConsole()
        reader = asyncio.create_task(console.read())
        for _ in range(1000):
            console.print(b".")
            await asyncio.sleep(0)
        assert not reader.done()
        console.print(b"\n")
        assert await asyncio.wait_for(reader, 10) == b"." * 1000 + b"\n"

    asyncio.run(run())

"""The console is read all the time, and who waits on it is told of a panic."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from attrs import define, field

from hpcore.guest import watch
from hpcore.guest.watch import GuestPanickedError, WatchedConsole
from tests.guest.consoles import FedConsole
from tests.guest.test_panics import BOOT, END, PANIC

SOON = 10.0


@define
class Bench:
    fed: FedConsole = field(factory=FedConsole)
    printed: bytearray = field(factory=bytearray)
    panicked: list[str] = field(factory=list)
    broken: list[Exception] = field(factory=list)
    full: bool = False
    console: WatchedConsole = field(init=False)

    def start(self) -> None:
        self.console = WatchedConsole(
            self.fed, self._print, self.panicked.append, self.broken.append
        )

    def _print(self, data: bytes) -> None:
        if self.full:
            raise OSError("the disk is full")
        self.printed += data


def watched(script: Callable[[Bench], Awaitable[None]], bench: Bench | None = None) -> Bench:
    bench = bench or Bench()

    async def main() -> None:
        bench.start()
        await script(bench)
        bench.fed.end()
        await bench.console.ended(SOON)

    asyncio.run(asyncio.wait_for(main(), SOON))
    return bench


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_what_is_printed_is_told_and_watched_though_nobody_reads() -> None:
    async def script(b: Bench) -> None:
        b.fed.feed(b"one ")
        b.fed.feed(BOOT)
        await turns()
        assert b.printed == b"one " + BOOT
        assert b.panicked == [PANIC.decode()]
        assert await b.console.read() == b"one " + BOOT  # it is still to be read

    watched(script)


def test_all_that_was_printed_is_told_before_the_end_and_can_be_read_after_it() -> None:
    async def script(b: Bench) -> None:
        b.fed.feed(b"the last")
        b.fed.feed(b" word")

    bench = watched(script)
    assert bench.printed == b"the last word"
    assert asyncio.run(_both(bench.console)) == (b"the last word", b"")


async def _both(console: WatchedConsole) -> tuple[bytes, bytes]:
    return await console.read(), await console.read()


def test_a_reader_is_told_of_a_guest_that_stays_panicked_once_it_is_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watch, "SILENCE", 0.05)

    async def script(b: Bench) -> None:
        waits = asyncio.ensure_future(b.console.read())
        await turns()
        b.fed.feed(BOOT + END + b"\n")
        assert await waits == BOOT + END + b"\n"
        with pytest.raises(GuestPanickedError, match=r"stays so until it is reset: .* VFS"):
            await b.console.read()
        b.console.panics.reset(by_guest=False)
        waits = asyncio.ensure_future(b.console.read())
        await asyncio.sleep(0.2)
        assert not waits.done()
        b.fed.feed(b"booting again")
        assert await waits == b"booting again"

    watched(script)


def test_a_reader_is_told_why_the_machine_is_given_up() -> None:
    async def script(b: Bench) -> None:
        waits = asyncio.ensure_future(b.console.read())
        await turns()
        b.console.give_up("it is of no use")
        for reader in (waits, b.console.read()):
            with pytest.raises(GuestPanickedError, match="it is of no use"):
                await reader

    watched(script)


def test_who_cannot_take_what_is_printed_is_told_of_once_and_the_watch_goes_on() -> None:
    async def script(b: Bench) -> None:
        b.fed.feed(b"x")
        b.fed.feed(BOOT)
        await turns()
        assert [str(error) for error in b.broken] == ["the disk is full"]
        assert b.panicked
        assert await b.console.read() == b"x" + BOOT

    watched(script, Bench(full=True))


def test_what_is_typed_goes_to_the_guest() -> None:
    async def script(b: Bench) -> None:
        b.console.write(b"echo\n")
        assert b.fed.typed == [b"echo\n"]

    watched(script)

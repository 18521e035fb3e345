"""A machine whose guest panics, or resets itself, again and again: it is given up, in words."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from hpcore.errors import HpcoreError
from hpcore.guest.errors import GuestError
from hpcore.guest.watch import GuestPanickedError
from hpcore.log import Sync, read
from hpcore.model import events as ev
from hpcore.model.config import MachineConfig
from hpcore.model.machines import Phase
from hpcore.run import Found, LiveMachine, RunError, open_machine
from hpcore.run.console import RESETS
from tests.guest.consoles import FedConsole
from tests.guest.test_panics import BOOT, PANIC, READY
from tests.run.test_controller import SOON
from tests.support.paper import Behaviour, PaperAccelerator, PaperSession

CONFIG = MachineConfig.of(cpus=2, maxcpus=4)


class Guest:
    """A guest on paper, by its console and its resets."""

    def __init__(self, guest: str = "linux") -> None:
        self.console = FedConsole()
        self.paper = PaperAccelerator(Behaviour(console=self.console, guest=guest))

    @property
    def session(self) -> PaperSession:
        return self.paper.sessions[0]

    async def panics_and_reboots(self) -> None:
        self.console.feed(BOOT)
        await turns()
        self.session.resets_itself()
        await turns()


async def turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


Script = Callable[[LiveMachine, Guest], Awaitable[None]]


def on_machine(script: Script, log: Path, guest: Guest, printed: bytearray | None = None) -> None:
    """Play `script` on a machine that `guest` has been started in."""
    found = Found("paper", "tests", guest.paper, guest.paper.probe())

    async def main() -> None:
        async with open_machine(
            found, CONFIG, log=log, sync=Sync.OS,
            printed=(bytearray() if printed is None else printed).extend,
        ) as machine:  # fmt: skip
            await machine.start()
            await script(machine, guest)

    asyncio.run(asyncio.wait_for(main(), 4 * SOON))


def notes(log: Path) -> list[str]:
    with read(log)[1] as records:
        return [r.event.text for r in records if isinstance(r.event, ev.Noted)]


def test_who_waits_for_the_boot_is_told_of_the_second_panic_in_its_words(tmp_path: Path) -> None:
    async def script(m: LiveMachine, g: Guest) -> None:
        waits = asyncio.ensure_future(m.guest_ready())
        await turns()
        await g.panics_and_reboots()
        assert not waits.done()
        await g.panics_and_reboots()
        with pytest.raises(GuestPanickedError, match=r"in 2 boots in a row: .* mount root fs"):
            await waits
        assert PANIC.decode() in await m.ended()
        assert m.state.shared.phase is Phase.ENDED
        assert m.failure is None

    log = tmp_path / "log"
    on_machine(script, log, Guest())
    assert [text.partition(":")[0] for text in notes(log)] == [
        "the guest panicked", "the guest panicked", "given up",
    ]  # fmt: skip


def test_who_waits_for_a_command_is_told_of_it_as_well(tmp_path: Path) -> None:
    async def script(m: LiveMachine, g: Guest) -> None:
        g.console.feed(READY)
        await m.guest_ready()
        waits = asyncio.ensure_future(m.plug("core2", core_id=2))
        await turns()
        await g.panics_and_reboots()
        await g.panics_and_reboots()
        with pytest.raises(HpcoreError):  # by the first reset, or by the end
            await waits
        with pytest.raises(RunError, match="in 2 boots in a row"):
            await m.unless_ended(asyncio.sleep(SOON))

    on_machine(script, tmp_path / "log", Guest("silent"))


def test_a_panic_and_a_good_boot_after_it_can_be_what_is_tried_out(tmp_path: Path) -> None:
    async def script(m: LiveMachine, g: Guest) -> None:
        for _ in range(3):
            await g.panics_and_reboots()
            g.console.feed(READY)
            await m.guest_ready()
        assert not m.state.shared.ended

    log = tmp_path / "log"
    on_machine(script, log, Guest())
    assert len(notes(log)) == 3


def test_a_guest_that_resets_itself_without_a_word_is_given_up_in_the_end(tmp_path: Path) -> None:
    async def script(m: LiveMachine, g: Guest) -> None:
        waits = asyncio.ensure_future(m.guest_ready())
        await turns()
        for _ in range(RESETS):
            assert not waits.done()
            g.session.resets_itself()
            await turns()
        with pytest.raises(GuestError, match=f"the guest reset itself {RESETS} times"):
            await waits

    on_machine(script, tmp_path / "log", Guest())


def test_resets_that_the_user_asks_for_are_not_held_against_the_guest(tmp_path: Path) -> None:
    async def script(m: LiveMachine, g: Guest) -> None:
        g.console.feed(READY)
        await m.guest_ready()
        for _ in range(2 * RESETS):
            again = asyncio.ensure_future(m.reset())
            await turns()
            g.console.feed(READY)
            await again

    on_machine(script, tmp_path / "log", Guest())


def test_what_the_guest_prints_is_told_whole_though_nobody_waits_for_it(tmp_path: Path) -> None:
    printed = bytearray()

    async def script(_m: LiveMachine, g: Guest) -> None:
        g.console.feed(b"first ")
        await turns()
        g.console.feed(b"and last")

    on_machine(script, tmp_path / "log", Guest(), printed)
    assert printed == b"first and last"


def test_who_cannot_take_what_is_printed_ends_the_run(tmp_path: Path) -> None:
    guest = Guest()
    found = Found("paper", "tests", guest.paper, guest.paper.probe())

    def printed(_data: bytes) -> None:
        raise RunError("the disk is full")

    async def main() -> None:
        async with open_machine(
            found, CONFIG, log=tmp_path / "log", sync=Sync.OS, printed=printed
        ) as machine:
            await machine.start()
            guest.console.feed(b"word")
            with pytest.raises(RunError, match="the disk is full"):
                await machine.unless_ended(asyncio.sleep(SOON))
            assert str(machine.failure) == "the disk is full"

    asyncio.run(asyncio.wait_for(main(), 4 * SOON))


def test_a_guest_that_nobody_expects_a_shell_of_may_reset_itself(tmp_path: Path) -> None:
    async def script(m: LiveMachine, g: Guest) -> None:
        for _ in range(2 * RESETS):
            g.session.resets_itself()
            await turns()
        assert not m.state.shared.ended

    on_machine(script, tmp_path / "log", Guest())

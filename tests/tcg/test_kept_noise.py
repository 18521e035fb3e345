"""Guests that call or print without end, in a kept machine: what QEMU keeps of it is bounded."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from pathlib import Path

import pytest
from hpcore_tcg.kept_machine import Hello, last_hello
from hpcore_tcg.protocol import Event, encode

from hpcore.log import read
from hpcore.model.config import MachineConfig
from hpcore.model.machines import Phase
from hpcore.qemu import kept_machine
from hpcore.qemu.kept_file import BLOCK, KeptFile, given_back
from hpcore.run.accelerator import GuestImages
from hpcore.run.attach import attach_machine
from hpcore.run.discovery import find
from hpcore.run.kept import place_of
from hpcore.run.open import open_machine
from hpcore.triage.replay import replay
from tests.qemu.support import needs_qemu
from tests.support.command import hpcore, running, scenario
from tests.support.noisy import calls, guest, prints
from tests.support.waits import poll, until

CALL = len(encode(Event.CPU_ON, slot=0, caller=0, granted=0, entry=0, context=0))
SECONDS = 100.0
"""For some hundred kilobytes of noise, on a machine that has other work to do."""


def place(log: Path) -> Path:
    """Where the machine of `log` lives."""
    header, records = read(log)
    records.close()
    found = place_of(header)
    assert found is not None
    return found


def options(images: GuestImages) -> list[str | Path]:
    assert images.initrd is not None
    return ["--kernel", images.kernel, "--initrd", images.initrd, "--no-shell"]


@needs_qemu
def test_a_guest_that_calls_without_end_leaves_no_long_link_log_and_is_had_again_after_a_kill(
    tmp_path: Path,
) -> None:
    images, log = guest(tmp_path, calls(parked=2)), tmp_path / "run.jsonl"
    endless = scenario(tmp_path / "s.yaml", "boot", "wait: 20m")
    where = {"TMPDIR": tempfile.gettempdir()}
    with running(
        "run", endless, "--accel", "tcg", "--keep", "--log", log, *options(images), env=where
    ) as run:
        run.qemu()
        poll(log.exists, "the log")
        link = place(log) / "link.log"
        poll(lambda: link.exists() and holes(link) > 0, "a hole", SECONDS)
        run.send(signal.SIGKILL)
        run.process.wait()
        before = link.stat().st_size
        poll(lambda: link.stat().st_size > before + 200 * CALL, "calls that nobody hears", SECONDS)
        missed = link.stat().st_size - before
        ended = hpcore("attach", log, "--end", "--json", env=where, seconds=400)
    assert ended.code == 0, ended
    assert ended.last["missed"]["events"] >= missed // CALL
    verdict = replay(log)
    assert verdict.ok
    assert verdict.state.shared.phase is Phase.ENDED


def holes(path: Path) -> int:
    """Blocks of a file that are not there."""
    found = path.stat()
    return (found.st_size - found.st_blocks * 512) // BLOCK


@needs_qemu
def test_of_what_a_guest_prints_without_end_the_last_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_machine, "CONSOLE_MOST", 2 * BLOCK)
    monkeypatch.setattr(kept_machine, "LOOK_SECONDS", 0.05)
    images, log = guest(tmp_path, prints()), tmp_path / "run.jsonl"
    config = MachineConfig.of(cpus=1, maxcpus=2)

    async def run() -> None:
        async with open_machine(find("tcg"), config, images, log=log, keep=True) as machine:
            await machine.start()
            console = place(log) / kept_machine.CONSOLE_KEPT
            await until(lambda: given_back(console) >= BLOCK, "a hole", SECONDS)
        printed = bytearray()
        async with attach_machine(log, printed=printed.extend) as attached:
            attached.machine.end_when_left()
            await until(lambda: len(printed) > kept_machine.PRINTED_KEPT, "more of it", SECONDS)
        assert set(printed) == {ord(".")}

    asyncio.run(run())


def test_the_last_hello_is_found_behind_a_hole_and_across_what_is_read_at_once(
    tmp_path: Path,
) -> None:
    path = tmp_path / "link.log"
    hello, other = encode(Event.HELLO, version=1, epoch=7), encode(Event.SCAN_STARTED)
    first = encode(Event.HELLO, version=1, epoch=6)
    megabyte = 1 << 20
    fill = other * (megabyte // len(other))
    path.write_bytes(first + fill + hello + fill)
    at = len(first) + len(fill)
    with path.open("rb") as file:
        size = path.stat().st_size
        assert last_hello(file, size) == Hello(7, at + len(hello))
        assert last_hello(file, at + 1) == Hello(6, len(first))
    KeptFile(path).give_back(size, range(at, at + len(hello)))
    with path.open("rb") as file:
        assert last_hello(file, size) == Hello(7, at + len(hello))
        assert last_hello(file, at) is None

"""A machine under somebody else's VM goes to another door, or into a file, with what it is.

QEMU is played (played_qemu.py), and so are KVM and the guest; of the door, all but its monitors'
sockets is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from hpcore_kvm_qemu.accelerator import KvmQemuPrepared
from hpcore_kvm_qemu.launch import LINK
from hpcore_kvm_qemu.policy import Policy

from hpcore.door import asked
from hpcore.door.front import Part
from hpcore.door.log import VmLog
from hpcore.door.machine import attached
from hpcore.door.moving.channel import Channel
from hpcore.door.moving.frames import MAGIC, Frames, Kind
from hpcore.door.moving.taking import Inherited
from hpcore.door.qmp import Answers
from hpcore.model import stimuli
from hpcore.model.psci import PsciStatus
from hpcore.qemu.qmp import Qmp
from hpcore.run.accelerator import Capabilities
from hpcore.run.discovery import Found
from hpcore.run.machine import LiveMachine
from hpcore.run.open import header_of
from hpcore.session.carrying import QEMU
from hpcore.session.loads import Loads
from hpcore.triage.replay import replay
from tests.door.started import why_not_taken
from tests.door.test_offered import arm64_with_kvm
from tests.kvm_qemu.played_qemu import PlayedQemu, played
from tests.kvm_qemu.test_carried import PlayedProcess, runs
from tests.qemu.support import needs_qemu
from tests.support.waits import SECONDS, until

__all__ = ["arm64_with_kvm"]

pytestmark = pytest.mark.usefixtures("arm64_with_kvm")

WORDS = ("-M", "virt", "-accel", "kvm", "-cpu", "host", "-smp", "1,maxcpus=3", "-m", "256",
         "-kernel", "vmlinuz")  # fmt: skip
LOADS = Loads.of({"blob": b"tables"})


class Nobody:
    """A client that has given no descriptor."""

    async def take_descriptor(self, _name: str) -> int | None:
        return None


@frozen
class Door:
    """One VM's."""

    qemu: PlayedQemu
    machine: LiveMachine
    answers: Answers
    events: list[dict[str, object]]
    log: Path

    async def do(self, command: str, **arguments: object) -> Any:
        handler = self.answers.handler(command, Nobody())
        assert handler is not None
        return await handler(arguments)

    async def ended(self) -> dict[str, object]:
        """What `query-migrate` says once the migration is over."""
        found: dict[str, object] = {}
        async with asyncio.timeout(SECONDS):
            while found.get("status") not in ("completed", "failed", "cancelled"):
                await asyncio.sleep(0.01)
                found = dict(await self.do("query-migrate"))
        return found

    async def plug(self, cpu: int) -> None:
        await self.do("device_add", driver="host-arm-cpu", id=f"cpu{cpu}", **{"core-id": cpu})

    async def plugged(self, cpu: int) -> None:
        """Plugged, and on."""
        await self.plug(cpu)
        await self.machine.until(
            lambda s: s.slots[cpu].powered and s.slots[cpu].registered and not s.shared.scanning,
            "the plug", SECONDS,
        )  # fmt: skip

    async def unplugged(self, cpu: int) -> None:
        await self.do("device_del", id=f"cpu{cpu}")
        await self.machine.until(
            lambda s: s.slots[cpu].id is None and not s.slots[cpu].busy, "the unplug", SECONDS
        )

    async def is_as_it_was(self) -> None:
        """vCPU 1 is on and can go, vCPU 2 is denied until it is plugged; a reset keeps it so."""
        await until(lambda: not self.qemu.held and self.qemu.status == "running", "it runs here")
        assert self.qemu.powered == {0, 1}
        assert await self.qemu.cpu_on(2) == PsciStatus.DENIED
        await self.plugged(2)
        await self.unplugged(1)
        assert await self.qemu.cpu_on(1) == PsciStatus.DENIED
        assert self.qemu.powered == {0, 2}
        resets = self.qemu.said["reset"]
        await self.do("system_reset")
        await until(lambda: self.qemu.said["reset"] > resets, "the reset")
        await runs(self.machine)
        assert await self.qemu.cpu_on(1) == PsciStatus.DENIED
        assert await self.qemu.cpu_on(2) == PsciStatus.SUCCESS


@asynccontextmanager
async def door(
    directory: Path, *words: str, loads: Loads = LOADS, said: int | None = None
) -> AsyncIterator[Door]:
    """A VM with `words` besides; `said` gets what is said on its standard error."""
    await asyncio.to_thread(directory.mkdir)
    wanted = asked.read([*WORDS, *words])
    found = Found("kvm-qemu", "tests", None, Capabilities())
    policy = Policy(wanted.config, directory / LINK)
    policy.expect(os.getpid())
    prepared = KvmQemuPrepared(wanted.config, policy, Part({}, ()), loads)
    log, events = directory / "log.jsonl", list[dict[str, object]]()

    def tell(name: str, data: Mapping[str, object]) -> None:
        events.append({"event": name, **data})

    async with played(directory, wanted.config.possible) as qemu:
        process, qmp = PlayedProcess(directory, qemu), directory / "qmp"
        try:
            with VmLog(log, header_of(found, wanted.config), None) as vm_log:
                async with attached(wanted, prepared, process, qmp, vm_log) as moves:
                    inherited = None
                    if wanted.incoming is not None:
                        inherited = Inherited((), os.dup(2) if said is None else said)
                    real = await Qmp.connect(process, qmp, lambda _name, _data: None)
                    commands = moves.commands(real, tell, process, inherited)
                    try:
                        await moves.begin()
                        yield Door(qemu, moves.machine, moves.answers(commands), events, log)
                    finally:
                        await moves.close()
                        await real.close()
        finally:
            prepared.close()


@asynccontextmanager
async def source(tmp_path: Path) -> AsyncIterator[Door]:
    """Booted, with vCPU 1 plugged and on; vCPU 2 is parked."""
    async with door(tmp_path / "source") as here:
        await here.machine.begin(stimuli.Boot())
        await runs(here.machine)
        await here.plugged(1)
        assert await here.qemu.cpu_on(2) == PsciStatus.DENIED
        yield here


@asynccontextmanager
async def waiting(
    tmp_path: Path, name: str = "there", *words: str, plugged: tuple[int, ...] = (1,)
) -> AsyncIterator[Door]:
    """One that waits for that machine at the socket `name`.here."""
    async with door(tmp_path / name, "-incoming", "defer", *words) as there:
        for cpu in plugged:
            await there.plug(cpu)
        await there.do("migrate-incoming", uri=f"unix:{tmp_path}/{name}.here")
        yield there


def test_a_machine_that_moves_while_it_runs_keeps_its_grants_and_gains_none(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        async with source(tmp_path) as here, waiting(tmp_path) as there:
            here.qemu.migration.lie = {2}
            await here.do("migrate", uri=f"unix:{tmp_path}/there.here")
            assert (await here.ended())["status"] == "completed"
            await there.is_as_it_was()
            assert here.qemu.status == "postmigrate"
            assert "stop" not in here.qemu.obeyed[: here.qemu.obeyed.index("migrate-continue")]
            for log in (here.log, there.log):
                assert replay(log).ok

    asyncio.run(run())


def test_a_machine_that_stands_still_is_held_where_it_comes_to_until_cont(tmp_path: Path) -> None:
    async def run() -> None:
        async with source(tmp_path) as here, waiting(tmp_path, "there", "-S") as there:
            await here.do("stop")
            await here.do("migrate", uri=f"unix:{tmp_path}/there.here")
            assert (await here.ended())["status"] == "completed"
            assert (await there.ended())["status"] == "completed"
            assert there.qemu.held and there.qemu.powered == {0, 1}
            await there.do("cont")
            await there.is_as_it_was()

    asyncio.run(run())


def test_one_file_is_taken_by_two_and_the_machine_that_was_saved_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "saved"

    async def run() -> None:
        async with source(tmp_path) as here:
            await here.do("migrate", uri=f"exec:cat > {file}")
            assert (await here.ended())["status"] == "completed"
            await here.do("cont")
            await here.is_as_it_was()
        for name in ("one", "two"):
            async with door(tmp_path / name, "-incoming", "defer") as there:
                await there.plug(1)
                await there.do("migrate-incoming", uri=f"exec:cat {file}")
                await there.is_as_it_was()
                assert replay(there.log).ok

    asyncio.run(run())


@pytest.mark.parametrize("command", ["migrate", "migrate-continue"])
def test_where_the_other_side_dies_the_machine_goes_on_and_the_next_try_works(
    tmp_path: Path, command: str
) -> None:
    """Just before that command is obeyed here."""

    async def run() -> None:
        async with source(tmp_path) as here:
            async with waiting(tmp_path, "first") as first:

                def dies(said: str) -> None:
                    if said == command and first.qemu.process.poll() is None:
                        first.qemu.die()

                here.qemu.before = dies
                with contextlib.suppress(Exception):  # where it is known at once
                    await here.do("migrate", uri=f"unix:{tmp_path}/first.here")
                assert (await here.ended())["status"] == "failed"
            await until(lambda: here.qemu.status == "running", "it goes on")
            assert here.qemu.powered == {0, 1}
            assert await here.qemu.cpu_on(2) == PsciStatus.DENIED
            async with waiting(tmp_path) as there:
                await here.do("migrate", uri=f"unix:{tmp_path}/there.here")
                assert (await here.ended())["status"] == "completed"
                await there.is_as_it_was()
            assert replay(here.log).ok

    asyncio.run(run())


def test_a_client_that_wants_to_be_waited_for_continues_or_cancels(tmp_path: Path) -> None:
    """It is told `pre-switchover` once the door has sent its part, and not before."""
    wants = [{"capability": name, "state": True} for name in ("events", "pause-before-switchover")]

    async def at_switch(here: Door) -> None:
        await until(
            lambda: {"event": "MIGRATION", "status": "pre-switchover"} in here.events, "its word"
        )
        assert (await here.do("query-migrate"))["status"] == "pre-switchover"

    async def run() -> None:
        async with source(tmp_path) as here:
            here.qemu.migration.take(wants)
            for name in ("first", "there"):
                here.events.clear()
                async with waiting(tmp_path, name) as there:
                    await here.do("migrate", uri=f"unix:{tmp_path}/{name}.here")
                    await at_switch(here)
                    assert "migrate-continue" not in here.qemu.obeyed
                    assert there.qemu.held
                    if name == "first":
                        here.qemu.migration.cancel()
                        assert (await here.ended())["status"] == "cancelled"
                        assert there.qemu.held
                        assert await here.qemu.cpu_on(2) == PsciStatus.DENIED
                    else:
                        here.qemu.migration.go_on()
                        assert (await here.ended())["status"] == "completed"
                        await there.is_as_it_was()

    asyncio.run(run())


def test_an_interrupt_that_was_on_its_way_is_raised_again_where_the_machine_goes(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        async with source(tmp_path) as here, waiting(tmp_path, plugged=(1, 2)) as there:
            os.close(here.qemu.event)  # hpcore's own is another: the guest hears nothing here
            here.qemu.event = os.eventfd(0, os.EFD_NONBLOCK)
            await here.plug(2)
            await here.machine.until(
                lambda s: s.slots[2].insert and s.slots[2].step is None, "its event", SECONDS
            )
            await here.do("migrate", uri=f"unix:{tmp_path}/there.here")
            assert (await here.ended())["status"] == "completed"
            await there.machine.until(lambda s: s.slots[2].powered, "its scan there", SECONDS)

    asyncio.run(run())


Framed = tuple[Kind, bytes]


def frames_of(stream: bytes) -> list[Framed]:
    """What a stream has behind its first line."""
    channel = file_of(stream)
    frames = Frames(channel)
    frames.read_magic()
    found = [(frame.kind, bytes(frame.data)) for frame in iter(frames.read, None)]
    channel.close()
    return found


def file_of(data: bytes) -> Channel:
    descriptor = os.memfd_create("stream")
    os.write(descriptor, data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return Channel(descriptor)


def head_with(frames: list[Framed], **other: object) -> list[Framed]:
    (kind, data), *rest = frames
    about = json.loads(data)
    facts = {**about["facts"], **other.pop("facts", {})}  # type: ignore[dict-item]
    return [(kind, json.dumps({**about, **other, "facts": facts}).encode()), *rest]


def without(frames: list[Framed], kind: Kind) -> list[Framed]:
    return [frame for frame in frames if frame[0] is not kind]


def section_with(frames: list[Framed], old: bytes, new: bytes) -> list[Framed]:
    return [(k, data.replace(old, new) if k is Kind.SECTION else data) for k, data in frames]


UNLIKE: dict[str, tuple[Callable[[list[Framed]], list[Framed]], str]] = {
    "tcg's": (
        lambda frames: head_with(frames, accelerator="tcg"),
        "comes from the accelerator 'tcg', and is waited for on 'kvm-qemu'",
    ),
    "with other tables": (
        lambda frames: head_with(frames, facts={"blob": "0" * 64}),
        f"with blob {'0' * 64}, and here it is",
    ),
    "of another QEMU": (
        lambda frames: head_with(frames, facts={QEMU: "9.9.9"}),
        "with qemu 9.9.9, and here it is 7.2.0: have both sides use the same QEMU",
    ),
    "without its registers": (
        lambda frames: without(frames, Kind.SECTION),
        "has no section hotplug",
    ),
    "with registers of another version": (
        lambda frames: section_with(frames, b'"version":1', b'"version":99'),
        "section hotplug has version 99",
    ),
    "with registers that are none": (
        lambda frames: section_with(frames, b'"ged"', b'"odd"'),
        "section hotplug does not have what belongs there",
    ),
    "that does not say that it stands still": (
        lambda frames: without(frames, Kind.STILL),
        "it was cut short",
    ),
}


@needs_qemu
def test_a_machine_of_kvms_is_refused_by_a_door_of_tcg(tmp_path: Path) -> None:
    file = tmp_path / "saved"

    async def run() -> None:
        async with source(tmp_path) as here:
            await here.do("migrate", uri=f"exec:cat > {file}")
            assert (await here.ended())["status"] == "completed"

    asyncio.run(run())
    said = why_not_taken(tmp_path, f"exec:cat {file}")
    assert "from the accelerator 'kvm-qemu', and is waited for on 'tcg': start both" in said


def test_what_does_not_fit_is_refused_with_words_and_no_vcpu_is_on(tmp_path: Path) -> None:
    file, unlike = tmp_path / "saved", tmp_path / "unlike"
    error = tmp_path / "stderr"

    async def refused(number: int, stream: bytes) -> str:
        unlike.write_bytes(stream)
        error.write_bytes(b"")
        said = os.open(error, os.O_WRONLY)
        async with door(tmp_path / str(number), "-incoming", "defer", said=said) as there:
            await there.plug(1)
            await there.do("migrate-incoming", uri=f"exec:cat {unlike}")
            await until(lambda: there.qemu.process.poll() is not None, "QEMU's end")
            await until(lambda: error.stat().st_size > 0, "why")
            assert there.qemu.powered <= {0}
            return error.read_text()

    async def run() -> None:
        async with source(tmp_path) as here:
            await here.do("migrate", uri=f"exec:cat > {file}")
            assert (await here.ended())["status"] == "completed"
        frames = frames_of(file.read_bytes())
        for number, (what, (change, says)) in enumerate(UNLIKE.items()):
            words = await refused(number, stream_of(change(frames)))
            assert says in words, (what, words)
        older = without(without(frames, Kind.STILL), Kind.SECTION)
        words = await refused(99, stream_of(older, MAGIC.replace(b"3", b"2")))
        assert "has no section hotplug" in words, words

    asyncio.run(run())


def stream_of(frames: list[Framed], magic: bytes = MAGIC) -> bytes:
    reads, writes = socket.socketpair()
    with reads:
        channel = Channel(writes.detach())
        channel.write(magic)
        for kind, data in frames:
            Frames(channel).write(kind, data)
        channel.close()
        return b"".join(iter(lambda: reads.recv(1 << 16), b""))

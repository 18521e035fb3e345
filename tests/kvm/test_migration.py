"""A machine is carried to another VM of the real KVM while its guest runs, and goes on there."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hpcore_kvm import memory_stream, saved
from hpcore_kvm.errors import KvmError
from hpcore_kvm.machine import KvmMachine
from hpcore_kvm.memory_stream import StreamError
from hpcore_kvm.precopy import Precopy
from hpcore_kvm.threads import Hold
from hpcore_kvm.vm import PAGE, Memory

from hpcore.model.effects import MachineStep, RaiseGed
from hpcore.model.rules import TEARDOWN
from hpcore.model.stimuli import ResetSeen
from hpcore.promises.rig import COLD_BUILD
from hpcore.run.accelerator import AcceleratorError, EffectError
from tests.kvm.machines import LOAD, STORE, KvmRig, Mailboxes, bare, flat, open_files
from tests.kvm.programs import CALLER, WRITER
from tests.kvm.test_saving import WORD_AT, answer, everything, ordered, with_much_in_it
from tests.support.waits import SECONDS, until

WRITTEN_AT, WRITTEN = 0x4800_0000, 1 << 20


@pytest.mark.nvhe
def test_a_machine_goes_on_where_it_was_carried_to(tmp_path: Path) -> None:
    async def run() -> None:
        async with bare(1, 3, flat(tmp_path, CALLER)) as rig:
            await rig.created()
            boxes = Mailboxes()
            answer(rig.machine, boxes, 3)
            await rig.started(0)
            await rig.steps(2, *COLD_BUILD)
            await ordered(boxes, 0, STORE, 0, WORD_AT, 0x600D)
            files, first = open_files(), rig.machine
            for _ in range(2):
                await carried(rig, boxes)
                assert await ordered(boxes, 0, LOAD, 0, WORD_AT) == 0x600D
            assert open_files() == files
            assert rig.machine is not first
            await rig.steps(2, *TEARDOWN)  # which was plugged before it was carried
            await rig.steps(1, *COLD_BUILD)
            await rig.do(RaiseGed())
            await rig.machine_step(MachineStep.PAUSE)
            at = rig.machine.stopped_at
            await carried(rig, boxes)
            assert rig.machine.stopped_at == at, "time goes by in a pause"
            await rig.machine_step(MachineStep.RESUME)
            assert await ordered(boxes, 0, LOAD, 0, WORD_AT) == 0x600D
            await rig.machine_step(MachineStep.RESET)
            await rig.heard(ResetSeen())
            await rig.machine_step(MachineStep.RESTART, (0, 1))
            await ordered(boxes, 0, STORE, 0, WORD_AT, 1)
            assert rig.stimuli == [ResetSeen()]

    asyncio.run(run())


async def carried(rig: KvmRig, boxes: Mailboxes) -> None:
    """Have the machine carried; its guest's mailboxes are there, too."""
    new = rig.session._new_machine

    def with_mailboxes(*arguments: Any) -> Any:
        machine = new(*arguments)
        answer(machine, boxes, 3)
        return machine

    rig.session._new_machine = with_mailboxes  # type: ignore[method-assign, assignment]
    try:
        await rig.machine_step(MachineStep.MIGRATE)
    finally:
        rig.session._new_machine = new  # type: ignore[method-assign]


def test_what_kvm_holds_is_the_same_where_a_machine_was_carried_to(tmp_path: Path) -> None:
    """Also what was not written there, since a VM that was just made has it."""

    async def run() -> None:
        async with bare(2, 3, flat(tmp_path, CALLER)) as rig:
            await with_much_in_it(rig)
            here, before = rig.machine, everything(rig.machine)
            await rig.machine_step(MachineStep.MIGRATE)
            assert rig.machine is not here
            after = everything(rig.machine)
            assert {key for key in before if before[key] != after[key]} == set()
            assert rig.machine.vgic.bound == {0, 1}

    asyncio.run(run())


def numbers(memory: Memory) -> list[int]:
    """What WRITER has written to the pages, in order."""
    start = WRITTEN_AT - memory.base
    words = memory.data[start : start + WRITTEN].cast("Q")
    found = [words[at // 8] for at in range(0, WRITTEN, PAGE)]
    words.release()
    return found


def test_nothing_that_a_guest_writes_meanwhile_is_lost(tmp_path: Path) -> None:
    """At any moment its pages have one number up to some page, and the one before from there on."""

    async def run() -> None:
        async with bare(1, 2, flat(tmp_path, WRITER)) as rig:
            await rig.created()
            await rig.started(0)
            await until(lambda: numbers(rig.machine.memory)[0] >= 2)
            await rig.machine_step(MachineStep.MIGRATE)
            moved = rig.session.moved
            assert moved is not None and moved.rounds > 2 and moved.sent > WRITTEN
            seen = numbers(rig.machine.memory)[0]
            await until(lambda: numbers(rig.machine.memory)[0] > seen + 1)
            await rig.machine_step(MachineStep.PAUSE)
            found = numbers(rig.machine.memory)
            assert found == sorted(found, reverse=True) and found[0] - found[-1] <= 1

    asyncio.run(run())


def breaks(exception: Exception) -> Callable[..., None]:
    def raising(*_: object) -> None:
        raise exception

    return raising


@pytest.mark.parametrize(
    ("module", "name", "error", "says"),
    [
        (memory_stream, "take", StreamError("it is gone"), "the memory does not arrive: it is"),
        (saved, "carry", AcceleratorError("not here"), "not here"),
        (KvmMachine, "init_gic", KvmError("KVM_CREATE_DEVICE", errno.ENOMEM, "a VGICv3"),
         "MIGRATE: KVM_CREATE_DEVICE"),
        (Precopy, "finish", OSError("cut"), "cut"),
    ],
    ids=["memory", "state", "other VM", "rest"],
)
def test_what_fails_before_the_switch_leaves_the_machine_where_it_was(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: object,
    name: str,
    error: Exception,
    says: str,
) -> None:
    async def run() -> None:
        async with bare(1, 2, flat(tmp_path, WRITER)) as rig:
            await rig.created()
            await rig.started(0)
            here, files = rig.machine, open_files()
            with monkeypatch.context() as broken:
                broken.setattr(module, name, breaks(error))
                with pytest.raises(EffectError, match=says):
                    await rig.machine_step(MachineStep.MIGRATE)
            assert rig.machine is here and open_files() == files
            seen = numbers(here.memory)[0]
            await until(lambda: numbers(here.memory)[0] > seen)  # it goes on
            await rig.steps(1, *COLD_BUILD, *TEARDOWN)
            await rig.machine_step(MachineStep.MIGRATE)  # and the next try works
            assert rig.machine is not here and rig.stimuli == []

    asyncio.run(run())


WHEN: dict[str, Callable[[Precopy, KvmMachine], bool]] = {
    "early": lambda copy, _machine: copy.rounds == 0,
    "in the middle": lambda copy, _machine: copy.rounds >= 2,
    "at the switch": lambda _copy, machine: Hold.CARRIED in machine.threads.holds,
}
"""When something happens to a migration: asked before each part of the memory is sent."""


def disturbed(
    monkeypatch: pytest.MonkeyPatch, machine: KvmMachine, when: str, act: Callable[[Precopy], None]
) -> None:
    """Have `act` done once in a migration of `machine`."""
    send = Precopy._send
    pending = [act]

    def sending(copy: Precopy, spans: memory_stream.Spans) -> int:
        if pending and WHEN[when](copy, machine):
            pending.pop()(copy)
        return send(copy, spans)

    monkeypatch.setattr(Precopy, "_send", sending)


async def goes_on_and_is_carried(rig: KvmRig, here: KvmMachine, files: int) -> None:
    """The machine is where it was, its guest goes on, nothing is left; the next try works."""
    assert rig.machine is here
    await until(lambda: open_files() <= files, f"{files} files open, as before")
    seen = numbers(here.memory)[0]
    await until(lambda: numbers(here.memory)[0] > seen)
    await rig.steps(1, *COLD_BUILD, *TEARDOWN)
    await rig.machine_step(MachineStep.MIGRATE)
    assert rig.machine is not here and rig.stimuli == []


@pytest.mark.parametrize("when", WHEN)
def test_a_destination_that_goes_away_leaves_the_machine_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    def goes(copy: Precopy) -> None:
        copy._other.shutdown(socket.SHUT_RDWR)

    async def run() -> None:
        async with bare(1, 2, flat(tmp_path, WRITER)) as rig:
            await rig.created()
            await rig.started(0)
            here, files = rig.machine, open_files()
            disturbed(monkeypatch, here, when, goes)
            with pytest.raises(EffectError, match="the memory does not arrive"):
                await rig.machine_step(MachineStep.MIGRATE)
            await goes_on_and_is_carried(rig, here, files)

    asyncio.run(run())


@pytest.mark.parametrize("when", WHEN)
def test_a_migration_that_is_given_up_leaves_the_machine_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    async def run() -> None:
        async with bare(1, 2, flat(tmp_path, WRITER)) as rig:
            await rig.created()
            await rig.started(0)
            here, files, loop = rig.machine, open_files(), asyncio.get_running_loop()
            given_up = threading.Event()

            def give_up(_copy: Precopy) -> None:
                loop.call_soon_threadsafe(moving.cancel)
                loop.call_soon_threadsafe(given_up.set)
                assert given_up.wait(SECONDS)

            disturbed(monkeypatch, here, when, give_up)
            moving = asyncio.create_task(rig.machine_step(MachineStep.MIGRATE))
            with pytest.raises(asyncio.CancelledError):
                await moving
            await goes_on_and_is_carried(rig, here, files)

    asyncio.run(run())

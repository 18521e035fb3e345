"""Flaws of QEMU's own vCPU hotplug: each shown on QEMU, and not met by a user of hpcore."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import attrs
import pytest
from attrs import field, frozen
from hpcore_qtest.native.block import Block
from hpcore_qtest.native.boards import GED_CPU_EVENT, LOONGARCH64_VIRT, Q35, NativeBoard
from hpcore_qtest.native.hotpluggable_cpus import HotpluggableCpu
from hpcore_qtest.native.machine import NativeMachine, device_id
from hpcore_qtest.native.session import NativeSession
from hpcore_qtest.qemu.machine import Ears, StoppedQemu

from hpcore.guest.played.hostile import Call
from hpcore.model.config import MachineConfig
from hpcore.model.effects import MachineStep, RunMachineStep, RunStep, Step
from hpcore.model.events import EjectRefused, Event, PlugCompleted, PlugFailed, UnplugCompleted
from hpcore.model.machines import SlotState
from hpcore.model.rules import BUILD, TEARDOWN
from hpcore.model.states import Owed
from hpcore.model.stimuli import DeviceAdd, DeviceDel
from hpcore.platform.hotplug_registers import DATA, Flag, RegisterCommand, Store
from hpcore.qemu.errors import QemuError
from hpcore.qemu.fetch import find_hotplugging
from hpcore.qemu.find import X86_64
from hpcore.run.accelerator import GuestScript
from hpcore.scenario import values as sc
from tests.qemu.support import needs_qemu
from tests.qtest.native import ACCELERATORS, NativeRehearsal, needs_hotplugging
from tests.support.waits import until

pytestmark = [needs_qemu, needs_hotplugging]

CONFIG = MachineConfig.of(cpus=2, maxcpus=4)
BOARDS = {"qtest-loongarch64": LOONGARCH64_VIRT, "qtest-q35": Q35}
ON_BOTH = pytest.mark.parametrize("accel", BOARDS)
BOTH_FLAGS = Flag.INSERT | Flag.REMOVE


@frozen
class Raw:
    """QEMU, its registers, and what it told, with nothing of hpcore's between."""

    machine: NativeMachine
    block: Block
    deleted: list[str] = field(factory=list)

    async def eject(self, slot: int, *before: Store) -> int:
        """A guest's stores to the flags of `slot`, the eject last; the flags after it."""
        return await self.block.visit(slot, (*before, Store.EJECT))


@asynccontextmanager
async def raw(board: NativeBoard) -> AsyncIterator[Raw]:
    qemu = find_hotplugging(board.program)
    machine = await NativeMachine.start(CONFIG, board, qemu, Ears())
    made = Raw(machine, Block(machine.qemu.qtest, board, CONFIG.possible))

    def event(name: str, data: Mapping[str, object]) -> None:
        if name == "DEVICE_DELETED":
            made.deleted.append(str(data["path"]))

    machine.qemu.listen(Ears(event=event))
    try:
        await made.block.set_up()
        await board.events.set_up(machine.qemu.qtest)
        yield made
    finally:
        await machine.qemu.close()


@asynccontextmanager
async def controlled(accel: str) -> AsyncIterator[tuple[NativeRehearsal, list[Event]]]:
    """The core on the same machine, booted; and the events that come."""
    rehearsal = NativeRehearsal(CONFIG)
    rehearsal.accel = accel
    events: list[Event] = []
    rehearsal.watch(events.append)
    try:
        await rehearsal.start()
        yield rehearsal, events
    finally:
        await rehearsal.close()


@asynccontextmanager
async def started(accel: str) -> AsyncIterator[NativeSession]:
    """A session whose guest was started, for effects without a core."""
    session = await ACCELERATORS[accel]().open(CONFIG, GuestScript(), lambda _stimulus: None)
    try:
        for whole in (MachineStep.CREATE_VCPUS, MachineStep.INIT_GIC, MachineStep.START):
            await session.execute(RunMachineStep(whole))
        yield session
    finally:
        await session.close()


def hold_guest(session: NativeSession, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the guest take no event bit from here on, while the machine takes steps."""
    monkeypatch.setattr(session, "_may_go", lambda: False)
    session._let_go()


def plug(slot: int) -> sc.PlugStep:
    return sc.PlugStep(f"core{slot}", dict(CONFIG.topology.props(slot)))


# ------------------------------- an unplug does not give back what QEMU has of a vCPU


@ON_BOTH
def test_qemu_aborts_at_the_creation_after_maxcpus(accel: str) -> None:
    async def scene() -> None:
        async with raw(attrs.evolve(BOARDS[accel], most=CONFIG.possible)) as it:
            assert it.machine.creations == 2
            for _ in range(2):
                await it.machine.add(2)
                assert not await it.eject(2, Store.CLEAR_INSERT)
            assert it.machine.full is not None
            with pytest.raises(QemuError, match="SIGABRT"):
                await it.machine.add(2)

    asyncio.run(scene())


@ON_BOTH
def test_a_plug_that_would_abort_qemu_is_refused(
    accel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = attrs.evolve(BOARDS[accel], most=CONFIG.possible)
    monkeypatch.setattr(ACCELERATORS[accel], "board", small)

    async def scene() -> None:
        async with controlled(accel) as (it, events):
            for _ in range(2):
                await it.take(plug(2))
                await it.take(sc.UnplugStep("core2"))
            await it.take(plug(2))
            (failed,) = [event.error for event in events if isinstance(event, PlugFailed)]
            assert "QEMU has created 4 vCPUs" in failed
            assert "start the machine anew" in failed
            await it.take(sc.ResetStep())
            assert it.lines[-2].fails is None, "the machine goes on"

    asyncio.run(scene())


@ON_BOTH
def test_qemu_is_given_room_for_far_more_plugs_than_the_machine_has_slots(accel: str) -> None:
    async def scene() -> None:
        async with raw(BOARDS[accel]) as it:
            assert len(it.machine.slots) - it.machine.creations >= 250

    asyncio.run(scene())


# --------------------------------- an eject leaves the slot's event bits as they were


@ON_BOTH
def test_qemus_next_vcpu_is_born_with_the_last_ones_removal(accel: str) -> None:
    async def scene() -> None:
        async with raw(BOARDS[accel]) as it:
            await it.machine.add(2)
            await it.machine.request_removal(2)
            assert await it.eject(2) == BOTH_FLAGS
            await it.machine.add(2)
            assert await it.block.flags(2) == Flag.ENABLED | BOTH_FLAGS

    asyncio.run(scene())


@ON_BOTH
def test_a_vcpu_is_born_without_the_last_ones_removal(
    accel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        async with started(accel) as session:
            hold_guest(session, monkeypatch)
            for step in (*BUILD, Step.NOTIFY_REMOVE):
                await session.execute(RunStep(step, 2))
            assert await session.block.flags(2) == Flag.ENABLED | BOTH_FLAGS
            for step in TEARDOWN:
                await session.execute(RunStep(step, 2))
            assert await session.block.flags(2) == 0
            for step in BUILD:
                await session.execute(RunStep(step, 2))
            assert await session.block.flags(2) == Flag.ENABLED | Flag.INSERT

    asyncio.run(scene())


# ------------------------------------ a removal that comes before the insert was seen


async def qemus_scan(it: Raw) -> list[tuple[int, Flag]]:
    """What QEMU's CSCN method comes to: one event a vCPU, insert first, and on to the next.

    Source: hw/acpi/cpu.c, build_cpus_aml.
    """
    told: list[tuple[int, Flag]] = []
    slot = 0
    while slot < CONFIG.possible:
        await it.block.select(slot)
        flags = await it.block.give_command(RegisterCommand.NEXT_WITH_EVENT)
        found = await it.block.read(DATA, 4)
        if not flags & BOTH_FLAGS or found < slot:
            break
        if flags & Flag.INSERT:
            await it.block.write_flags(Store.CLEAR_INSERT)
            told.append((found, Flag.INSERT))
        elif flags & Flag.REMOVE:
            await it.block.write_flags(Store.CLEAR_REMOVE)
            told.append((found, Flag.REMOVE))
        slot = found + 1
    return told


@ON_BOTH
def test_qemus_scan_loses_a_removal_that_meets_an_insert(accel: str) -> None:
    async def scene() -> None:
        async with raw(BOARDS[accel]) as it:
            events, qtest = it.machine.board.events, it.machine.qemu.qtest
            await it.machine.add(2)
            await it.machine.request_removal(2)
            assert await events.take(qtest) == GED_CPU_EVENT
            assert await qemus_scan(it) == [(2, Flag.INSERT)]
            assert await events.take(qtest) == 0, "nothing has the guest look again"
            assert await it.block.flags(2) == Flag.ENABLED | Flag.REMOVE

    asyncio.run(scene())


@ON_BOTH
def test_a_removal_asked_for_before_the_insert_was_seen_is_carried_out(
    accel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        async with controlled(accel) as (it, events):
            hold_guest(it.session, monkeypatch)
            it.post(DeviceAdd("core2", tuple(CONFIG.topology.props(2).items())))
            await until(lambda: PlugCompleted(2, "core2") in events, "the guest is notified")
            it.post(DeviceDel("core2"))
            await until(lambda: it.state.slots[2].command is Owed.UNPLUG, "the unplug")
            assert await it.session.block.flags(2) == Flag.ENABLED | Flag.INSERT
            monkeypatch.undo()
            it.session._let_go()
            await until(lambda: UnplugCompleted(2, "core2") in events, "the vCPU is gone")

    asyncio.run(scene())


# ---------------------------------------------------------- an eject nobody asked for


@ON_BOTH
def test_qemu_ejects_what_the_guest_was_not_asked_for(accel: str) -> None:
    async def scene() -> None:
        async with raw(BOARDS[accel]) as it:
            await it.machine.add(2)
            for slot in (1, 2):  # cold-booted or not
                assert await it.machine.occupied(slot)
                await it.eject(slot)
                assert not await it.machine.occupied(slot)
            await until(lambda: len(it.deleted) >= 2, "QEMU tells of both")

    asyncio.run(scene())


@ON_BOTH
def test_an_eject_that_was_not_asked_for_does_not_reach_qemu(accel: str) -> None:
    async def scene() -> None:
        async with controlled(accel) as (it, events):
            await it.take(plug(2))
            for slot in (0, 1, 2):
                await it.take(sc.CallStep(Call.EJECT, (slot,)))
                assert it.session.machine is not None
                assert await it.session.machine.occupied(slot)
                assert it.state.slots[slot].lifecycle in (SlotState.ENABLED, SlotState.ONLINE)
            refused = [event.slot for event in events if isinstance(event, EjectRefused)]
            assert refused == [0, 1, 2]

    asyncio.run(scene())


# --------------------------------------------------- a reset that forgets nothing


@ON_BOTH
def test_qemu_keeps_events_over_a_reset(accel: str) -> None:
    async def scene() -> None:
        async with raw(BOARDS[accel]) as it:
            await it.machine.add(2)
            await it.machine.request_removal(2)
            await it.machine.qemu.reset()
            assert await it.block.flags(2) == Flag.ENABLED | BOTH_FLAGS

    asyncio.run(scene())


@ON_BOTH
def test_after_a_reset_a_vcpu_is_plugged_and_nothing_is_pending(
    accel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene() -> None:
        async with started(accel) as session:
            hold_guest(session, monkeypatch)
            for step in (*BUILD, Step.NOTIFY_REMOVE):
                await session.execute(RunStep(step, 2))
            assert await session.block.flags(2) == Flag.ENABLED | BOTH_FLAGS
            await session.execute(RunMachineStep(MachineStep.RESET))
            await session.execute(RunMachineStep(MachineStep.RESTART, (0, 1, 2)))
            assert await session.block.flags(2) == Flag.ENABLED

    asyncio.run(scene())


# ---------------------------------- a vCPU that came by migration, and was unplugged


def test_q35_ends_no_migration_once_a_migrated_vcpu_was_unplugged() -> None:
    """Why a machine whose QEMU hotplugs vCPUs is not migrated; see test_native_hotplug."""

    async def destination(cpu: HotpluggableCpu) -> StoppedQemu:
        props = ",".join(f"{name}={value}" for name, value in cpu.props.items())
        arguments = Q35.arguments(CONFIG, CONFIG.possible)
        arguments += ["-device", f"{cpu.driver},id={device_id(2)},{props}"]
        return await StoppedQemu.start(find_hotplugging(X86_64), arguments, incoming=True)

    async def scene() -> None:
        small = attrs.evolve(Q35, most=CONFIG.possible)
        async with raw(small) as it, AsyncExitStack() as stack:
            await it.machine.add(2)
            first = await destination(it.machine.slots[2])
            stack.push_async_callback(first.close)
            await it.machine.qemu.move_to(first)
            there = Block(first.qtest, Q35, CONFIG.possible)
            assert await there.flags(2) == Flag.ENABLED | Flag.INSERT
            await there.visit(2, (Store.CLEAR_INSERT, Store.EJECT))
            cpu = it.machine.slots[2]
            again = {"driver": cpu.driver, "id": device_id(2), **cpu.props}
            await first.qmp.execute("device_add", again)
            second = await destination(cpu)
            stack.push_async_callback(second.close)
            with pytest.raises(QemuError, match="was not sent within"):
                await first.move_to(second, seconds=3.0)

    asyncio.run(scene())

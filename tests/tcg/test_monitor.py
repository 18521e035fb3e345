"""The real monitor in a real QEMU, without a guest: what it does, and what it refuses."""

from __future__ import annotations

import asyncio
import random

import pytest
from hpcore_tcg.protocol import Event, Op, Power, StateBit, Status, encode

from hpcore.model.topology import mp_affinity
from tests.qemu.support import needs_qemu
from tests.support.waits import until
from tests.tcg.rig import monitor

pytestmark = needs_qemu

WHOLE = (Op.REALIZE, Op.BIND, Op.WIRE, Op.ENABLE)


def test_before_init_everything_is_refused() -> None:
    async def run() -> None:
        async with monitor(2) as rig:
            for op in (*WHOLE, Op.RUN, Op.QUERY, Op.RAISE_GED, Op.PARK):
                assert await rig.status(op, 1) == Status.NOT_READY
            wrong = rig.of(Event.HELLO)[0]["epoch"] + 1
            assert await rig.status(Op.INIT, arg=wrong) == Status.STALE_EPOCH
            assert await rig.init() == 2

    asyncio.run(run())


@pytest.mark.parametrize("vcpus", [1, 17, 32])
def test_init_counts_the_redistributors_and_bind_says_their_affinity(vcpus: int) -> None:
    async def run() -> None:
        async with monitor(vcpus) as rig:
            assert await rig.init() == vcpus
            for slot in {0, vcpus // 2, 15, 16, vcpus - 1}:
                if slot >= vcpus:
                    assert await rig.status(Op.REALIZE, slot) == Status.NO_SLOT
                    continue
                assert await rig.ask(Op.REALIZE, slot) == 0
                assert await rig.ask(Op.BIND, slot) == mp_affinity(slot)

    asyncio.run(run())


def test_a_plug_out_of_order_is_refused_and_changes_nothing() -> None:
    async def run() -> None:
        async with monitor(3) as rig:
            await rig.init()
            before = await rig.ask(Op.QUERY, 2)
            for op, status in (
                (Op.BIND, Status.NOT_REALIZED),
                (Op.WIRE, Status.NOT_BOUND),
                (Op.ENABLE, Status.NOT_WIRED),
                (Op.NOTIFY_INSERT, Status.NOT_ENABLED),
                (Op.NOTIFY_REMOVE, Status.NOT_ENABLED),
                (Op.DISABLE, Status.NOT_REALIZED),
                (Op.UNWIRE, Status.NOT_WIRED),
                (Op.UNBIND, Status.NOT_BOUND),
                (Op.STOP, Status.NOT_REALIZED),
                (Op.RELEASE, Status.NOT_REALIZED),
            ):
                assert await rig.status(op, 2) == status, op
            assert await rig.ask(Op.QUERY, 2) == before
            assert await rig.status(Op.REALIZE, 3) == Status.NO_SLOT
            assert await rig.status(Op.REALIZE, 2) == Status.OK
            assert await rig.status(Op.REALIZE, 2) == Status.STILL_REALIZED
            assert await rig.status(Op.WIRE, 2) == Status.NOT_BOUND
            assert await rig.status(Op.BIND, 2) == Status.OK
            assert await rig.status(Op.BIND, 2) == Status.STILL_BOUND
            assert await rig.status(Op.ENABLE, 2) == Status.NOT_WIRED
            assert await rig.status(Op.WIRE, 2) == Status.OK
            assert await rig.status(Op.WIRE, 2) == Status.STILL_WIRED
            assert await rig.status(Op.NOTIFY_INSERT, 2) == Status.NOT_ENABLED
            assert await rig.status(Op.ENABLE, 2) == Status.OK
            assert await rig.status(Op.ENABLE, 2) == Status.STILL_ENABLED

    asyncio.run(run())


def test_an_eject_out_of_order_is_refused() -> None:
    async def run() -> None:
        async with monitor(2) as rig:
            await rig.init()
            for op in WHOLE:
                await rig.ask(op, 1)
            assert await rig.flag(1, StateBit.STA) == 0x0F
            assert await rig.status(Op.POWER_OFF, 1) == Status.STILL_ENABLED
            assert await rig.status(Op.UNWIRE, 1) == Status.STILL_ENABLED
            assert await rig.status(Op.UNBIND, 1) == Status.STILL_WIRED
            assert await rig.status(Op.STOP, 1) == Status.STILL_BOUND
            assert await rig.status(Op.RELEASE, 1) == Status.STILL_BOUND
            assert await rig.status(Op.PARK, 1) == Status.STILL_BOUND
            for op in (Op.DISABLE, Op.POWER_OFF, Op.UNWIRE):
                await rig.ask(op, 1)
            assert await rig.flag(1, StateBit.STA) == 0x0D
            assert await rig.status(Op.UNWIRE, 1) == Status.NOT_WIRED
            for op in (Op.UNBIND, Op.STOP, Op.RELEASE, Op.PARK):
                await rig.ask(op, 1)
            assert await rig.power(1) is Power.OFF
            assert await rig.flag(1, StateBit.REALIZED) == 0
            assert await rig.status(Op.PARK, 1) == Status.OK  # nothing to undo is no error

    asyncio.run(run())


def test_a_cold_booted_vcpu_is_never_taken_away() -> None:
    async def run() -> None:
        async with monitor(3) as rig:
            await rig.init()
            for slot, cold in ((0, 0), (1, 1)):  # vCPU 0 is cold whatever the host says
                await rig.ask(Op.REALIZE, slot, cold)
                for op in WHOLE[1:]:
                    await rig.ask(op, slot)
                for op in (Op.NOTIFY_REMOVE, Op.DISABLE, Op.POWER_OFF):
                    assert await rig.status(op, slot) == Status.COLD

    asyncio.run(run())


def test_a_vcpu_is_plugged_and_ejected_again_and_again() -> None:
    async def run() -> None:
        async with monitor(2) as rig:
            await rig.init()
            fresh = await rig.ask(Op.QUERY, 1)
            for _ in range(50):
                for op in (*WHOLE, Op.NOTIFY_INSERT, Op.NOTIFY_REMOVE, Op.DISABLE, Op.POWER_OFF):
                    await rig.ask(op, 1)
                for op in (Op.UNWIRE, Op.UNBIND, Op.STOP, Op.RELEASE, Op.PARK):
                    await rig.ask(op, 1)
                assert await rig.ask(Op.QUERY, 1) == fresh

    asyncio.run(run())


def test_reassert_does_not_enable_what_was_not_enabled() -> None:
    async def run() -> None:
        async with monitor(2) as rig:
            await rig.init()
            await rig.ask(Op.REASSERT, 1)
            assert await rig.flag(1, StateBit.ALLOWED) == 0
            assert await rig.flag(1, StateBit.STA) == 0x0D

    asyncio.run(run())


def test_run_needs_vcpu_0_enabled() -> None:
    async def run() -> None:
        async with monitor(2) as rig:
            await rig.init()
            assert await rig.status(Op.RUN) == Status.NOT_ENABLED

    asyncio.run(run())


def test_a_reset_forgets_all_policy_and_requests_from_before_it() -> None:
    async def run() -> None:
        async with monitor(2) as rig:
            await rig.init()
            first = rig.of(Event.HELLO)[0]["epoch"]
            for op in WHOLE:
                await rig.ask(op, 1)
            await rig.machine.qmp.execute("system_reset")
            second = await rig.wait_event(Event.HELLO, 2)
            assert second["epoch"] != first
            assert await rig.status(Op.ENABLE, 1) == Status.NOT_READY
            assert await rig.status(Op.INIT, arg=first) == Status.STALE_EPOCH
            assert await rig.init() == 2
            assert await rig.flag(1, StateBit.REALIZED) == 0

    asyncio.run(run())


def test_a_damaged_request_is_not_obeyed_and_the_next_one_is() -> None:
    async def run() -> None:
        async with monitor(2) as rig:
            await rig.init()
            good = encode(Op.REALIZE, tag=9000, slot=1, arg=0)
            bad = bytearray(good)
            bad[3] ^= 1
            raw = rig.machine.link._writer  # the codec would not send such bytes
            raw.write(b"\x05\x06" + good[:4] + bytes(bad))
            await until(lambda: len(rig.of(Event.GARBLED)) == 2, "both are told")
            assert await rig.flag(1, StateBit.REALIZED) == 0
            assert await rig.flag(0, StateBit.REALIZED) == 0

    asyncio.run(run())


def test_garbage_on_the_link_does_not_stop_the_monitor() -> None:
    async def run() -> None:
        async with monitor(2) as rig:
            noise = random.Random(7).randbytes(20_000)  # before INIT nothing is obeyed
            rig.machine.link._writer.write(noise)
            assert await rig.init() == 2
            assert await rig.status(Op.REALIZE, 1) == Status.OK
            assert rig.of(Event.GARBLED)
            assert not rig.of(Event.FAULT)
            assert rig.lost == []

    asyncio.run(run())

"""A guest that takes a vCPU on and off all the time, while its machine is stopped and reset."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

from attrs import define
from hpcore_kvm.smccc import Function

from hpcore.model import stimuli
from hpcore.model.events import CpuOnGranted, CpuWentOff, MachineWasReset
from tests.kvm_with_qemu import programs
from tests.kvm_with_qemu.puppet import Puppet
from tests.kvm_with_qemu.strings import OFF, SYSTEM_RESET, mailbox
from tests.support.waits import until

CHURNED, OTHER = 1, 2
BURST = 20
"""CPU_ONs, each with a CPU_OFF, that the guest makes before it is heard again."""

APART = 0.05
"""Seconds between two moments, at most."""

PAUSED = 0.02
RESETS = 0.06
PLUGS = 0.10
"""How long a pause is, at most, and of all moments, how many are resets, or plugs by force."""


@define
class Churned:
    """What was done, and what the guest has counted."""

    pauses: int = 0
    resets: int = 0
    plugs: int = 0
    calls: int = 0
    """CPU_ONs of bursts that ended: each was granted, or the guest would have said so."""
    since_reset: int = 0


async def churn(
    rig: Puppet, moments: int, dice: Random, tell: Callable[[int], None] = lambda _n: None
) -> Churned:
    """So many random moments. `tell` is called with the number of each.

    Raises AssertionError where a call fails or is lost, and where guest and model disagree.
    """
    done = Churned()
    await rig.boot()
    await rig.plug(CHURNED)
    burst = await begin(rig)
    for number in range(moments):
        tell(number)
        await asyncio.wait({burst}, timeout=dice.uniform(0, APART))
        if burst.done():
            burst = await ended(rig, burst, done)
        kind = dice.random()
        if kind < RESETS:
            burst.cancel()
            await reset(rig, done, dice)
            burst = await begin(rig)
        elif kind < RESETS + PLUGS:
            await rig.plug(OTHER)
            await rig.revoke(OTHER)
            done.plugs += 1
        else:
            await rig.pause()
            await asyncio.sleep(dice.uniform(0, PAUSED))
            await rig.resume()
            done.pauses += 1
    await agree(rig, await burst, done)
    return done


async def begin(rig: Puppet) -> asyncio.Task[int]:
    """Have the guest begin a burst; how many of its calls fail.

    Returns once it has made the first: of an order that it has not read to its end when it is
    reset, the rest would be the beginning of the next one.
    """
    before = len(rig.events)
    rig.send(
        programs.CHURN, Function.CPU_ON_64, CHURNED, programs.ENTRY, mailbox(CHURNED), BURST
    )
    await until(lambda: any(isinstance(e, CpuOnGranted) for e in rig.events[before:]))
    return asyncio.create_task(rig.result())


async def ended(rig: Puppet, burst: asyncio.Task[int], done: Churned) -> asyncio.Task[int]:
    """The burst has ended, and none of its calls has failed; the next one."""
    await agree(rig, burst.result(), done)
    return await begin(rig)


async def agree(rig: Puppet, failed: int, done: Churned) -> None:
    """None has failed; guest and model agree on what is off, and on how often it was on."""
    assert failed == 0, f"{failed} of {BURST} calls failed"
    done.calls += BURST
    assert await rig.affinity_info(CHURNED) == OFF
    done.since_reset += BURST
    # the guest's answer comes by another socket than what the interposer says
    wanted = (done.since_reset, done.since_reset)
    await until(lambda: granted_and_off(rig) == wanted, f"{wanted} in the log")
    assert not rig.state.slots[CHURNED].powered


def granted_and_off(rig: Puppet) -> tuple[int, int]:
    """How many CPU_ONs and CPU_OFFs the log has since the last reset."""
    events = rig.events[last_reset(rig) :]
    granted = sum(isinstance(e, CpuOnGranted) for e in events)
    return granted, sum(isinstance(e, CpuWentOff) for e in events)


def last_reset(rig: Puppet) -> int:
    """How many events there were before what came after the last reset."""
    found = [n for n, event in enumerate(rig.events) if isinstance(event, MachineWasReset)]
    return found[-1] if found else 0


async def reset(rig: Puppet, done: Churned, dice: Random) -> None:
    """By the user, at whatever the guest does; or by the guest itself, between two bursts."""
    done.resets += 1
    done.since_reset = 0
    if dice.random() < 0.7:
        await rig.core.submit(stimuli.Reset())
    else:
        await rig.echo()
        rig.send(programs.CALL, SYSTEM_RESET)
    await rig.reset_is_over(done.resets)

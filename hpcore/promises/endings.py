"""How a machine ends: asked to, or not."""

from __future__ import annotations

import asyncio

from hpcore.model.effects import MachineStep, Step
from hpcore.model.stimuli import Lost
from hpcore.promises.belongings import left_behind
from hpcore.promises.promise import Promises, Subject, give_way, gone, hold
from hpcore.promises.rig import COLD_BUILD, SessionRig
from hpcore.run.accelerator import GuestImages, Session

ROUNDS = 2

PROMISES = Promises()


@PROMISES.promise()
async def power_down_ends_the_machine(subject: Subject) -> None:
    """POWER_DOWN is done, wakes what waits, and is no loss; no step is taken after it."""
    async with subject.reset() as rig:
        waiting = await _waiting(rig)
        await rig.machine_step(MachineStep.POWER_DOWN)
        await _woken(subject, waiting)
        await _nothing_is_taken(rig, "POWER_DOWN")
        await rig.session.close()
        hold(not _losses(rig), f"It reported {_losses(rig)}.")


@PROMISES.promise()
async def power_down_of_a_machine_that_never_was_is_done(subject: Subject) -> None:
    """POWER_DOWN before CREATE_VCPUS is done: a user may go before the machine is made."""
    async with subject.opened() as rig:
        await rig.machine_step(MachineStep.POWER_DOWN)
        await gone(rig.machine_step(MachineStep.CREATE_VCPUS), "CREATE_VCPUS after POWER_DOWN")
        hold(not rig.stimuli, f"It reported {rig.stimuli}.")


@PROMISES.promise()
async def close_wakes_what_waits(subject: Subject) -> None:
    """`close` ends the machine and whatever waits, and is no loss; no step is taken after it."""
    async with subject.reset() as rig:
        waiting = await _waiting(rig)
        async with asyncio.timeout(subject.seconds):
            await rig.session.close()
        await _woken(subject, waiting)
        await _nothing_is_taken(rig, "close()")
        hold(not _losses(rig), f"It reported {_losses(rig)}.")


@PROMISES.promise()
async def close_can_be_called_again(subject: Subject) -> None:
    """`close` may be called more than once, and of a session that has nothing started."""
    async with subject.opened() as rig:
        await rig.session.close()
        await rig.session.close()
    async with subject.running() as rig:
        await rig.session.close()
        await rig.session.close()


@PROMISES.promise()
async def close_leaves_nothing_behind(subject: Subject) -> None:
    """After `close` no process, thread or open file of the machine is left."""
    await _live(subject)  # what is kept from the first machine on is nobody's

    async def live() -> None:
        for _ in range(ROUNDS):
            await _live(subject)
        await give_way()

    left = await left_behind(live)
    hold(not left, f"Left behind: {', '.join(sorted(left))}.")


async def _live(subject: Subject) -> None:
    async with subject.running() as rig:
        for slot in subject.pluggable[:1]:
            await rig.steps(slot, *COLD_BUILD)


@PROMISES.promise(lambda subject: subject.lose is not None)
async def a_loss_is_told_once(subject: Subject) -> None:
    """A machine that breaks is reported as Lost once, and wakes what waits."""
    assert subject.lose is not None
    async with subject.reset() as rig:
        waiting = await _waiting(rig)
        subject.lose(rig.session)
        await rig.heard(Lost)
        await _woken(subject, waiting)
        await _nothing_is_taken(rig, "the loss")
        await rig.session.close()
        losses = _losses(rig)
        hold(len(losses) == 1, f"It reported {losses}.")
        hold(losses[0].error, "It reported Lost without a word of why.")


@PROMISES.promise(lambda subject: isinstance(subject.guest, GuestImages))
async def the_console_ends_with_the_machine(subject: Subject) -> None:
    """There is a console once CREATE_VCPUS is done, and it reads b"" once the machine is gone."""
    async with subject.created() as rig:
        console = rig.session.console
        hold(console is not None, "There is none after CREATE_VCPUS.")
        assert console is not None
        await rig.session.close()
        console.write(b"to nobody")
        async with asyncio.timeout(subject.seconds):
            while await console.read():
                pass


@PROMISES.promise(lambda subject: subject.capabilities.plays_guest)
async def the_played_guest_is_there_with_the_machine(subject: Subject) -> None:
    """A session that plays its guest gives it out once CREATE_VCPUS is done."""
    async with subject.created() as rig:
        hold(rig.session.played is not None, "`played` is None after CREATE_VCPUS.")
        hold(rig.session.console is None, "It has a console, too.")


async def _waiting(rig: SessionRig[Session]) -> asyncio.Task[object]:
    """A step that waits for a RESTART that is not going to come."""
    step = asyncio.ensure_future(rig.steps(0, Step.WIRE))
    await give_way([step])
    hold(not step.done(), "WIRE was answered between a reset and RESTART.")
    return step


async def _woken(subject: Subject, waiting: asyncio.Task[object]) -> None:
    async with asyncio.timeout(subject.seconds):
        await gone(waiting, "A step that waited")


async def _nothing_is_taken(rig: SessionRig[Session], after: str) -> None:
    for step in (Step.REALIZE, Step.NOTIFY_INSERT):
        await gone(rig.steps(0, step), f"{step.name} after {after}")
    for machine_step in MachineStep:
        await gone(rig.machine_step(machine_step), f"{machine_step.name} after {after}")


def _losses(rig: SessionRig[Session]) -> list[Lost]:
    return [stimulus for stimulus in rig.stimuli if isinstance(stimulus, Lost)]

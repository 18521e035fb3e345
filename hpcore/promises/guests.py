"""A whole machine under hpcore's core: a guest boots, and vCPUs come and go."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from hpcore.guest.cpulist import format_cpu_list
from hpcore.log import Sync
from hpcore.model import events as ev
from hpcore.model.config import MachineConfig
from hpcore.model.effects import Step
from hpcore.model.stimuli import DeviceAdd, DeviceDel
from hpcore.promises.promise import Promises, Subject, give_way, hold
from hpcore.run.discovery import Found
from hpcore.run.machine import LiveMachine
from hpcore.run.open import open_machine

CONFIG = MachineConfig.of(cpus=1, maxcpus=3, memory=512)
SLOT, ID = 2, "core2"
ROUNDS = 2

EXPECT_SECONDS = 15.0
"""For a guest's masks to become what they should: it tidies up after its last word."""

PAUSE_SECONDS = 0.3
"""For a guest to do in a pause what it must not do: it takes far less when it runs."""

GUESTS = (
    ev.ScanBegun, ev.ScanFinished, ev.InsertCleared, ev.RemoveCleared, ev.OstReceived,
    ev.Registered, ev.EjectAccepted, ev.CpuOnGranted, ev.CpuOnDenied, ev.CpuWentOff,
)  # fmt: skip
"""What only a guest that runs can have done."""

PROMISES = Promises()


def with_guest(subject: Subject) -> object:
    """For promises about guests."""
    return subject.hotplugs and subject.guest is not None


@PROMISES.promise(with_guest)
async def a_guest_takes_a_vcpu_and_gives_it_back(subject: Subject) -> None:
    """A guest boots, brings a plugged vCPU up, gives it back, does so again, and ends."""
    async with _booted(subject) as (machine, _events):
        for _ in range(ROUNDS):
            await machine.plug(ID, core_id=SLOT)
            await _online(machine)
            await machine.unplug(ID)
            await _expect(machine, {0})
        await machine.power_off()
        await machine.ended()


@PROMISES.promise(with_guest)
async def a_guest_is_heard_after_what_it_answers(subject: Subject) -> None:
    """`execute` of a notification returns before the guest's answer to it is reported."""
    async with _booted(subject) as (machine, events):
        for _ in range(ROUNDS):
            await machine.plug(ID, core_id=SLOT)
            await machine.unplug(ID)
    for notify in (Step.NOTIFY_INSERT, Step.NOTIFY_REMOVE):
        begun = [n for n, event in enumerate(events) if event == ev.StepBegun(SLOT, notify)]
        hold(len(begun) == ROUNDS, f"{notify} was begun {len(begun)} times, not {ROUNDS}.")
        for at in begun:
            done = events.index(ev.StepDone(SLOT, notify), at)
            early = [event for event in events[at:done] if _guests_about(event, SLOT)]
            hold(not early, f"{notify} was not done yet when the guest was heard: {early}.")


@PROMISES.promise(with_guest)
async def a_guest_finds_after_a_reset_what_was_plugged_before(subject: Subject) -> None:
    """What is plugged survives the guest's reboot and the user's reset."""
    async with _booted(subject) as (machine, _events):
        await machine.plug(ID, core_id=SLOT)
        await machine.guest.reboot(subject.patience.boot)
        await _expect(machine, {0, SLOT})
        await machine.reset()
        await _expect(machine, {0, SLOT})
        await machine.unplug(ID)
        await _expect(machine, {0})


@PROMISES.promise(with_guest)
async def a_guest_finds_at_boot_what_was_plugged_before(subject: Subject) -> None:
    """What is plugged before the boot is there when the guest boots, and can be given back."""
    async with _opened(subject) as (machine, _events):
        plug = await machine.begin(DeviceAdd(ID, (("core-id", SLOT),)))
        hold(not await plug.ended(), "The plug has ended before the boot.")
        await machine.boot()
        await plug.ended()
        await _expect(machine, {0, SLOT})
        await machine.unplug(ID)
        await _expect(machine, {0})


@PROMISES.promise(with_guest)
async def a_guest_that_went_off_boots_after_a_reset(subject: Subject) -> None:
    """A machine that its guest has powered off is reset, resumed, and boots with what is
    plugged."""
    async with _booted(subject) as (machine, _events):
        await machine.plug(ID, core_id=SLOT)
        await machine.power_off()
        await machine.reset()
        await machine.resume()
        await machine.guest_ready()
        await _expect(machine, {0, SLOT})
        await machine.unplug(ID)
        await _expect(machine, {0})


@PROMISES.promise(with_guest)
async def a_paused_guest_answers_when_it_goes_on(subject: Subject) -> None:
    """A guest does nothing in a pause, and answers after it what was asked of it meanwhile."""
    async with _booted(subject) as (machine, events):
        await machine.plug(ID, core_id=SLOT)
        await _online(machine)
        await machine.pause()
        since = len(events)
        unplug = await machine.begin(DeviceDel(ID))
        await give_way(seconds=PAUSE_SECONDS)
        acted = [event for event in events[since:] if isinstance(event, GUESTS)]
        hold(not acted, f"It was heard in the pause: {acted}.")
        await machine.resume()
        await unplug.ended()
        await _expect(machine, {0})


def _guests_about(event: ev.Event, slot: int) -> bool:
    """Whether the guest did this about the vCPU. A scan is about none: it may be an older one."""
    return isinstance(event, GUESTS) and ev.slot_of(event) == slot


@asynccontextmanager
async def _booted(subject: Subject) -> AsyncIterator[tuple[LiveMachine, list[ev.Event]]]:
    """A machine whose guest has booted, and every event from its start on."""
    async with _opened(subject) as (machine, events):
        await machine.boot()
        yield machine, events


@asynccontextmanager
async def _opened(subject: Subject) -> AsyncIterator[tuple[LiveMachine, list[ev.Event]]]:
    """A machine that is defined, and every event from its start on."""
    found = Found("accelerator", "promises", subject.accelerator, subject.capabilities)
    events: list[ev.Event] = []
    with TemporaryDirectory() as directory:
        async with open_machine(
            found, CONFIG, subject.guest,
            log=Path(directory, "log.jsonl"), sync=Sync.BUFFERED, patience=subject.patience,
        ) as machine:  # fmt: skip
            machine.subscribe(lambda event, _state: events.append(event))
            yield machine, events


async def _online(machine: LiveMachine) -> None:
    await machine.unless_ended(machine.guest.online(SLOT))
    await machine.until(lambda s: s.slots[SLOT].powered, f"word that vCPU {SLOT} is on")
    await _expect(machine, {0, SLOT})


async def _expect(machine: LiveMachine, wanted: set[int]) -> None:
    """The guest says, now or soon, that just these vCPUs are enabled, and online."""
    deadline = time.monotonic() + EXPECT_SECONDS
    while True:
        masks = await machine.unless_ended(machine.guest.masks())
        wrong = [
            f"{name} are {format_cpu_list(found) or 'none'}"
            for name, found in (("enabled", masks.enabled), ("online", masks.online))
            if found not in (None, wanted)  # kernels before 6.11 do not say what is enabled
        ]
        if not wrong:
            return
        right = format_cpu_list(wanted)
        hold(time.monotonic() < deadline, f"The guest's vCPUs must be {right}: {wrong}.")
        await give_way()

"""A whole machine under hpcore's core: a guest boots, and vCPUs come and go."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from hpcore.log import Sync, read
from hpcore.model import events as ev
from hpcore.model.effects import Step
from hpcore.promises.promise import Promises, Subject, hold
from hpcore.run.discovery import Found
from hpcore.scenario.read import load, parse
from hpcore.scenario.runner import Job, run_job
from hpcore.scenario.values import Scenario

ROUND = """\
about: A vCPU is plugged and unplugged, twice.
machine: {cpus: 1, maxcpus: 3}
steps:
  - boot
  - repeat:
      times: 2
      steps:
        - plug: {id: core2, core-id: 2}
        - online: core2
        - expect: {online: "0,2", slots: {1: parked, core2: online}}
        - unplug: core2
        - expect: {online: "0", slots: {2: parked}}
  - poweroff
"""

PROMISES = Promises()


def with_guest(subject: Subject) -> object:
    """For promises about guests."""
    return subject.hotplugs and subject.guest is not None


@PROMISES.promise(with_guest)
async def a_guest_takes_a_vcpu_and_gives_it_back(subject: Subject) -> None:
    """A guest boots, brings a plugged vCPU up, gives it back, does so again, and ends."""
    await _play(subject, parse(ROUND, "round"))


@PROMISES.promise(with_guest)
async def a_guest_is_heard_after_what_it_answers(subject: Subject) -> None:
    """`execute` of a notification returns before the guest's answer to it is reported."""
    events = await _play(subject, parse(ROUND, "round"))
    for notify, answers in (
        (Step.NOTIFY_INSERT, (ev.InsertCleared, ev.Registered)),
        (Step.NOTIFY_REMOVE, (ev.RemoveCleared, ev.EjectAccepted)),
    ):
        slot = 2
        begun = [n for n, e in enumerate(events) if e == ev.StepBegun(slot, notify)]
        hold(begun, f"The log has no {notify} of vCPU {slot}.")
        for at in begun:
            after = events[at + 1 :]
            done = next(n for n, e in enumerate(after) if e == ev.StepDone(slot, notify))
            early = [e for e in after[:done] if isinstance(e, answers)]
            hold(not early, f"{notify} of vCPU {slot} was not yet done at {early}.")


@PROMISES.promise(with_guest)
async def a_guest_finds_after_a_reset_what_was_plugged_before(subject: Subject) -> None:
    """What is plugged survives the guest's reboot and the user's reset."""
    await _play(subject, load("reset"))


@PROMISES.promise(with_guest)
async def a_paused_guest_answers_when_it_goes_on(subject: Subject) -> None:
    """A guest does nothing in a pause, and answers after it what was asked of it meanwhile."""
    await _play(subject, load("paused"))


async def _play(subject: Subject, scenario: Scenario) -> list[ev.Event]:
    """Play `scenario`, which must go well; what the log has of it."""
    assert subject.guest is not None
    found = Found("accelerator", "promises", subject.accelerator, subject.capabilities)
    with TemporaryDirectory() as directory:
        log = Path(directory, "log.jsonl")
        job = Job(scenario, found, subject.guest, log, sync=Sync.BUFFERED)
        outcome = await run_job(job)
        hold(outcome.error is None, f"The machine was lost: {outcome.error}")
        for result in outcome.results:
            hold(result.error is None, f"{result.line.text}: {result.error}")
        hold(outcome.ok, "It did not go well.")
        with read(log)[1] as records:
            return [record.event for record in records]

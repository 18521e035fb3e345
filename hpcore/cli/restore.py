"""`hpcore restore`: the machine in a file, taken up again."""

from __future__ import annotations

import asyncio
from datetime import datetime
from pathlib import Path

import click

from hpcore.cli.output import Output, Problem, json_option
from hpcore.cli.output_file import OUTPUT_FILE, exists, refuse_unwritable
from hpcore.cli.signals import Stopped, until_stopped
from hpcore.cli.step_words import fields_of, say_kept, say_step
from hpcore.log import LogExists
from hpcore.run.discovery import Found, find
from hpcore.run.saving import Saved, load_saved, restore_machine
from hpcore.scenario import read
from hpcore.scenario.fits import need_carrying
from hpcore.scenario.play import Player, StepResult
from hpcore.scenario.runner import Outcome, outcome
from hpcore.scenario.values import BootStep, Line, Scenario


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("scenario", required=False)
@click.option("--log", type=OUTPUT_FILE,
              help="Where the log goes.  [default: FILE-DATE-TIME.jsonl]")  # fmt: skip
@click.option("--force", is_flag=True, help="Overwrite a log that exists.")
@click.option("--keep", is_flag=True, help="The machine goes on without hpcore: see attach.")
@json_option
def restore(
    file: Path, scenario: str | None, log: Path | None, force: bool, keep: bool, as_json: bool
) -> None:
    """Take up the machine again that was saved in FILE, and play SCENARIO on it.

    \b
    hpcore run mine.yaml --accel tcg        # with a step `save-machine: vm.saved`
    hpcore restore vm.saved after.yaml      # the steps of after.yaml, without `boot`
    hpcore restore vm.saved                 # does it go on? Say so, and end it
    hpcore restore vm.saved --keep --log m.jsonl    # it goes on: hpcore attach m.jsonl

    \b
    A scenario for it has the machine that was saved, and steps:
        machine: {cpus: 2, maxcpus: 4}
        steps:
          - expect: {enabled: 0-2}
          - unplug: core2

    FILE stays as it is: restored twice, it makes two machines, which have the seeds and random
    numbers of one. Its log goes on from that of the machine that was saved. FILE is refused
    where QEMU, the EL3 monitor, the kernel or the initrd is another one by now. Exits with 1 if
    a step does not go as the scenario says.
    """
    out = Output(json=as_json)
    saved = load_saved(file)
    steps = _steps(scenario, saved)
    found = find(saved.accelerator)
    need_carrying(steps, found)
    log = log or Path(f"{file.name}-{datetime.now():%Y%m%d-%H%M%S}.jsonl")
    refuse_unwritable({"--log": log}, force=force)
    try:
        done = asyncio.run(_run(out, found, saved, steps, log, force=force, keep=keep))
    except Stopped:
        say_kept(out, log, kept=keep)
        raise
    except LogExists:
        raise exists(log, "--log") from None
    _report(out, done, log)


def _steps(name: str | None, saved: Saved) -> Scenario:
    """The scenario `name`, which must be for that machine; without a name, one of no steps."""
    machine = saved.header.machine
    if name is None:
        return Scenario("restored", "", machine, "", ())
    scenario = read.load(name)
    if scenario.machine != machine:
        topology = machine.topology
        raise Problem(
            f"{name} is for another machine than the one in {saved.file.path}, which has "
            f"{{cpus: {topology.cpus}, maxcpus: {topology.maxcpus}, memory: {machine.memory}, "
            f"cpu: {machine.cpu_model}}}"
        )
    boots = next((line for line in scenario.steps if isinstance(line.step, BootStep)), None)
    if boots is not None:
        raise Problem(f"{name} boots the machine, and this one has booted before it was saved")
    return scenario


async def _run(
    out: Output,
    found: Found,
    saved: Saved,
    scenario: Scenario,
    log: Path,
    *,
    force: bool,
    keep: bool,
) -> Outcome:
    """Restore it and play; a signal ends the machine in good order, or leaves it."""
    with out.progress("restoring") as tell:

        def progress(line: Line, result: StepResult | None) -> None:
            if result is None:
                tell(f"step {line.number}: {line.text}")
            else:
                say_step(out, result)

        async def play() -> Outcome:
            async with restore_machine(
                found, saved, log=log, overwrite=force, keep=keep
            ) as machine:
                await machine.resume()
                player = Player(machine, progress)
                ok = await player.play(scenario.steps)
                if not scenario.steps:
                    await machine.guest.masks()  # it answers
                goes_on = machine.is_kept
            ended = outcome(machine, player, ok=ok)
            ended.kept = goes_on
            return ended

        return await until_stopped(play())


def _report(out: Output, done: Outcome, log: Path) -> None:
    failed = next((r for r in done.results if r.error is not None), None)
    if failed is not None and failed.error != done.error:
        out.say(f"     {failed.error}", style="red")
    if not done.results:
        plugged = [str(slot["id"]) for slot in done.slots if slot["enabled"]]
        out.say(f"restored: the guest answers, and has {', '.join(plugged)}")
    out.say(f"{done.events} events in {log}; see `hpcore replay {log}`")
    say_kept(out, log, kept=done.kept)
    if done.error is not None:
        raise Problem(done.error, log=str(log), events=done.events)
    out.end(done.ok, log=str(log), **fields_of(done))

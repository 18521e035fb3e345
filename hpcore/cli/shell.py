"""`hpcore shell`: a prompt at which the steps of a scenario are typed."""

from __future__ import annotations

import asyncio
import sys
from datetime import datetime
from pathlib import Path

import attrs
import click

from hpcore.cli.boots import Boots, guest_for, guest_options
from hpcore.cli.output import Output, Problem, json_option
from hpcore.cli.output_file import OUTPUT_FILE, exists, refuse_unwritable
from hpcore.cli.prompt.console import QuietConsole
from hpcore.cli.prompt.session import Session
from hpcore.cli.signals import until_stopped
from hpcore.cli.step_words import fields_of, say_kept
from hpcore.errors import HpcoreError
from hpcore.log import LogExists, Rotation, Sync
from hpcore.run.discovery import find
from hpcore.scenario.read import load, read_machine
from hpcore.scenario.runner import Job, Outcome, open_job, outcome
from hpcore.scenario.values import Scenario


@click.command()
@click.argument("machine", default="cpus=2,maxcpus=6")
@click.option("--accel", default="tcg", show_default=True, help="See `hpcore accel`.")
@click.option("--log", type=OUTPUT_FILE,
              help="Where the log goes.  [default: shell-DATE-TIME.jsonl]")  # fmt: skip
@guest_options
@json_option
def shell(
    machine: str,
    accel: str,
    log: Path | None,
    force: bool,
    boots: Boots,
    sync: str,
    rotation: Rotation | None,
    as_json: bool,
) -> None:
    """A prompt: type the steps of a scenario, and see what comes of each.

    MACHINE is as in `machine:` of a scenario, cpus=2,maxcpus=6 if none is given; or a
    scenario, by its file or its name, whose machine and guest are taken and not its steps.

    \b
    hpcore shell --accel tcg                        # boot Linux, plug, unplug, look
    hpcore shell --accel qtest cpus=1,maxcpus=4     # no guest code: the guest is played
    hpcore shell cover-letter --accel qtest         # the machine of a scenario
    hpcore shell --accel qtest --json < steps.txt   # steps that are piped in, one a line
    hpcore shell --accel tcg --keep --log m.jsonl   # the machine goes on: hpcore attach m.jsonl

    \b
    What is typed is what stands in a scenario's `steps:`, the first colon if you like:
        boot
        plug 2
        plug: {id: core4, core-id: 4}
        online core4
        expect: {online: "0-1,4"}
        unplug cpu2
    and `slots`, `console`, `save FILE`, `log`, `help` and `quit`.

    A step that fails says why, and the machine goes on. Ctrl-C stops waiting for a step,
    Ctrl-D ends the machine, but for one that is kept. `save FILE` writes what was done as a
    scenario for `hpcore run`.

    Steps that are piped in end at the first that fails, and the exit is 1.
    """
    out = Output(json=as_json)
    what = _scenario(machine)
    found = find(accel)
    log = log or Path(f"shell-{datetime.now():%Y%m%d-%H%M%S}.jsonl")
    refuse_unwritable({"--log": log, "--console": boots.console}, force=force)
    job = Job(
        scenario=what, found=found, guest=guest_for(out, found, boots),
        log=log, overwrite=force, sync=Sync(sync), console=boots.console,
        rotation=rotation, keep=boots.keep,
    )  # fmt: skip
    work = _typed if sys.stdin.isatty() else _piped
    try:
        ended = asyncio.run(until_stopped(work(out, job)))
    except LogExists:
        raise exists(log, "--log") from None
    out.say(f"{ended.events} events in {log}; see `hpcore replay {log}`")
    say_kept(out, log, kept=ended.kept)
    if ended.error is not None:
        raise Problem(ended.error, log=str(log), events=ended.events)
    out.end(ended.ok, log=str(log), **fields_of(ended))


def _scenario(machine: str) -> Scenario:
    """What MACHINE names, without steps."""
    if "=" in machine and not Path(machine).exists():
        return Scenario("shell", "", read_machine(machine), "", ())
    return attrs.evolve(load(machine), steps=())


async def _typed(out: Output, job: Job) -> Outcome:
    """A person types: steps may fail, and the end is well unless the machine's is not."""
    from hpcore.cli.prompt.terminal import TYPED, Terminal  # noqa: PLC0415 - pipes need no prompt

    console = QuietConsole(out.say)
    async with open_job(job, console.printed) as machine:
        terminal = Terminal(out, machine)
        console.say = terminal.say
        session = Session(out, machine, job, console, TYPED)
        await terminal.follow(session)
        console.say = out.say
    return outcome(machine, session.player, ok=True)


async def _piped(out: Output, job: Job) -> Outcome:
    from hpcore.cli.prompt.piped import follow  # noqa: PLC0415 - nor do terminals need this

    console = QuietConsole(out.say)
    async with open_job(job, console.printed) as machine:
        session = Session(out, machine, job, console, "stdin")
        try:
            ok = await follow(session, sys.stdin.fileno(), "stdin")
        except (HpcoreError, Problem) as error:
            words = error.message if isinstance(error, Problem) else str(error)
            raise Problem(words, log=str(job.log), events=machine.last_seq) from error
    return outcome(machine, session.player, ok=ok)

"""`hpcore run`: a scenario on an accelerator, logged."""

from __future__ import annotations

import asyncio
import statistics
from datetime import datetime
from pathlib import Path
from typing import NoReturn

import click

from hpcore.cli.boots import Boots, guest_for, guest_options, refuse
from hpcore.cli.execute import execute
from hpcore.cli.output import Output, Problem, json_option
from hpcore.cli.output_file import OUTPUT_FILE, exists, refuse_unwritable
from hpcore.cli.protocols import run_by
from hpcore.cli.signals import Stopped, until_stopped
from hpcore.cli.step_words import fields_of, say_kept, say_step
from hpcore.log import LogExists, Rotation, Sync, is_log, why_no_text
from hpcore.model.revision import HPCORE
from hpcore.run.discovery import find
from hpcore.run.errors import ProtocolBroken
from hpcore.scenario import read
from hpcore.scenario.play import Latencies, StepResult
from hpcore.scenario.runner import Job, Outcome, run_job
from hpcore.scenario.values import Line


@click.command()
@click.argument("scenario")
@click.option("--accel", default="tcg", show_default=True, help="See `hpcore accel`.")
@click.option("--log", type=OUTPUT_FILE,
              help="Where the log goes.  [default: SCENARIO-DATE-TIME.jsonl]")  # fmt: skip
@click.option("--rules", metavar="FILE",
              help="Run by another protocol; see `hpcore model protocols`.")  # fmt: skip
@click.option("--mutant", metavar="NAME",
              help="Run by that protocol with a bug that was reported against it.")  # fmt: skip
@guest_options
@json_option
def run(
    scenario: str,
    accel: str,
    log: Path | None,
    rules: str | None,
    mutant: str | None,
    force: bool,
    boots: Boots,
    sync: str,
    rotation: Rotation | None,
    as_json: bool,
) -> None:
    """Run SCENARIO on an accelerator, and keep its log.

    SCENARIO is a file, or the name of one that comes with hpcore.

    \b
    hpcore run cover-letter --accel tcg --log cover-letter.jsonl
    hpcore run mine.yaml --kernel ./Image --json
    hpcore run mine.yaml --initrd my.cpio    # what it has to do: docs/guest.md
    hpcore run mine.yaml --keep --log m.jsonl    # the machine goes on: hpcore attach m.jsonl
    hpcore run long.yaml --log-segment 32M --log-keep 8    # at most 256 MB of log
    hpcore scenarios                         # those that come with hpcore
    hpcore run broken.jsonl --accel tcg      # ask the accelerator for a counterexample
    hpcore run mine.yaml --accel qtest --rules v6    # by another protocol: docs/protocols.md

    \b
    A scenario is a machine and steps:
        machine: {cpus: 2, maxcpus: 4}
        steps:
          - boot
          - plug: {id: core2, core-id: 2}
          - online: core2
          - expect: {enabled: 0-2, online: 0-2}
          - unplug: core2

    Exits with 1 if a step does not go as the scenario says.

    Run by another protocol, a promise of it that does not hold ends the run, and the exit is 1:
        hpcore run lost.yaml --accel qtest --rules v6 --mutant lost_at_reset

    A counterexample, the log that `hpcore check --log` wrote, is executed effect by effect;
    the exit is 1 if the accelerator refuses one. What the guest did in it is not repeated.
    """
    out = Output(json=as_json)
    if is_log(scenario):
        given = {
            "--log": log, "--console": boots.console, "--force": force or None,
            "--no-shell": boots.no_shell or None, "--keep": boots.keep or None,
            "--log-segment": rotation, "--rules": rules, "--mutant": mutant,
        }  # fmt: skip
        refuse(given, f"{scenario} is a log, which is executed and leaves none")
        found = find(accel)
        execute(out, Path(scenario), found, guest_for(out, found, boots))
        return
    if (why := why_no_text(scenario)) is not None:
        raise Problem(f"{scenario}: neither a scenario nor a log: {why}")
    what = read.load(scenario)
    protocol = run_by(rules, mutant)
    found = find(accel)
    log = log or Path(f"{what.name}-{datetime.now():%Y%m%d-%H%M%S}.jsonl")
    refuse_unwritable({"--log": log, "--console": boots.console}, force=force)
    job = Job(
        scenario=what, found=found, guest=guest_for(out, found, boots),
        log=log, overwrite=force, sync=Sync(sync), console=boots.console,
        rotation=rotation, keep=boots.keep, protocol=protocol,
    )  # fmt: skip
    try:
        outcome = asyncio.run(_run(job, out))
    except LogExists:
        raise exists(log, "--log") from None
    except ProtocolBroken as error:
        if protocol == HPCORE:
            raise
        _say_broken(out, job, error)
    except Stopped:
        say_kept(out, log, kept=job.keep)
        raise
    _report(out, job, outcome)


def _say_broken(out: Output, job: Job, error: ProtocolBroken) -> NoReturn:
    """What another protocol promises does not hold: that is what it was run for."""
    broken, protocol = error.violation, job.protocol
    out.say(
        f"Broken: {broken.invariant}, for vCPU {broken.slot}, by the rules of {protocol.name}: "
        f"{broken.says}", style="bold red",
    )  # fmt: skip
    out.say(f"The log ends there; see `hpcore replay {job.log}`")
    out.end(
        False, log=str(job.log), rules=protocol.name,
        broken={"invariant": broken.invariant, "slot": broken.slot, "says": broken.says},
    )  # fmt: skip


async def _run(job: Job, out: Output) -> Outcome:
    """Run, and say each step; a signal ends the machine in good order."""
    with out.progress("starting") as tell:

        def progress(line: Line, result: StepResult | None) -> None:
            if result is None:
                tell(f"step {line.number}: {line.text}")
                return
            say_step(out, result)

        return await until_stopped(run_job(job, progress))


def _report(out: Output, job: Job, outcome: Outcome) -> None:
    failed = next((r for r in outcome.results if r.error is not None), None)
    if failed is not None and failed.error != outcome.error:  # which is the last word
        out.say(f"     {failed.error}", style="red")
    if outcome.capped is not None:
        out.say(f"possible vCPUs were capped to those at boot: {outcome.capped}", style="yellow")
    for name, text in _medians(outcome.latencies).items():
        out.say(f"{name}: {text}")
    out.say(f"{outcome.events} events in {job.log}; see `hpcore replay {job.log}`")
    say_kept(out, job.log, kept=outcome.kept)
    if outcome.error is not None:
        raise Problem(outcome.error, log=str(job.log), events=outcome.events)
    out.end(outcome.ok, log=str(job.log), **fields_of(outcome))


def _medians(latencies: Latencies) -> dict[str, str]:
    return {
        name: f"median {statistics.median(v) * 1000:.1f} ms of {len(v)}"
        for name, v in latencies.named.items()
        if v
    }

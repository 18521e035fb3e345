"""`hpcore run`: a scenario on an accelerator, logged."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import click
from attrs import frozen

from hpcore.cli.execute import execute
from hpcore.cli.output import Output, Problem, json_option
from hpcore.cli.output_file import OUTPUT_FILE, exists, refuse_unwritable
from hpcore.cli.signals import until_stopped
from hpcore.guest.images import fetched_guest
from hpcore.guest.initrd import check_initrd
from hpcore.guest.kernel import bootable, load_kernel
from hpcore.log import LogExists, Sync, is_log, why_no_text
from hpcore.run.accelerator import GuestImages, GuestScript
from hpcore.run.discovery import Found, find
from hpcore.run.scale_plan import Scaled
from hpcore.scenario import read
from hpcore.scenario.play import Latencies, StepResult
from hpcore.scenario.runner import Job, Outcome, run_job
from hpcore.scenario.values import Line


@click.command()
@click.argument("scenario")
@click.option("--accel", default="tcg", show_default=True, help="See `hpcore accel`.")
@click.option("--log", type=OUTPUT_FILE,
              help="Where the log goes.  [default: SCENARIO-DATE-TIME.jsonl]")  # fmt: skip
@click.option("--force", is_flag=True, help="Overwrite a log or a console that exists.")
@click.option("--kernel", type=click.Path(path_type=Path), help="An arm64 Image of your own.")
@click.option("--initrd", type=click.Path(path_type=Path), help="An initramfs of your own.")
@click.option("--append", default="", help="More kernel arguments.")
@click.option("--no-shell", is_flag=True,
              help="Do without the guest's shell, and without steps that need one.")  # fmt: skip
@click.option("--console", type=OUTPUT_FILE, help="Keep what the guest prints here.")
@click.option(
    "--sync", type=click.Choice([Sync.DURABLE.value, Sync.OS.value]), default=Sync.DURABLE.value,
    show_default=True, help="What an event survives: loss of power, or the death of hpcore.",
)  # fmt: skip
@json_option
def run(
    scenario: str,
    accel: str,
    log: Path | None,
    force: bool,
    kernel: Path | None,
    initrd: Path | None,
    append: str,
    no_shell: bool,
    console: Path | None,
    sync: str,
    as_json: bool,
) -> None:
    """Run SCENARIO on an accelerator, and keep its log.

    SCENARIO is a file, or the name of one that comes with hpcore.

    \b
    hpcore run cover-letter --accel tcg --log cover-letter.jsonl
    hpcore run mine.yaml --kernel ./Image --json
    hpcore run mine.yaml --initrd my.cpio    # what it has to do: docs/guest.md
    hpcore scenarios                         # those that come with hpcore
    hpcore run broken.jsonl --accel tcg      # ask the accelerator for a counterexample

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

    A counterexample, the log that `hpcore check --log` wrote, is executed effect by effect;
    the exit is 1 if the accelerator refuses one. What the guest did in it is not repeated.
    """
    out = Output(json=as_json)
    boots = _Boots(kernel, initrd, console, append, no_shell)
    if is_log(scenario):
        given = {
            "--log": log, "--console": console, "--force": force or None,
            "--no-shell": no_shell or None,
        }  # fmt: skip
        _refuse(given, f"{scenario} is a log, which is executed and leaves none")
        found = find(accel)
        execute(out, Path(scenario), found, _guest(out, found, boots))
        return
    if (why := why_no_text(scenario)) is not None:
        raise Problem(f"{scenario}: neither a scenario nor a log: {why}")
    what = read.load(scenario)
    found = find(accel)
    log = log or Path(f"{what.name}-{datetime.now():%Y%m%d-%H%M%S}.jsonl")
    refuse_unwritable({"--log": log, "--console": console}, force=force)
    job = Job(
        scenario=what, found=found, guest=_guest(out, found, boots),
        log=log, overwrite=force, sync=Sync(sync), console=console,
    )  # fmt: skip
    try:
        outcome = asyncio.run(_run(job, out))
    except LogExists:
        raise exists(log, "--log") from None
    _report(out, job, outcome)


@frozen
class _Boots:
    """What the options say of the guest."""

    kernel: Path | None
    initrd: Path | None
    console: Path | None
    append: str
    no_shell: bool


def _guest(out: Output, found: Found, boots: _Boots) -> GuestImages | GuestScript:
    if not found.capabilities.plays_guest:
        return _images(out, boots)
    given = {
        "--kernel": boots.kernel, "--initrd": boots.initrd, "--console": boots.console,
        "--no-shell": boots.no_shell or None,
    }  # fmt: skip
    _refuse(
        given, f"'{found.name}' runs no guest code, it plays the guest, which heeds --append "
        "and the scenario's guest: kind"
    )  # fmt: skip
    return GuestScript(append=boots.append)


def _refuse(options: Mapping[str, object], why: str) -> None:
    useless = [name for name, value in options.items() if value is not None]
    if useless:
        raise Problem(f"{why}; leave out {', '.join(useless)}")


def _images(out: Output, boots: _Boots) -> GuestImages:
    fetched, kernel, initrd = fetched_guest(), boots.kernel, boots.initrd
    if fetched is None and (kernel is None or initrd is None):
        raise Problem("there is no guest to boot; run `hpcore guest fetch` first")
    if kernel is not None:
        image = load_kernel(kernel)
        if image.warning:
            out.say(f"warning: {image.warning}", style="yellow")
        kernel = bootable(image)
    if initrd is not None:
        check_initrd(initrd)
    if fetched is not None:
        kernel = kernel or fetched.kernel
        initrd = initrd or fetched.initramfs()
    assert kernel is not None and initrd is not None
    return GuestImages(kernel, initrd, boots.append, shell=not boots.no_shell)


async def _run(job: Job, out: Output) -> Outcome:
    """Run, and say each step; a signal ends the machine in good order."""
    with out.progress("starting") as tell:

        def progress(line: Line, result: StepResult | None) -> None:
            if result is None:
                tell(f"step {line.number}: {line.text}")
                return
            mark = "ok  " if result.error is None else "FAIL"
            style = None if result.error is None else "bold red"
            how = ": refused, as it should be" if line.fails and result.error is None else ""
            if result.scaled is not None and result.error is None and not line.fails:
                how = f": {result.scaled}"
            out.say(
                f"{mark} {line.number:>3}  {result.seconds:7.2f} s  {line.text}{how}", style=style
            )

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
    if outcome.error is not None:
        raise Problem(outcome.error, log=str(job.log), events=outcome.events)
    out.end(
        outcome.ok,
        log=str(job.log),
        events=outcome.events,
        slots=outcome.slots,
        steps=len(outcome.results),
        failed=None if failed is None else {"step": failed.line.text, "error": failed.error},
        error=None if failed is None else failed.error,
        scaled=[_scaled(r.line, r.scaled) for r in outcome.results if r.scaled is not None],
        latencies_ms={
            k: [round(s * 1000, 2) for s in v] for k, v in outcome.latencies.named.items()
        },
    )


def _scaled(line: Line, scaled: Scaled) -> dict[str, object]:
    return {
        "step": line.number,
        "to": scaled.to,
        "enabled": scaled.enabled,
        "plugged": scaled.plugged,
        "unplugged": scaled.unplugged,
        "accepted": [str(change) for change in scaled.pending],
        "failed": {str(change): why for change, why in scaled.failed},
        "not_begun": [str(change) for change in scaled.not_begun],
        "taken_back": [str(change) for change in scaled.undone],
        "not_taken_back": {str(change): why for change, why in scaled.not_undone},
    }


def _medians(latencies: Latencies) -> dict[str, str]:
    return {
        name: f"median {statistics.median(v) * 1000:.1f} ms of {len(v)}"
        for name, v in latencies.named.items()
        if v
    }

"""`hpcore shrink`: the shortest stimuli that still break what a log breaks."""

from __future__ import annotations

from pathlib import Path

import click

from hpcore.cli.given_files import name_of, path_of
from hpcore.cli.output import BAD_INPUT, WRONG, Output, Problem, json_option
from hpcore.cli.output_file import OUTPUT_FILE, refuse_unwritable, write_file
from hpcore.cli.replay import NO_VERDICT
from hpcore.cli.wrapping import say_wrapping
from hpcore.errors import printable
from hpcore.log import LogError
from hpcore.triage.case import NoCase, case_of
from hpcore.triage.shrink import Shrunk, write_shrunk
from hpcore.triage.shrink import shrink as shrink_case
from hpcore.triage.words import say


@click.command()
@click.argument("log", type=click.Path(dir_okay=True))
@click.option("--log", "smaller", type=OUTPUT_FILE, metavar="FILE",
              help="Write what is left as a log.")  # fmt: skip
@click.option("--scenario", type=OUTPUT_FILE, metavar="FILE",
              help="Write what is left as a scenario.")  # fmt: skip
@click.option("--force", is_flag=True, help="Overwrite a file that exists.")
@json_option
def shrink(
    log: str, smaller: Path | None, scenario: Path | None, force: bool, as_json: bool
) -> None:
    """Find the shortest stimuli that break what LOG breaks.

    \b
    hpcore shrink broken.jsonl
    hpcore shrink broken.jsonl --log small.jsonl --scenario small.yaml
    hpcore run small.jsonl --accel qtest        # have an accelerator do it, effect by effect

    Parts of the log are left out and the rest is decided again, until no single stimulus
    can be left out any more. LOG may be - for standard input.

    Exits with 0 once something is found, and with 2 if nothing is wrong with the log or there
    is none.
    """
    out = Output(json=as_json)
    outputs = {"--log": smaller, "--scenario": scenario}
    refuse_unwritable(outputs, force=force, inputs=[log])
    try:
        with out.progress("deciding the log again") as tell:
            case = case_of(path_of(log))
            found = shrink_case(case, tell=lambda left: tell(f"{left} stimuli are left"))
    except NoCase as error:
        raise Problem(f"{name_of(log)}: {error}") from error
    except LogError as error:
        raise Problem(str(error), BAD_INPUT if isinstance(error, NO_VERDICT) else WRONG) from error
    say_wrapping(out, log, found.case.header.wrapping)
    _show(out, found)
    if smaller is not None:
        write_shrunk(smaller, found, overwrite=force)
        out.say(f"Written to {smaller}; see `hpcore replay {smaller}`")
    left_out = _write_scenario(out, scenario, log, found) if scenario is not None else None
    out.end(
        True,
        invariant=found.case.broken.invariant,
        slot=found.case.broken.slot,
        stimuli=len(found.taken),
        events=found.events,
        fingerprint=found.fingerprint,
        tried=found.tried,
        seconds=round(found.seconds, 3),
        wrapping=list(found.case.header.wrapping),
        log=None if smaller is None else str(smaller),
        scenario=None if scenario is None else str(scenario),
        left_out=left_out,
    )


def _show(out: Output, found: Shrunk) -> None:
    seq = 1
    for taken in found.taken:
        by = type(taken.entry.stimulus).__name__ if taken.entry.stimulus is not None else ""
        for event in taken.events:
            mark = ">" if taken is found.taken[-1] else " "
            out.say(f"{mark}{seq:>6}  {by:<14} {printable(say(event))}")
            by, seq = "", seq + 1
    broken = found.case.broken
    out.say(
        f"{len(found.taken)} stimuli are left, {found.events} events. They break "
        f"{broken.invariant} for vCPU {broken.slot}: {broken.says}", style="bold red",
    )  # fmt: skip
    out.say(f"fingerprint {found.fingerprint}; {found.tried} tries, {found.seconds:.1f} s")


def _write_scenario(out: Output, path: Path, log: str, found: Shrunk) -> list[str]:
    from hpcore.scenario.of_stimuli import scenario_of  # noqa: PLC0415 - takes YAML along
    from hpcore.scenario.write import dump  # noqa: PLC0415

    broken = found.case.broken
    stimuli = [t.entry.stimulus for t in found.taken if t.entry.stimulus is not None]
    retold = scenario_of(
        path.stem, printable(f"shrunk from {Path(log).name}, which breaks {broken.invariant}"),
        found.case.header.machine, stimuli,
    )  # fmt: skip
    write_file(path, dump(retold.scenario).encode())
    out.say(f"Written to {path}; ask an accelerator: `hpcore run {path}`")
    if retold.left_out:
        out.say(f"No scenario can ask for: {', '.join(retold.left_out)}.")
    return list(retold.left_out)

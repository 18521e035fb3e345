"""`hpcore bisect`: which of the differences between two logs make one of them bad."""

from __future__ import annotations

import click

from hpcore.cli.given_files import name_of, path_of
from hpcore.cli.output import BAD_INPUT, WRONG, Output, Problem, json_option
from hpcore.cli.replay import NO_VERDICT
from hpcore.cli.wrapping import say_wrapping
from hpcore.errors import printable
from hpcore.log import LogError
from hpcore.triage.bisect import Edit
from hpcore.triage.bisect import bisect as bisect_logs
from hpcore.triage.words import say


@click.command()
@click.argument("good", type=click.Path(dir_okay=True))
@click.argument("bad", type=click.Path(dir_okay=True))
@json_option
def bisect(good: str, bad: str, as_json: bool) -> None:
    """Say where the log BAD leaves the log GOOD, as far as that makes it wrong.

    \b
    hpcore bisect good.jsonl bad.jsonl

    One of them may be - for standard input. The two are of one machine; an invariant is broken in
    BAD alone. Of the stimuli that only one of them has, the fewest are looked for with which GOOD
    breaks the same. `hpcore diff` names all differences, and judges none.

    Exits with 0 once they are found, with 2 where GOOD is wrong or BAD is not.
    """
    out = Output(json=as_json)
    if good == bad == "-":
        raise Problem("only one of the logs can come from standard input")
    try:
        with out.progress("deciding again") as tell:
            found = bisect_logs(
                path_of(good), path_of(bad), lambda left: tell(f"{left} differences are left")
            )
    except LogError as error:
        raise Problem(str(error), BAD_INPUT if isinstance(error, NO_VERDICT) else WRONG) from error
    broken = found.case.broken
    good, bad = name_of(good), name_of(bad)
    say_wrapping(out, good, found.good.wrapping)
    say_wrapping(out, bad, found.case.header.wrapping)
    out.say(
        f"{len(found.edits)} of {found.of} differences matter. With them {good} breaks "
        f"{broken.invariant} for vCPU {broken.slot}:"
    )
    for edit in found.edits:
        name = bad if edit.in_bad else good
        out.say(f"  event {edit.entry.seq} of {name} alone: {_words(edit)}", style="bold red")
    last = found.run.taken[-1]
    out.say(f"It breaks at: {printable(say(last.events[-1]))} (event {last.entry.seq} of its log)")
    out.end(
        True,
        invariant=broken.invariant,
        slot=broken.slot,
        differences=found.of,
        wrapping=[list(found.good.wrapping), list(found.case.header.wrapping)],
        matter=[
            {"log": "bad" if edit.in_bad else "good", "seq": edit.entry.seq, "says": _words(edit)}
            for edit in found.edits
        ],
    )


def _words(edit: Edit) -> str:
    entry = edit.entry
    by = "" if entry.stimulus is None else f"{type(entry.stimulus).__name__}: "
    return by + "; ".join(printable(say(event)) for event in entry.logged)

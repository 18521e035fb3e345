"""`hpcore show`: a log as a picture."""

from __future__ import annotations

from pathlib import Path

import click

from hpcore.cli.output import BAD_INPUT, WRONG, Output, Problem, json_option
from hpcore.cli.output_file import OUTPUT_FILE, refuse_unwritable
from hpcore.cli.replay import NO_VERDICT
from hpcore.log import LogError
from hpcore.show.timeline import Timeline, timeline


@click.command()
@click.argument("log", type=click.Path(dir_okay=True))
@click.option("--html", type=OUTPUT_FILE, metavar="FILE", help="Write a page for a browser here.")
@click.option("--from", "first", type=click.IntRange(min=1), default=1, metavar="SEQ",
              help="The first event that is shown.")  # fmt: skip
@click.option("--to", "last", type=click.IntRange(min=1), metavar="SEQ",
              help="The last event that is shown.")  # fmt: skip
@click.option("--force", is_flag=True, help="Overwrite a file that exists.")
@json_option
def show(
    log: str, html: Path | None, first: int, last: int | None, force: bool, as_json: bool
) -> None:
    """Draw LOG as a page: a lane for each vCPU, the machine and the guest.

    \b
    hpcore show run.jsonl --html run.html
    hpcore show run.jsonl --html run.html --from 40 --to 74 --force

    The page is one file that needs nothing else: no network, no server. Commands are bars
    from asked to ended; the event that is wrong is marked; a slider has the state at any
    event. Press ? in it for its keys.

    Exits with 1 if the log is damaged or an event in it is wrong, with 2 if there is no log
    that can be read. The page is written for a wrong log as well. LOG may be - for standard
    input.
    """
    out = Output(json=as_json)
    if html is None:
        raise Problem("nothing is asked for; give --html FILE")
    refuse_unwritable({"--html": html}, force=force)
    if last is not None and last < first:
        raise Problem(f"--to {last} is before --from {first}")
    found = _read(out, log, first, last)
    from hpcore.show.log_page import log_page  # noqa: PLC0415 - takes Jinja along

    text = log_page("standard input" if log == "-" else Path(log).name, found)
    html.write_text(text, encoding="utf-8")
    out.say(f"{len(found.t)} events in {html}, {len(text.encode()):,} bytes; open it in a browser")
    _end(out, found, html=str(html))


def _read(out: Output, log: str, first: int, last: int | None) -> Timeline:
    try:
        with out.progress("reading") as tell:
            found = timeline(
                "/dev/stdin" if log == "-" else log, first, last,
                lambda done: tell(f"reading: {done:,} events"),
            )  # fmt: skip
    except LogError as error:
        raise Problem(str(error), BAD_INPUT if isinstance(error, NO_VERDICT) else WRONG) from error
    if isinstance(found.walk.damage, NO_VERDICT):
        raise Problem(str(found.walk.damage))
    if not found.t and first > 1:
        raise Problem(f"{log}: there is no event {first}; the last is {found.walk.events}")
    return found


def _end(out: Output, found: Timeline, **files: str) -> None:
    walk = found.walk
    if walk.damage is not None:
        out.say(f"Damaged: {walk.damage}", style="bold red")
    wrong = None if walk.wrong is None or walk.wrong.violation is None else walk.wrong
    if wrong is not None and wrong.violation is not None:
        out.say(
            f"Event {wrong.record.seq} is wrong: it breaks {wrong.violation.invariant}; "
            "see `hpcore replay`", style="bold red",
        )  # fmt: skip
    out.end(
        walk.damage is None and wrong is None,
        events=len(found.t),
        wrong=None if wrong is None else wrong.record.seq,
        damage=None if walk.damage is None else str(walk.damage),
        **files,
    )

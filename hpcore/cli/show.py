"""`hpcore show`: a log as a picture."""

from __future__ import annotations

from pathlib import Path

import click

from hpcore.cli.given_files import STDIN, path_of
from hpcore.cli.output import BAD_INPUT, WRONG, Output, Problem, json_option
from hpcore.cli.output_file import OUTPUT_FILE, refuse_unwritable, write_file
from hpcore.cli.replay import NO_VERDICT
from hpcore.cli.wrapping import say_wrapping
from hpcore.log import LogError
from hpcore.show.timeline import Timeline, timeline


@click.command()
@click.argument("log", type=click.Path(dir_okay=True))
@click.option("--html", type=OUTPUT_FILE, metavar="FILE", help="Write a page for a browser here.")
@click.option("--perfetto", type=OUTPUT_FILE, metavar="FILE",
              help="Write a trace for ui.perfetto.dev here.")  # fmt: skip
@click.option("--from", "first", type=click.IntRange(min=1), default=1, metavar="SEQ",
              help="The first event that is shown.")  # fmt: skip
@click.option("--to", "last", type=click.IntRange(min=1), metavar="SEQ",
              help="The last event that is shown.")  # fmt: skip
@click.option("--force", is_flag=True, help="Overwrite a file that exists.")
@json_option
def show(
    log: str, html: Path | None, perfetto: Path | None, first: int, last: int | None,
    force: bool, as_json: bool,
) -> None:  # fmt: skip
    """Draw LOG: a lane for each vCPU, the machine and the guest.

    \b
    hpcore show run.jsonl --html run.html
    hpcore show run.jsonl --html part.html --from 40 --to 74
    hpcore show run.jsonl --perfetto run.pftrace      # for ui.perfetto.dev

    The page is one file that needs nothing else: no network, no server. Commands are bars
    from asked to ended; the event that is wrong is marked; a slider has the state at any
    event. Press ? in it for its keys.

    Exits with 1 if the log is damaged or an event in it is wrong, with 2 if there is no log
    that can be read. The page is written for a wrong log as well. LOG may be - for standard
    input.
    """
    out = Output(json=as_json)
    files = {"--html": html, "--perfetto": perfetto}
    if html is None and perfetto is None:
        raise Problem("nothing is asked for; give --html FILE, --perfetto FILE, or both")
    refuse_unwritable(files, force=force, inputs=[log])
    if last is not None and last < first:
        raise Problem(f"--to {last} is before --from {first}")
    found = _read(out, log, first, last)
    say_wrapping(out, log, found.walk.header.wrapping)
    name = STDIN if log == "-" else Path(log).name
    if html is not None:
        from hpcore.show.log_page import log_page  # noqa: PLC0415 - takes Jinja along

        text = log_page(name, found).encode()
        write_file(html, text)
        out.say(f"{len(found.t)} events in {html}, {len(text):,} bytes; open it in a browser")
    if perfetto is not None:
        from hpcore.show.perfetto import trace  # noqa: PLC0415 - takes protobuf along

        write_file(perfetto, trace(name, found))
        out.say(f"{len(found.t)} events in {perfetto}; open it at ui.perfetto.dev")
    _end(out, found, html=html, perfetto=perfetto)


def _read(out: Output, log: str, first: int, last: int | None) -> Timeline:
    try:
        with out.progress("reading") as tell:
            found = timeline(
                path_of(log), first, last,
                lambda done: tell(f"reading: {done:,} events"),
            )  # fmt: skip
    except LogError as error:
        raise Problem(str(error), BAD_INPUT if isinstance(error, NO_VERDICT) else WRONG) from error
    if isinstance(found.walk.damage, NO_VERDICT):
        raise Problem(str(found.walk.damage))
    if not found.t and first > 1:
        raise Problem(f"{log}: there is no event {first}; the last is {found.walk.events}")
    return found


def _end(out: Output, found: Timeline, **files: Path | None) -> None:
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
        wrapping=list(walk.header.wrapping),
        wrong=None if wrong is None else wrong.record.seq,
        damage=None if walk.damage is None else str(walk.damage),
        **{name: None if path is None else str(path) for name, path in files.items()},
    )

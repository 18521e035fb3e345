"""`hpcore import`: files of somebody else's become a log."""

from __future__ import annotations

from pathlib import Path

import click

from hpcore.cli.given_files import GivenFile, given
from hpcore.cli.output import Output, Problem, json_option
from hpcore.cli.output_file import OUTPUT_FILE, refuse_unwritable
from hpcore.foreign import STOCK, Imported, SourceError, import_files
from hpcore.foreign.streams import Clock, File
from hpcore.log import LogError, LogWriteError, is_log
from hpcore.model.revision import HPCORE, Revision
from hpcore.protocols import ProtocolError, bundled, load

rules_option = click.option(
    "--rules", "rules_name", default="hpcore", show_default=True, metavar="FILE",
    help="By whose protocol it is judged: hpcore, stock (a QEMU of today), v6, or a file.",
)  # fmt: skip


@click.command("import")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--log", "log", required=True, type=OUTPUT_FILE, help="The log to write.")
@rules_option
@click.option("--force", is_flag=True, help="Overwrite the log.")
@json_option
def import_(
    files: tuple[str, ...], log: Path, rules_name: str, force: bool, as_json: bool
) -> None:
    """Make a log of QEMU's traces, QMP transcripts and guests' consoles.

    All FILEs are those of one machine; one of them may be - for standard input. What each is, its
    lines say themselves; it may be packed with gzip, zstd, xz or bzip2. What QEMU did is a fact:
    where it is not what the rules have, the log is marked, and the import goes on from what QEMU
    did.

    \b
    hpcore import qemu.trace --log new.jsonl
    hpcore import qemu.trace console.txt --log new.jsonl --force
    hpcore import qemu.trace --log new.jsonl --force --rules stock

    `hpcore triage` says what the log comes to, `hpcore replay` shows it step by step.

    Exits with 1 if a step is wrong, with 2 if no file says anything about vCPUs.
    """
    out = Output(json=as_json)
    rules = find_rules(rules_name)
    refuse_unwritable({"--log": log}, force=force, inputs=files)
    with given(files) as all_given:
        done = bring_in(out, all_given, log, rules)
    say_files(out, done)
    style = "bold red" if done.wrong else "green"
    out.say(f"{log}: {done.events} events of {done.used} lines; {done.wrong} findings. "
            f"{flags(done)}", style=style)  # fmt: skip
    out.end(
        not done.wrong,
        log=str(log),
        events=done.events,
        findings=done.wrong,
        marks={f"{kind}/{name}": count for (kind, name), count in done.marks.items()},
        flags_read=done.flags_read,
        flags_differ=done.flags_differ,
        assumed=done.assumed,
        files=[_plain(file) for file in done.files],
    )


def find_rules(name: str) -> Revision:
    """The protocol of that name, or in that file. Raises Problem."""
    for known in (HPCORE, STOCK):
        if name == known.name:
            return known
    try:
        return load(name)
    except ProtocolError as error:
        more = "" if name in bundled() or Path(name).exists() else f", and {STOCK.name}"
        raise Problem(f"{error}{more}") from error


def bring_in(out: Output, files: tuple[GivenFile, ...], log: Path, rules: Revision) -> Imported:
    """Import, with progress. Raises Problem, and LogWriteError where `log` cannot be written."""
    for file in files:
        if is_log(file.place):
            raise Problem(
                f"{file.shown} is a log of hpcore's already; `hpcore triage {file.given}` judges it"
            )
    try:
        with out.progress("looking through the files ...") as tell:
            return import_files(
                [file.name for file in files], log, rules, overwrite=True, progress=tell,
                places={file.name: file.place for file in files},
            )  # fmt: skip
    except LogWriteError:
        raise
    except (SourceError, LogError) as error:
        raise Problem(str(error)) from error


def say_files(out: Output, done: Imported) -> None:
    """A line for each file, and what of it could not be used."""
    for file in done.files:
        kinds = ", ".join(f"{count} lines of {kind}" for kind, count in file.formats.most_common())
        packed = "" if file.packed is None else f", packed with {file.packed}"
        clock = "no times" if file.clock is Clock.NONE else f"by {file.clock}"
        out.say(f"{file.path}: {kinds or 'nothing that is known'}{packed}; {clock}")
        if file.unknown:
            out.say(f"  {file.unknown} lines are none of these, the first is line "
                    f"{file.first_unknown}")  # fmt: skip
        if file.repeated:
            out.say(f"  {file.repeated} lines are printed again, and were taken once")
        if not file.whole:
            out.say("  its last line is cut short")
        if file.doubt > 0.001:
            out.say(f"  its order against the other files is known to {file.doubt:.3f} s")
        for said in file.said:
            out.say(f"  {said}")
    for what, count in done.assumed.items():
        out.say(f"Assumed, {count} times: {what}.")


def flags(done: Imported) -> str:
    """How the flags that the guest read compare with the model's."""
    if not done.flags_read:
        return "The guest's reads of flags were not traced."
    if not done.flags_differ:
        return f"Flags read: {done.flags_read}, all equal."
    return f"Flags read: {done.flags_read}, {done.flags_differ} differ."


def _plain(file: File) -> dict[str, object]:
    return {
        "path": file.path, "lines": file.lines, "formats": dict(file.formats),
        "unknown": file.unknown, "first_unknown": file.first_unknown, "clock": str(file.clock),
        "doubt": file.doubt, "whole": file.whole, "packed": file.packed, "said": file.said,
    }  # fmt: skip

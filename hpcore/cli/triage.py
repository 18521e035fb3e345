"""`hpcore triage`: a page of words on a log, or on somebody else's files."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, NoReturn

import click

from hpcore.cli.given_files import GivenFile, given
from hpcore.cli.import_files import bring_in, find_rules, rules_option, say_files
from hpcore.cli.output import Output, Problem, json_option
from hpcore.cli.output_file import OUTPUT_FILE, refuse_unwritable
from hpcore.cli.replay import NO_VERDICT, plain_state, show_state
from hpcore.cli.wrapping import say_wrapping
from hpcore.foreign import Mark
from hpcore.log import LogError, LogWriteError, is_log
from hpcore.model.revision import HPCORE, Revision
from hpcore.triage.known import KnownBug
from hpcore.triage.verdict import Happened, Verdict, WrongStep, judge

SHOWN = 12
"""Lines of one kind that the page has; --json has all that were kept."""


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@click.option("--log", "log", type=OUTPUT_FILE, help="Keep the log that is made of the files.")
@rules_option
@click.option("--table", type=OUTPUT_FILE, metavar="FILE",
              help="Of a directory: a row for each log, as .json or .parquet.")  # fmt: skip
@click.option("--scheduler", metavar="ADDRESS", help="Of a directory: work on this Dask scheduler.")
@click.option("--force", is_flag=True, help="Overwrite a log or a table.")
@json_option
def triage(
    files: tuple[str, ...], log: Path | None, rules_name: str, table: Path | None,
    scheduler: str | None, force: bool, as_json: bool,
) -> None:  # fmt: skip
    """Say what happened in FILE, and which step was the first that is wrong.

    FILE is a log of hpcore's, or what `hpcore import` takes: QEMU's traces, QMP transcripts,
    guests' consoles. Several of these are taken for one machine's; several logs are told of one
    by one. Of a directory every log in it is judged, on all cores: docs/fleet.md. One FILE may be
    - for standard input.

    \b
    hpcore triage run.jsonl
    hpcore triage qemu.trace console.txt --log imported.jsonl --force
    hpcore triage qemu.trace --rules stock --json | jq .looks_like
    hpcore triage logs --table logs.parquet         # every log in the directory logs

    The page says what was asked, what came of it, the first wrong step with the state before it,
    what was open at the end, how the machine ended, and which known bug it looks like.

    Exits with 1 if a step is wrong or the machine died of what it did, with 2 if there is nothing
    to judge.
    """
    out = Output(json=as_json)
    rules = find_rules(rules_name)
    refuse_unwritable({"--log": log, "--table": table}, force=force, inputs=files)
    directories = [Path(file) for file in files if file and Path(file).is_dir()]
    if directories:
        _refuse_for_imports(log, rules, f"{directories[0]} is a directory, of logs")
        _many(out, files, scheduler, table)
    if table is not None or scheduler is not None:
        raise Problem("--table and --scheduler are for many logs; give the directory that has them")
    with given(files) as all_given:
        if _are_logs(all_given):
            _refuse_for_imports(log, rules, f"{all_given[0].shown} is a log")
            _logs(out, all_given)
        _foreign(out, all_given, log, rules)


def _are_logs(files: tuple[GivenFile, ...]) -> bool:
    """Whether the files are logs of hpcore's. Raises Problem where only some of them are."""
    logs = [file for file in files if is_log(file.place)]
    if logs and len(logs) < len(files):
        other = next(file for file in files if file not in logs)
        raise Problem(
            f"{logs[0].shown} is a log of hpcore's, and {other.shown} is none; give them one by one"
        )
    return bool(logs)


def _refuse_for_imports(log: Path | None, rules: Revision, why: str) -> None:
    """Raise Problem where an option is given that a log has no use for."""
    for option, is_given in (("--log", log is not None), ("--rules", rules != HPCORE)):
        if is_given:
            raise Problem(f"{option} is for what is imported, and {why}; leave it out")


def _logs(out: Output, files: tuple[GivenFile, ...]) -> NoReturn:
    """Tell of each log."""
    verdicts = [_judged(out, file) for file in files]
    rest = [_plain(file, verdict) for file, verdict in zip(files, verdicts, strict=True)]
    if len(verdicts) == 1:
        out.end(verdicts[0].ok, **rest[0])
    out.end(all(verdict.ok for verdict in verdicts), logs=rest)


def _foreign(
    out: Output, files: tuple[GivenFile, ...], log: Path | None, rules: Revision
) -> NoReturn:
    """Import the files, and tell of the log that comes of them."""
    with tempfile.TemporaryDirectory(prefix="hpcore-") as directory:
        made = Path(directory) / "imported.jsonl" if log is None else log
        try:
            done = bring_in(out, files, made, rules)
        except LogWriteError as error:
            more = "; give --log FILE, or set TMPDIR, where there is room" if log is None else ""
            raise Problem(f"{error}{more}") from error
        say_files(out, done)
        verdict = judge(made)
    kept = None if log is None else GivenFile(str(log), log.name, str(log))
    out.say("")
    _page(out, kept, verdict)
    out.end(verdict.ok, **_plain(kept, verdict))


def _many(
    out: Output, files: tuple[str, ...], scheduler: str | None, table: Path | None
) -> NoReturn:
    if len(files) > 1:
        raise Problem("give one directory alone, or files")
    from hpcore.cli.fleet import check_table, fleet  # noqa: PLC0415 - needs Dask

    check_table(table)
    fleet(out, Path(files[0]), scheduler, table)


def _judged(out: Output, file: GivenFile) -> Verdict:
    try:
        with out.progress(f"reading {file.shown} ..."):
            verdict = judge(file.place)
    except LogError as error:
        raise Problem(file.words(error)) from error
    if isinstance(verdict.damage, NO_VERDICT):
        raise Problem(file.words(verdict.damage), events=verdict.events)
    _page(out, file, verdict)
    return verdict


def _page(out: Output, log: GivenFile | None, verdict: Verdict) -> None:
    made_by = ", ".join(f"{k} {v}" for k, v in verdict.header.versions.items())
    name = "" if log is None else f"{log.shown}: "
    out.say(f"{name}{verdict.header.accelerator}; {made_by}; {verdict.events} events")
    if log is not None:
        say_wrapping(out, log.shown, verdict.header.wrapping)
    _list(out, "Asked", verdict.asked)
    _list(out, "Came of it", verdict.happened)
    if verdict.wrong:
        _first_wrong(out, log, verdict)
    elif verdict.damage is None:
        style = "bold red" if verdict.died else "green"
        out.say("\nNo step is wrong.", style=style)
    if verdict.damage is not None:
        out.say(f"\nDamaged: {_damage(log, verdict)}", style="bold red")
    if verdict.remarks:
        out.say("\nNot wrong, and worth knowing")
        for mark in verdict.remarks[:SHOWN]:
            out.say(f"  {_words(mark)}")
    if verdict.open:
        out.say("\nOpen at the end")
        for text in verdict.open[:SHOWN]:
            out.say(f"  {text}")
    _say_end(out, verdict)
    bug = verdict.looks_like
    if bug is not None:
        out.say(f"\nLooks like {bug.name}: {bug.says}.\n  {bug.where}", style="bold yellow")
    elif not verdict.ok:
        out.say("\nLooks like no bug that is known.", style="yellow")
    for mark in verdict.summary:
        if mark.name != "machine":
            out.say(f"{mark.name}: {mark.text}")


def _list(out: Output, title: str, what: list[Happened]) -> None:
    if not what:
        return
    out.say(f"\n{title}")
    for each in what if len(what) <= SHOWN else what[: SHOWN - 2]:
        out.say(f"  {each.seq:>6} {each.t:10.4f}  {each.text}")
    if len(what) > SHOWN:
        out.say(f"         ... and {len(what) - SHOWN + 1} more, the last:")
        out.say(f"  {what[-1].seq:>6} {what[-1].t:10.4f}  {what[-1].text}")


def _first_wrong(out: Output, log: GivenFile | None, verdict: Verdict) -> None:
    first = verdict.wrong[0]
    out.say(f"\nFirst wrong step, of {verdict.wrong_in_all}", style="bold red")
    at = "" if first.place is None else f", {first.place}"
    out.say(f"  event {first.seq}, {first.t:.4f} s{at}")
    said = {mark.text for mark in first.marks}
    for text in first.did[:4]:
        if text not in said:
            out.say(f"  {text}")
    for mark in first.marks:
        out.say(f"  {_words(mark)}", style="red" if mark.wrong else None)
    if first.looks_like is not None:
        out.say(f"  looks like {first.looks_like.name}")
    show_state(out, first.before, "State before it")
    if len(verdict.wrong) > 1:
        out.say("\nAfter it")
        for step in verdict.wrong[1:SHOWN]:
            out.say(f"  {_in_a_line(step)}")
        if verdict.wrong_in_all > SHOWN:
            out.say(f"  ... and {verdict.wrong_in_all - SHOWN} more")
    if log is not None:
        out.say(f"Step by step: hpcore replay {log.given} --at {first.seq}")


def _in_a_line(step: WrongStep) -> str:
    wrong = [mark for mark in step.marks if mark.wrong]
    names = ", ".join(dict.fromkeys(f"{mark.kind} {mark.name}" for mark in wrong))
    at = "" if step.place is None else f" ({step.place})"
    like = "" if step.looks_like is None else f"; looks like {step.looks_like.name}"
    return f"{step.seq:>6} {step.t:10.4f}  {step.did[0]}: {names}{at}{like}"


def _words(mark: Mark) -> str:
    of = "" if mark.slot is None else f" for vCPU {mark.slot}"
    return f"{mark.kind} {mark.name}{of}: {mark.text}"


def _say_end(out: Output, verdict: Verdict) -> None:
    shared = verdict.state.shared
    out.say("\nThe end")
    if verdict.end is not None:
        out.say(f"  {verdict.end.text}")
    elif verdict.lost is not None:
        out.say(f"  the machine is lost: {verdict.lost}")
    elif shared.halted:
        out.say(f"  the machine is {shared.phase}")
    else:
        out.say("  the log does not say how the machine ended")
    if verdict.died and len(verdict.last) == 2:
        out.say(f"  between: {verdict.last[0].text}")
        out.say(f"      and: {verdict.last[1].text}")
    for mark in verdict.threads if verdict.died else ():
        out.say(f"  thread {mark.name} last {mark.text} at {mark.place}")


def _damage(log: GivenFile | None, verdict: Verdict) -> str | None:
    if verdict.damage is None or log is None:
        return None if verdict.damage is None else str(verdict.damage)
    return log.words(verdict.damage)


def _plain(log: GivenFile | None, verdict: Verdict) -> dict[str, Any]:
    return {
        "log": None if log is None else log.given,
        "events": verdict.events,
        "accelerator": verdict.header.accelerator,
        "versions": dict(verdict.header.versions),
        "wrapping": list(verdict.header.wrapping),
        "asked": [_happened(each) for each in verdict.asked],
        "happened": [_happened(each) for each in verdict.happened],
        "wrong": [_wrong(step) for step in verdict.wrong],
        "wrong_in_all": verdict.wrong_in_all,
        "remarks": [_mark(mark) for mark in verdict.remarks],
        "open": verdict.open,
        "end": None if verdict.end is None else _mark(verdict.end),
        "died": verdict.died,
        "threads": [_mark(mark) for mark in verdict.threads],
        "looks_like": _bug(verdict.looks_like),
        "summary": [_mark(mark) for mark in verdict.summary],
        "damage": _damage(log, verdict),
    }


def _happened(each: Happened) -> dict[str, object]:
    return {"seq": each.seq, "t": each.t, "text": each.text}


def _mark(mark: Mark) -> dict[str, object]:
    return {"kind": str(mark.kind), "name": mark.name, "slot": mark.slot, "place": mark.place,
            "text": mark.text}  # fmt: skip


def _wrong(step: WrongStep) -> dict[str, object]:
    return {
        "seq": step.seq, "t": step.t, "place": step.place, "did": list(step.did),
        "marks": [_mark(mark) for mark in step.marks], "before": plain_state(step.before),
        "looks_like": None if step.looks_like is None else step.looks_like.name,
    }  # fmt: skip


def _bug(bug: KnownBug | None) -> dict[str, str] | None:
    return None if bug is None else {"name": bug.name, "says": bug.says, "where": bug.where}

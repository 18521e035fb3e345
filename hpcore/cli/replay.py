"""`hpcore replay`: a log, step by step, with every invariant held against it."""

from __future__ import annotations

import time
from collections.abc import Callable

import attrs
import click
from attrs import frozen

from hpcore.cli.given_files import name_of, path_of
from hpcore.cli.output import BAD_INPUT, WRONG, Output, Problem, json_option
from hpcore.cli.wrapping import say_wrapping
from hpcore.errors import printable
from hpcore.log import (
    LogEmpty,
    LogError,
    LogTooNew,
    LogTooOld,
    LogUnreadable,
    NotALog,
    Record,
    is_written,
)
from hpcore.log.chain import no_more
from hpcore.model.events import Event, slot_of
from hpcore.model.states import State
from hpcore.triage.decide_again import DecidedOtherwise
from hpcore.triage.replay import Replay, ReplayedDecision
from hpcore.triage.replay import replay as replay_log
from hpcore.triage.state_words import COLUMNS, machine_words, slot_words
from hpcore.triage.words import say
from hpcore.version import __version__

NO_VERDICT = (LogUnreadable, NotALog, LogEmpty, LogTooNew, LogTooOld)
"""There is no log that could be wrong: it is not there, is none, or needs another hpcore."""

NO_END = "The log does not say how the machine ended"
"""Its last event is none that ends a machine. The run still goes on, was killed, or the log was
cut at a line's end, which nothing in it could show."""

CUT = "It breaks off in the middle of a decision, of which {} more events are missing"
"""At the end of a line, as `head` would cut it; only what the stimulus leads to tells."""

LOOK = 0.2
"""Seconds between two looks at a log that is being written."""


@click.command()
@click.argument("log", type=click.Path(dir_okay=True))
@click.option("--at", type=click.IntRange(min=0), metavar="SEQ", help="Show the state after SEQ.")
@click.option("--from", "since", type=click.IntRange(min=1), metavar="SEQ", help="Begin with SEQ.")
@click.option("--to", "until", type=click.IntRange(min=1), metavar="SEQ", help="End with SEQ.")
@click.option(
    "--cpu", "cpus", type=click.IntRange(min=0), multiple=True, metavar="N",
    help="Say what is about vCPU N alone; more than one may be given.",
)
@click.option("--follow", is_flag=True, help="Go on as long as somebody writes the log.")
@click.option("--quiet", is_flag=True, help="The verdict alone.")
@json_option
def replay(
    log: str,
    at: int | None,
    since: int | None,
    until: int | None,
    cpus: tuple[int, ...],
    follow: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Say what happened in LOG, and check it event by event.

    The same code that ran the machine folds the log, with every invariant held against
    every event, and decides again on every stimulus in it. LOG may be - for standard input.

    \b
    hpcore replay run.jsonl
    hpcore replay run.jsonl --at 57
    hpcore replay run.jsonl --from 40 --to 60 --cpu 4
    hpcore replay run.jsonl --follow --cpu 4 --cpu 5
    hpcore replay run.jsonl --json | jq .violation

    What is before --from is checked too, but for older files of a log in segments. --follow ends
    with the machine, with the program that writes the log, or by Ctrl-C, and then says the
    verdict. A log that is packed with gzip, zstd, xz or bzip2 is unpacked as it is read; it can't
    be followed.

    Exits with 1 if the log is damaged, an event in it is wrong, or this very version of
    hpcore would decide otherwise; with 2 if it cannot be read here, or is no log. A log whose
    last line was torn by a crash is fine up to there, and so is one that just stops: that
    it does not say how the machine ended is said.
    """
    out = Output(json=as_json)
    if since is not None and until is not None and until < since:
        raise Problem(f"there is nothing from event {since} to event {until}")
    shows = Shows(since or 1, until, cpus, at)
    try:
        found = replay_log(
            path_of(log), at, _printer(out, quiet, shows),
            since=shows.since, until=until, more=_writer_of(log) if follow else no_more,
        )
    except LogError as error:
        code = BAD_INPUT if isinstance(error, NO_VERDICT) else WRONG
        raise Problem(str(error), code, events=0, state=None, violation=None) from error
    if isinstance(found.damage, NO_VERDICT):
        raise Problem(str(found.damage), events=found.events)
    for wanted in (at, since):
        if wanted is not None and wanted > found.last_seq and found.ok:
            raise Problem(f"{log}: there is no event {wanted}; the last is {found.last_seq}")
    if at is not None and found.at is None and found.ok:
        raise Problem(f"{log}: event {at} is not kept; the first that is is {found.header.first}")
    slots = len(found.state.slots)
    if cpus and max(cpus) >= slots:
        raise Problem(f"{log}: there is no vCPU {max(cpus)}; its machine has {slots}, from 0 on")
    shown = found.at or found.state
    if not (quiet or out.json):
        out.say("")
    _verdict(out, name_of(log), found)
    if not quiet:
        seq = at if found.at is not None else found.last_seq
        before = found.wrong is not None and found.at is None
        show_state(out, shown, "State before it" if before else f"State after event {seq}")
    out.end(
        found.ok,
        events=found.events,
        state=plain_state(shown),
        violation=_violation(found),
        error=_error(found),
        torn=found.torn,
        first=found.header.first,
        wrapping=list(found.header.wrapping),
        ended=found.says_the_end,
        lacks=found.lacks,
        in_flight=found.in_flight,
        decided_again=_decided_again(found),
        rules=found.header.protocol.name,
    )


@frozen
class Shows:
    """Which events are said."""

    since: int
    until: int | None
    cpus: tuple[int, ...]
    at: int | None

    def are(self, decision: ReplayedDecision) -> list[Record]:
        """Those of a decision that are."""
        first, last = decision.records[0].seq, decision.records[-1].seq
        if self.at is not None and not first - 3 <= self.at <= last + 3:
            return []
        return [record for record in decision.records if self.is_shown(record)]

    def is_shown(self, record: Record) -> bool:
        """Whether the event of `record` is."""
        until = record.seq if self.until is None else self.until
        about = {slot_of(record.event), getattr(record.event, "caller", None)}
        return self.since <= record.seq <= until and (
            not self.cpus or not about.isdisjoint(self.cpus)
        )


def _printer(
    out: Output, quiet: bool, shows: Shows
) -> Callable[[ReplayedDecision], None] | None:
    def each(decision: ReplayedDecision) -> None:
        for n, record in enumerate(shows.are(decision)):
            mark = ">" if record.seq == shows.at else " "
            time = " " * 10 if n else f"{decision.t:10.4f}"
            often = f" ({record.counted} times)" if record.counted > 1 else ""
            out.say(f"{mark}{record.seq:>6} {time}  {say(record.event)}{often}")

    return None if quiet or out.json else each


def _writer_of(log: str) -> Callable[[], bool]:
    """Waits a little while somebody writes the log; False once nobody does, or by Ctrl-C."""

    def more() -> bool:
        try:
            time.sleep(LOOK)
        except KeyboardInterrupt:
            return False
        return is_written(log)

    return more


def _verdict(out: Output, log: str, found: Replay) -> None:
    made_by = ", ".join(f"{k} {v}" for k, v in found.header.versions.items())
    by = "" if found.header.rules is None else f"; by the rules of {found.header.rules.name}"
    out.say(f"{log}: {found.header.accelerator}, {found.header.created}; {made_by}{by}")
    say_wrapping(out, log, found.header.wrapping)
    if found.header.first > 1:
        out.say(f"What was before event {found.header.first} is taken as its first file has it.")
    if found.torn is not None:
        out.say(f"The log ends in a torn line ({found.torn}): hpcore or its host died there.")
    if found.in_flight and not found.state.shared.ended:
        out.say("Under way at the end, done or not: " + ", ".join(found.in_flight) + ".")
    if found.damage is not None:
        out.say(f"Damaged: {found.damage}", style="bold red")
    elif found.wrong is not None:
        out.say(f"{_error(found)}", style="bold red")
    else:
        same = f" {_decided(found)}." if found.otherwise is None else ""
        end = "" if found.says_the_end or found.stopped else f" {NO_END}."
        if found.lacks:
            end += f" {CUT.format(found.lacks)}."
        out.say(f"{found.events} events, every invariant held at each.{same}{end}", style="green")
    if found.otherwise is not None:
        _say_otherwise(out, found, found.otherwise)


def _decided(found: Replay) -> str:
    """What came of deciding the log again, where it came to the same or could not be done."""
    if not found.events:
        return "There was nothing to decide"
    if not found.decided_again:
        return "It was not decided again: it has no stimuli, which came with format 1.2"
    return f"{found.decided_again} decisions, made again by hpcore {__version__}: the same"


def _say_otherwise(out: Output, found: Replay, other: DecidedOtherwise) -> None:
    rules = found.header.rules
    whose = f"hpcore {__version__}" if rules is None else f"{rules.name}, in hpcore {__version__}"
    why = (
        f"Decided otherwise: at event {other.record.seq}, {type(other.stimulus).__name__} led to "
        f"{_told(other.logged)}, and leads to {_told(other.now)} by the rules of "
        f"{whose}."
    )
    if found.same_version:
        out.say(f"{why} The log was written by other rules, or was changed.", style="bold red")
    else:
        out.say(f"{why} hpcore {found.written_by} wrote the log.", style="yellow")


def _told(event: Event | None) -> str:
    return "nothing more" if event is None else f"\"{say(event)}\""


def show_state(out: Output, state: State, title: str) -> None:
    out.say(f"{title}: the machine is {machine_words(state.shared)}.")
    table = out.table("vCPU", *COLUMNS)
    for index, slot in enumerate(state.slots):
        table.add_row(str(index), *map(printable, slot_words(slot)))
    out.show(table)


def plain_state(state: State) -> dict[str, object]:
    """The state for machines."""
    return {
        "shared": attrs.asdict(state.shared),
        "slots": [{"index": i, **attrs.asdict(s)} for i, s in enumerate(state.slots)],
    }


def _error(found: Replay) -> str | None:
    if found.wrong is None:
        return str(found.damage) if found.damage else None
    record, violation = found.wrong.record, found.wrong.violation
    return (
        f"Event {record.seq} is wrong: {say(record.event)}.\n"
        f"It breaks {violation.invariant} for vCPU {violation.slot}: {violation.says}"
    )


def _decided_again(found: Replay) -> dict[str, object]:
    other = found.otherwise
    return {
        "decisions": found.decided_again,
        "by": __version__,
        "written_by": found.written_by,
        "otherwise": None if other is None else {
            "seq": other.record.seq,
            "stimulus": type(other.stimulus).__name__,
            "logged": None if other.logged is None else say(other.logged),
            "now": None if other.now is None else say(other.now),
        },
    }  # fmt: skip


def _violation(found: Replay) -> dict[str, object] | None:
    if found.wrong is not None:
        return {
            "seq": found.wrong.record.seq,
            "invariant": found.wrong.violation.invariant,
            "slot": found.wrong.violation.slot,
            "before": plain_state(found.wrong.before),
        }
    if found.damage is not None:
        line = getattr(found.damage, "line", None)
        return {"seq": None if line is None else line - 1, "invariant": "log_intact"}
    return None

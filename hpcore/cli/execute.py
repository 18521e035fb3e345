"""`hpcore run LOG`: a counterexample, asked of a real accelerator."""

from __future__ import annotations

import asyncio
from pathlib import Path

from hpcore.cli.output import Output
from hpcore.cli.signals import until_stopped
from hpcore.cli.wrapping import say_wrapping
from hpcore.log import Record
from hpcore.run.accelerator import GuestImages, GuestScript
from hpcore.run.discovery import Found
from hpcore.run.execute import Executed, execute_log
from hpcore.triage.words import say


def execute(out: Output, path: Path, found: Found, guest: GuestImages | GuestScript) -> None:
    """Have the accelerator do what the log says; exit with 1 if it refuses something."""

    def tell(record: Record) -> None:
        out.say(f"{record.seq:>7}  {say(record.event)}")

    done = asyncio.run(until_stopped(execute_log(path, found, guest, tell)))
    _report(out, path, found, done)


def _report(out: Output, path: Path, found: Found, executed: Executed) -> None:
    refused = executed.refused
    say_wrapping(out, str(path), executed.header.wrapping)
    if refused is None:
        out.say(f"{found.name} did all {executed.done} effects of {path}.", style="green")
    else:
        out.say(
            f"{found.name} refuses event {refused.seq}: {say(refused.event)}.\n"
            f"It says: {executed.words}", style="bold red",
        )  # fmt: skip
    out.end(
        refused is None,
        done=executed.done,
        events=executed.events,
        wrapping=list(executed.header.wrapping),
        refused=None if refused is None else {"seq": refused.seq, "error": executed.words},
    )

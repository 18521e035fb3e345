"""`hpcore kept`: the machines that go on without hpcore."""

from __future__ import annotations

from pathlib import Path

import click

from hpcore.cli.output import Output, json_option
from hpcore.log.disk import is_locked
from hpcore.log.segments import numbers, segment_path
from hpcore.qemu.kept_file import given_back
from hpcore.qemu.kept_machine import CONSOLE_KEPT
from hpcore.qemu.runtime_directory import held_directories
from hpcore.run.kept import Record, recorded


@click.command()
@json_option
def kept(as_json: bool) -> None:
    """List the machines that go on without hpcore.

    They are those of --keep that this user has, and that have not ended; also those that an
    hpcore has just now.

    \b
    hpcore kept
    hpcore kept --json | jq -r '.machines[] | select(.held | not) | .log'
    """
    out = Output(json=as_json)
    found = [(place, one) for place in held_directories() if (one := recorded(place)) is not None]
    if found:
        table = out.table("log", "accelerator", "an hpcore has it", "lives in")
        for place, one in found:
            table.add_row(_log(one), one.accelerator, "yes" if _held(one) else "no", str(place))
        out.show(table)
        for place, one in found:
            if gone := given_back(place / CONSOLE_KEPT):
                out.say(
                    f"{_log(one)}: of what its guest has printed, the first {gone >> 20} MiB are "
                    f"not kept any more; the rest is in {place / CONSOLE_KEPT}, behind zeros"
                )
    else:
        out.say("no machine is kept; `hpcore run --keep` and `hpcore shell --keep` keep one")
    out.close(True, machines=[
        {
            "log": one.log, "log_is_there": _there(one), "accelerator": one.accelerator,
            "held": _held(one), "place": str(place),
            "console_dropped": given_back(place / CONSOLE_KEPT),
        }
        for place, one in found
    ])  # fmt: skip


def _log(one: Record) -> str:
    return one.log if _there(one) else f"{one.log} (moved, or removed)"


def _there(one: Record) -> bool:
    try:
        return one.names(Path(one.log))
    except OSError:
        return False


def _held(one: Record) -> bool:
    """A log's lock is on its last segment."""
    segments = numbers(one.log) if _there(one) else []
    return bool(segments) and is_locked(segment_path(one.log, segments[-1]))

"""`hpcore attach` of a VM with a door: its monitors are served again."""

from __future__ import annotations

import time
from pathlib import Path

from hpcore.cli.output import Output, Problem
from hpcore.door.again import opened_again
from hpcore.door.monitors import MonitorAsked
from hpcore.errors import HpcoreError


async def serve_again(out: Output, log: Path, *, end: bool) -> dict[str, object]:
    """Take the VM of `log` up, and serve its monitors until it has ended, or `end` it at once.

    Returns what the closing object says. Raises Problem where it can't be taken up.
    """
    began = time.monotonic()
    try:
        async with opened_again(log, serves=not end) as again:
            machine, found = again.attached.machine, again.attached.taken_up
            milliseconds = round((time.monotonic() - began) * 1000)
            out.say(f"attached in {milliseconds} ms: {found}")
            if end:
                machine.end_when_left()
            else:
                for monitor in again.monitors:
                    out.say(f"served again: {_said(monitor)}")
                out.say("Ctrl-C leaves the VM running")
                await again.serve()
    except HpcoreError as error:
        raise Problem(str(error), log=str(log)) from error
    missed = {
        "events": found.events, "answers": found.answers, "repeated": found.repeated,
        "attach_ms": milliseconds,
    }  # fmt: skip
    return {
        "events": machine.last_seq, "kept": machine.is_kept, "missed": missed,
        "why": machine.why_ended(),
    }  # fmt: skip


def _said(monitor: MonitorAsked) -> str:
    kind = "a monitor with a prompt" if monitor.has_prompt else "QMP"
    return f"{kind}, {monitor.said}"

"""The page of a log: lanes, bars, a list of events, and the state at any of them."""

from __future__ import annotations

from typing import Any

from hpcore.errors import printable
from hpcore.show.html import page
from hpcore.show.kinds import KINDS
from hpcore.show.timeline import Timeline
from hpcore.triage.state_words import COLUMNS
from hpcore.version import __version__

SCRIPTS = ("log_data.js", "log_lanes.js", "log_panels.js", "log.js")


def log_page(name: str, found: Timeline) -> str:
    """The page of the log `name`, as HTML."""
    return page("log.html.j2", SCRIPTS, _data(name, found), title=printable(name))


def _data(name: str, found: Timeline) -> dict[str, Any]:
    header = found.walk.header
    topology = header.machine.topology
    return {
        "name": printable(name),
        "about": [
            ["machine", f"{topology.cpus} vCPUs at boot, {topology.maxcpus} possible"],
            ["accelerator", printable(header.accelerator)],
            ["written", printable(header.created)],
            *([printable(k), printable(v)] for k, v in header.versions.items()),
        ],
        "verdict": _verdict(found),
        "ok": found.walk.wrong is None and found.walk.damage is None,
        "first": found.first,
        "lanes": found.lanes,
        "columns": list(COLUMNS),
        "kinds": list(KINDS),
        "texts": found.texts.all,
        "stimuli": found.stimuli.all,
        "rows": [list(map(printable, row)) for row in found.rows.all],
        "machines": found.machines.all,
        "t": _steps(found.t),
        "says": found.says,
        "lane": found.lane,
        "kind": found.kind,
        "answers": found.answers,
        "start": found.start,
        "changes": found.changes,
        "bars": [
            [bar.lane, bar.row, printable(bar.says), bar.begin, bar.end, bar.failed]
            for bar in found.bars.all
        ],
        "wrong": found.wrong,
        "otherwise": found.otherwise,
    }


def _steps(values: list[int]) -> list[int]:
    """Each value's distance from the one before: shorter numbers, and so a shorter page."""
    return [b - a for a, b in zip([0, *values], values, strict=False)]


def _verdict(found: Timeline) -> list[str]:
    """What is to be said of the log, a sentence each."""
    walk, out = found.walk, []
    if walk.damage is not None:
        out.append(f"Damaged: {printable(str(walk.damage))}")
    if walk.wrong is not None and walk.wrong.violation is not None:
        broken = walk.wrong.violation
        out.append(
            f"Event {walk.wrong.record.seq} is wrong. It breaks {broken.invariant} for vCPU "
            f"{broken.slot}: {printable(broken.says)}"
        )
    elif walk.damage is None:
        out.append(f"{walk.events} events, every invariant held at each.")
    if walk.otherwise:
        out.append(
            f"{len(walk.otherwise)} of {walk.decided_again} decisions come out otherwise by "
            f"hpcore {__version__}; hpcore {printable(walk.written_by)} wrote the log."
        )
    if walk.torn is not None:
        out.append(f"The log ends in a torn line ({printable(walk.torn)}).")
    return out

"""Many logs at once: a row for each, and groups of those that went wrong for one cause.

A row is a pure function of its file, so that it is the same whoever has computed it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import attrs
import orjson
from attrs import field, frozen

from hpcore.errors import HpcoreError, printable
from hpcore.log import Header, LogDamaged, LogError, is_log
from hpcore.model.events import event_name
from hpcore.spread import spread
from hpcore.triage.case import Case, Entry, NoCase, case_of
from hpcore.triage.replay import Replay, replay
from hpcore.triage.shrink import Shrunk, shrink

RIGHT, WRONG, OTHERWISE, DAMAGED, UNREADABLE = (
    "right", "wrong", "decided otherwise", "damaged", "unreadable",
)  # fmt: skip
"""Verdicts. *Decided otherwise* breaks nothing, and is not what its own version decides now."""

BAD = (WRONG, OTHERWISE, DAMAGED)

MOST_STIMULI = 50_000
"""Of a log that is shrunk; a longer one is judged, and not shrunk."""


class NoLogs(HpcoreError):
    """A directory in which there is no log."""


@frozen
class FleetRow:
    """What one log came to. What a verdict has no use for is None.

    `cause` is what the machine did that hpcore would not, without names and numbers of vCPUs:
    logs that are wrong for one cause have the same. `shortest` counts the stimuli of the shortest
    case, of which `fingerprint` is. `seconds` are of CPU, and no part of what a row is.
    """

    log: str
    verdict: str
    events: int = 0
    invariant: str | None = None
    slot: int | None = None
    seq: int | None = None
    cause: str | None = None
    fingerprint: str | None = None
    shortest: int | None = None
    version: str | None = None
    accelerator: str | None = None
    machine: str | None = None
    ended: bool | None = None
    error: str | None = None
    seconds: float = field(default=0.0, eq=False)
    worker: int = field(default=0, eq=False)


@frozen
class Group:
    """Rows of one cause. `representative` has the shortest case among them."""

    verdict: str
    invariant: str | None
    cause: str | None
    logs: int
    fingerprints: int
    representative: str


def logs_in(directory: Path) -> tuple[Path, ...]:
    """The logs below `directory`, by name. Raises NoLogs."""
    found = tuple(path for path in sorted(directory.rglob("*")) if path.is_file() and is_log(path))
    if not found:
        raise NoLogs(f"{directory}: there is no log of hpcore's in it")
    return found


def triage_logs(
    paths: Sequence[Path],
    scheduler: str | None = None,
    tell: Callable[[int, FleetRow], None] = lambda _done, _row: None,
) -> tuple[FleetRow, ...]:
    """A row for each of `paths`, in their order, on all cores or on the scheduler's workers.

    Workers on other machines must see the files under the same names. Raises CannotSpread.
    """
    names = [str(path.resolve()) for path in paths]
    return spread(row_of, names, scheduler, tell, _lost)


def _lost(name: str, error: str) -> FleetRow:
    return FleetRow(name, UNREADABLE, error=error)


def row_of(name: str) -> FleetRow:
    """The row of the log at `name`. Whatever is wrong with the file is in the row."""
    began = os.times()
    try:
        row = _judged(name)
    except (LogError, OSError) as error:
        verdict = DAMAGED if isinstance(error, LogDamaged) else UNREADABLE
        row = FleetRow(name, verdict, error=printable(str(error)))
    ended = os.times()
    used = ended.user + ended.system - began.user - began.system
    return attrs.evolve(row, seconds=round(used, 3), worker=os.getpid())


def _judged(name: str) -> FleetRow:
    found = replay(name)
    row = FleetRow(
        name, _verdict(found), found.events, version=printable(found.written_by),
        accelerator=printable(found.header.accelerator), machine=_machine(found.header),
        ended=found.says_the_end,
    )  # fmt: skip
    if found.wrong is None:
        return attrs.evolve(row, error=None if found.damage is None else str(found.damage))
    broken = found.wrong.violation
    row = attrs.evolve(
        row, invariant=broken.invariant, slot=broken.slot, seq=found.wrong.record.seq
    )
    try:
        case = case_of(name)
        if len(case.entries) > MOST_STIMULI:
            why = f"not shrunk: {len(case.entries)} stimuli, and {MOST_STIMULI} are the most"
            return attrs.evolve(row, cause=_cause(case, case.entries), error=why)
        small = shrink(case)
    except NoCase as error:
        return attrs.evolve(row, error=f"not shrunk: {error}")
    return attrs.evolve(
        row, cause=cause_of(small), fingerprint=small.fingerprint, shortest=len(small.taken)
    )


def _verdict(found: Replay) -> str:
    if found.wrong is not None:
        return WRONG
    if found.damage is not None:
        return DAMAGED
    return RIGHT if found.ok else OTHERWISE


def _machine(header: Header) -> str:
    topology = header.machine.topology
    return f"{topology.cpus} of {topology.maxcpus}"


def cause_of(small: Shrunk) -> str:
    """What the machine did in a shrunk case that hpcore would not, in a few words."""
    return _cause(small.case, [taken.entry for taken in small.taken])


def _cause(case: Case, entries: Iterable[Entry]) -> str:
    """The last fact is what broke it, or what led there: those before were needed for it."""
    facts = [entry for entry in entries if entry.fact is not None]
    if not facts:
        return f"{case.broken.invariant}, by what hpcore itself decides"
    last = facts[-1]
    assert last.fact is not None
    by = "something" if last.stimulus is None else type(last.stimulus).__name__
    did, would = last.fact.events, last.fact.instead or ()
    for n in range(max(len(did), len(would))):
        one = _word(did[n]) if n < len(did) else "nothing more"
        other = _word(would[n]) if n < len(would) else "nothing more"
        if one != other:
            return f"{by}: {one} in place of {other}"
    return f"{by}: {_word(did[0]) if did else 'nothing'}, otherwise"


def _word(event: object) -> str:
    name = event_name(event)  # type: ignore[arg-type]
    more = getattr(event, "step", None) or getattr(event, "guard", None)
    return f"{name} {more}" if more else name


def groups_of(rows: Iterable[FleetRow]) -> tuple[Group, ...]:
    """The rows that are not right by verdict, invariant and cause, the largest group first."""
    found: dict[tuple[str, str, str], list[FleetRow]] = {}
    for row in rows:
        if row.verdict != RIGHT:
            key = row.verdict, row.invariant or "", row.cause or ""
            found.setdefault(key, []).append(row)
    out = [_group(members) for members in found.values()]
    return tuple(sorted(out, key=lambda group: (-group.logs, group.representative)))


def _group(members: list[FleetRow]) -> Group:
    best = min(members, key=lambda r: (r.shortest or MOST_STIMULI, r.events, r.log))
    prints = {row.fingerprint for row in members if row.fingerprint is not None}
    return Group(
        best.verdict, best.invariant, best.cause, len(members), len(prints), best.log
    )


# -------------------------------------------------------------------- tables

COLUMNS = tuple(f.name for f in attrs.fields(FleetRow) if f.name != "worker")


def as_json(rows: Sequence[FleetRow]) -> bytes:
    """The table as JSON: rows and groups."""
    plain = {
        "rows": [_plain(row) for row in rows],
        "groups": [attrs.asdict(group) for group in groups_of(rows)],
    }
    return orjson.dumps(plain, option=orjson.OPT_INDENT_2)


def as_parquet(rows: Sequence[FleetRow], path: Path) -> None:
    """Write the table to `path` as Parquet. Raises NoParquet where pyarrow is missing."""
    try:
        import pyarrow  # noqa: PLC0415 - an extra
        import pyarrow.parquet  # noqa: PLC0415
    except ImportError:
        raise NoParquet(
            "a table as Parquet needs the package pyarrow; install it with: "
            "pip install 'hpcore[fleet]'"
        ) from None
    kinds = {
        "events": pyarrow.int64(), "slot": pyarrow.int32(), "seq": pyarrow.int64(),
        "shortest": pyarrow.int32(), "ended": pyarrow.bool_(), "seconds": pyarrow.float64(),
    }  # fmt: skip
    schema = pyarrow.schema([(name, kinds.get(name, pyarrow.string())) for name in COLUMNS])
    table = pyarrow.Table.from_pylist([_plain(row) for row in rows], schema=schema)
    pyarrow.parquet.write_table(table, path)


class NoParquet(HpcoreError):
    """The package that writes Parquet is not installed."""


def _plain(row: FleetRow) -> dict[str, object]:
    return {name: getattr(row, name) for name in COLUMNS}

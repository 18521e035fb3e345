"""Events, headers and logs to test with."""

from __future__ import annotations

import types
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum, StrEnum
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import attrs
from hypothesis import strategies as st

from hpcore.log import Header, LogWriter, Sync, read
from hpcore.model.config import MachineConfig
from hpcore.model.effects import Step
from hpcore.model.events import (
    Event,
    Noted,
    PlugAccepted,
    ScanBegun,
    StepBegun,
    StepDone,
    StepFailed,
)

MACHINE = MachineConfig.of(cpus=1, maxcpus=4)
HEADER = Header(MACHINE, "qtest", {"qemu": "7.2.0"}, created="2026-01-02T03:04:05+00:00")


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


@attrs.frozen
class Everything:
    """An event with a field of every kind."""

    number: int
    text: str
    flag: bool
    colour: Colour
    maybe: int | None
    maybe_colour: Colour | None
    numbers: tuple[int, ...]
    pairs: tuple[tuple[str, int], ...]
    either: int | str | bool
    _private: int
    keyword: int = attrs.field(kw_only=True, default=7)


@attrs.frozen
class Bare:
    """An event without fields."""


OWN: dict[str, type] = {"everything": Everything, "bare": Bare}


def _values(hint: Any) -> st.SearchStrategy[Any]:
    if hint is int:
        return st.integers(-(2**63), 2**64 - 1) | st.integers(-5, 600)
    if hint is str:
        return st.text(st.characters(exclude_categories=["Cs"]))
    if hint is bool:
        return st.booleans()
    if hint is types.NoneType:
        return st.none()
    if isinstance(hint, type) and issubclass(hint, Enum):
        return st.sampled_from(list(hint))
    if get_origin(hint) in (Union, types.UnionType):
        return st.one_of(*map(_values, get_args(hint)))
    assert get_origin(hint) is tuple, hint
    inner = get_args(hint)
    if inner[1:] == (Ellipsis,):
        return st.lists(_values(inner[0]), max_size=4).map(tuple)
    return st.tuples(*map(_values, inner))


def events_of(registry: Mapping[str, type]) -> st.SearchStrategy[Any]:
    """Any event of any class in `registry`."""
    each = []
    for cls in registry.values():
        hints = get_type_hints(cls)
        fields = {a.alias or a.name: _values(hints[a.name]) for a in attrs.fields(cls)}
        each.append(st.builds(cls, **fields))
    return st.one_of(each)


SOME: list[list[Event]] = [
    [PlugAccepted(1, "cpu1"), StepBegun(1, Step.REALIZE)],
    [StepDone(1, Step.REALIZE)],
    [StepBegun(1, Step.BIND)],
    [StepDone(1, Step.BIND, affinity=1), StepBegun(1, Step.WIRE), Noted('é "quoted"\n\0 {}')],
    [StepFailed(1, Step.WIRE, "no line")],
    [ScanBegun()],
]
"""Appends, as a run makes them."""


def write(
    path: Path, appends: Iterable[Sequence[object]] = SOME, sync: Sync = Sync.OS
) -> list[bytes]:
    """Make a log of `appends` and return its lines, newlines included."""
    with LogWriter.create(path, HEADER, sync=sync, overwrite=True) as log:
        for i, events in enumerate(appends):
            log.append(events, t=i / 8)
    return path.read_bytes().splitlines(keepends=True)


def flat(appends: Iterable[Sequence[Event]]) -> list[Event]:
    """All events of some appends."""
    return [event for events in appends for event in events]


def events_in(path: Path) -> list[Event]:
    """All events in the log, torn tail or not."""
    _, records = read(path)
    return [record.event for record in records]

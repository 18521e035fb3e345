"""Many checks at once: environments, engines and mutants, over processes or machines.

The work is spread over this machine's cores or a Dask scheduler's workers. A check is a pure
function of its job, so the rows are the same whichever way they were computed.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attrs import field, fields, frozen
from ruamel.yaml.scalarbool import ScalarBoolean

from hpcore.check.proof import ENGINES, prove
from hpcore.check.properties import PROPERTIES, Properties
from hpcore.check.result import CheckError
from hpcore.check.tabulated.schema import NotTabulable
from hpcore.check.variants.known_bugs import find_mutant
from hpcore.check.world.environment import Environment, EnvironmentRefused
from hpcore.check.world.guests import GUESTS, GuestModel
from hpcore.model.rules import Rules
from hpcore.spread import CannotSpread, spread
from hpcore.yaml import YamlUnreadable, read_yaml

MOST_JOBS = 100_000

_OPTIONS = tuple(f.name for f in fields(Environment))
_KEYS = (*_OPTIONS, "mutants", "engines")


@frozen
class SweepJob:
    """One check of a sweep.

    `mutant` is None for the real rules, or for `rules` of your own. `properties` are asked
    beside hpcore's. A guest, rules and properties of your own go to the workers by pickle:
    a class is sent by the name of its module, which each worker must be able to import.
    Functions go so, too, unless they are lambdas or stand in the script that was started;
    those are sent as they are.
    """

    environment: Environment
    mutant: str | None = None
    engine: str = "symbolic"
    rules: Rules | None = None
    properties: Properties = ()

    def __attrs_post_init__(self) -> None:
        if self.mutant is not None and self.rules is not None:
            raise CheckError("a check has a mutant or rules of your own; give one of them")


@frozen
class SweepRow:
    """What one check of a sweep found. `error` is set where it could not be made.

    `seconds` and `worker` tell how it was computed, and are no part of the row's identity.
    """

    job: SweepJob
    proven: bool = False
    states: int | None = None
    violations: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    error: str | None = None
    seconds: float = field(default=0.0, eq=False)
    worker: int = field(default=0, eq=False)

    @property
    def wrong(self) -> bool:
        """Whether the check could not be made, or the real rules were not proven."""
        return self.error is not None or (self.job.mutant is None and not self.proven)


def verdict(rows: Sequence[SweepRow]) -> bool:
    """Whether the real rules were proven wherever they were tried, and every mutant found.

    A mutant need not show in every environment: a guest that behaves does not notice that
    nobody would stop it. It must show in one.
    """
    mutants = {row.job.mutant for row in rows} - {None}
    found = {row.job.mutant for row in rows if row.violations}
    return mutants <= found and not any(row.wrong for row in rows)


Tell = Callable[[int, int, SweepRow], None]
"""Told how many checks are done, of how many, and the last one's row."""


def run_one(job: SweepJob) -> SweepRow:
    """Make one check, in this process."""
    rules = job.rules if job.mutant is None else find_mutant(job.mutant).rules
    properties = (*PROPERTIES, *job.properties)
    try:
        result = prove(job.environment, rules, job.engine, properties=properties)
    except (CheckError, EnvironmentRefused, NotTabulable) as error:
        return SweepRow(job, error=str(error), worker=os.getpid())
    return SweepRow(
        job, result.proven, result.states, tuple(sorted(result.violations)),
        tuple(sorted(result.missing)), seconds=result.seconds, worker=os.getpid(),
    )  # fmt: skip


def run_sweep(
    jobs: Sequence[SweepJob],
    scheduler: str | None = None,
    tell: Tell = lambda _done, _all, _row: None,
) -> tuple[SweepRow, ...]:
    """Make all checks, on the Dask scheduler at `scheduler`, or on this machine's cores.

    The rows are in the order of `jobs`. Raises CheckError where there is no such scheduler,
    or `distributed` is not installed.
    """
    try:
        return spread(
            run_one, jobs, scheduler, lambda done, row: tell(done, len(jobs), row),
            lambda job, error: SweepRow(job, error=error),
        )  # fmt: skip
    except CannotSpread as error:
        raise CheckError(str(error)) from None


# ------------------------------------------------------------------ a sweep's file


def read_sweep(path: Path) -> tuple[SweepJob, ...]:
    """The jobs in a YAML file that gives one value or a list for each option.

        slots: [2, 3, 8]
        guest: [linux, hostile]
        faults: 1
        mutants: [none, eject_powered_off]
        engines: [symbolic, explicit]

    All combinations, in the order of the options. Raises CheckError, naming the file and
    what is wrong.
    """
    try:
        data = read_yaml(path)
    except YamlUnreadable as error:
        raise CheckError(str(error)) from error
    if not isinstance(data, dict) or not data:
        raise CheckError(f"{path}: a sweep maps options to values, such as slots: [2, 3]")
    for key in data:
        if key not in _KEYS:
            raise CheckError(f"{path}: '{key}' is no option of a sweep; known: {', '.join(_KEYS)}")
    lists = {key: _as_list(data[key]) for key in _KEYS if key in data}
    count = math.prod(len(values) for values in lists.values())
    if not 1 <= count <= MOST_JOBS:
        raise CheckError(f"{path}: {count} checks; a sweep has 1 to {MOST_JOBS}")
    mutants = lists.pop("mutants", ["none"])
    engines = lists.pop("engines", ["symbolic"])
    return tuple(
        SweepJob(_environment(path, dict(zip(lists, values, strict=True))), mutant, engine)
        for values in itertools.product(*lists.values())
        for mutant in (_mutant(path, m) for m in mutants)
        for engine in (_engine(path, e) for e in engines)
    )


def _as_list(value: object) -> list[Any]:
    return [_plain(v) for v in (value if isinstance(value, list) else [value])]


def _plain(value: object) -> object:
    """A value that has an anchor, or is written in hex, is one of a class of YAML's own."""
    if isinstance(value, ScalarBoolean):
        return bool(value)
    return int(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _environment(path: Path, options: dict[str, Any]) -> Environment:
    try:
        for name, value in options.items():
            if name == "guest":
                options[name] = _guest(value)
            elif not _fits(value, getattr(Environment(), name)):
                raise ValueError(f"{name} is {value!r}")
        return Environment(**options)
    except (EnvironmentRefused, ValueError, TypeError) as error:
        raise CheckError(f"{path}: {error}") from error


def _fits(value: object, default: object) -> bool:
    """Whether a value is of the kind of the option's default; None stands for any number."""
    return type(value) is type(default) or (default is None and type(value) is int)


def _guest(name: object) -> GuestModel:
    if not isinstance(name, str) or name not in GUESTS:
        raise ValueError(f"there is no guest {name!r}; known: {', '.join(GUESTS)}")
    return GUESTS[name]


def _mutant(path: Path, name: object) -> str | None:
    if name in (None, "none"):
        return None
    try:
        return str(find_mutant(str(name)).name)
    except CheckError as error:
        raise CheckError(f"{path}: {error}") from None


def _engine(path: Path, name: object) -> str:
    if name not in ENGINES:
        raise CheckError(f"{path}: '{name}' is no engine; known: {', '.join(ENGINES)}")
    return str(name)

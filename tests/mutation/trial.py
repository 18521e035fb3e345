"""What happens in a process that tries a mutant: its tests, one by one, up to the first failure."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from _pytest.runner import runtestprotocol
from attrs import frozen

from tests.mutation.forks import Outcome, Voice
from tests.mutation.mutants import Mutant

PATIENCE = 10.0
"""Seconds for a test beyond `SLOWER` times what it takes alone."""
SLOWER = 10.0


@frozen
class Trial:
    """A mutant, the tests that it needs in their order, and what each takes alone."""

    mutant: Mutant
    tests: tuple[tuple[str, float], ...]
    afresh: bool
    """Whether the program must be imported changed: it can't be changed while it runs."""


def try_tests(trial: Trial, items: Sequence[pytest.Item], voice: Voice) -> None:
    """Run the trial's tests among `items`, and tell what came of it."""
    chosen = _chosen(trial, items)
    for n, (item, seconds) in enumerate(chosen):
        voice.begins(item.nodeid, PATIENCE + SLOWER * seconds)
        after = chosen[n + 1][0] if n + 1 < len(chosen) else None
        # A machine that is busy with other things can make a test fail once.
        if _fails(item, after) and _fails(item, after):
            voice.ends(Outcome("failed", item.nodeid))
            return
    voice.ends(Outcome(None, note=None if chosen else "no test gets here"))


def _chosen(
    trial: Trial, items: Sequence[pytest.Item]
) -> list[tuple[pytest.Item, float]]:
    """The items of the trial's tests, in its order.

    A test's name may have a value that is changed now, as in `test_a_step[bind]`. Where a name is
    gone, all of the same function that the trial does not name are its own.
    """
    by_name = {item.nodeid: item for item in items}
    named = [(by_name[name], seconds) for name, seconds in trial.tests if name in by_name]
    gone = {name.partition("[")[0]: seconds for name, seconds in trial.tests
            if name not in by_name}  # fmt: skip
    names = {name for name, _ in trial.tests}
    instead = [(item, gone[function]) for name, item in by_name.items()
               if name not in names and (function := name.partition("[")[0]) in gone]  # fmt: skip
    return [*instead, *named]


def _fails(item: pytest.Item, after: pytest.Item | None) -> bool:
    """Whether the test fails, its set-up and its cleaning up with it."""
    if hasattr(item, "_request"):
        item._initrequest()  # type: ignore[attr-defined] # as pytest-rerunfailures does
    return any(report.failed for report in runtestprotocol(item, log=False, nextitem=after))

"""Changing a program that runs: the functions of the changed file are given their new code.

All tests are collected once; each mutant is then tried in a fork of this process, which begins
within milliseconds. Only what is inside of functions can be changed so, and only where no
function of the kind was called while modules were imported: what it made then is not made again.
"""

from __future__ import annotations

import gc
import inspect
from collections.abc import Callable, Iterable, Iterator
from types import CodeType, FunctionType

import pytest

from tests.mutation import forks
from tests.mutation.forks import Outcome, Voice
from tests.mutation.mutants import ROOT, Mutant
from tests.mutation.trial import Trial, try_tests

NOT_HERE = "cannot be changed while it runs"

Functions = dict[tuple[str, CodeType], list[FunctionType]]


class TryWhileRunning:
    """A plugin of pytest that tries mutants instead of running the tests that it has collected."""

    def __init__(
        self, trials: Iterable[Trial], jobs: int, ended: Callable[[Trial, Outcome], None]
    ) -> None:
        self._trials, self._jobs, self._ended = trials, jobs, ended

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Try every mutant."""
        functions = all_functions()
        gc.freeze()  # a child that frees what it never uses would copy its memory

        def do(trial: Trial, voice: Voice) -> None:
            if change_running(trial.mutant, functions):
                try_tests(trial, session.items, voice)
            else:
                voice.ends(Outcome(None, note=NOT_HERE))

        forks.run(self._trials, self._jobs, do, self._ended)
        return True


def all_functions() -> Functions:
    """Every function that there is, by its file and its code."""
    out: Functions = {}
    for thing in gc.get_objects():
        if isinstance(thing, FunctionType):
            code = thing.__code__
            out.setdefault((code.co_filename, code), []).append(thing)
    return out


def change_running(mutant: Mutant, functions: Functions) -> bool:
    """Give the running functions of the mutant's file their new code.

    False where that is impossible, and then some may be changed already.
    """
    name = str(ROOT / mutant.path)
    old = compile(mutant.source, name, "exec", dont_inherit=True)
    new = compile(mutant.changed, name, "exec", dont_inherit=True)
    try:
        return _change(name, old, new, functions) > 0
    except ValueError:  # another shape, or other free variables
        return False


def _change(
    name: str, old: CodeType, new: CodeType, functions: Functions, *, inside: bool = False
) -> int:
    """Change what differs in `old`, and return how many functions that were; ValueError.

    `inside` of a function, those to come are made from its own code; but those that it has made
    already are found here.
    """
    count = 0
    for before, after in zip(_codes(old), _codes(new), strict=True):
        if before == after:
            continue
        found = functions.get((name, before), ())
        for function in found:
            function.__code__ = after  # raises ValueError for other free variables
        is_function = bool(before.co_flags & inspect.CO_NEWLOCALS)
        if is_function and not found and not inside:
            raise ValueError
        count += len(found)
        count += _change(name, before, after, functions, inside=inside or is_function)
    return count


def _codes(code: CodeType) -> Iterator[CodeType]:
    return (const for const in code.co_consts if isinstance(const, CodeType))

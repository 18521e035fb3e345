"""Importing a program that was changed: for what is done while modules are imported.

The process that forks here has imported pytest and hypothesis, but nothing of hpcore.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePath
from types import CodeType, ModuleType

import pytest

from tests.mutation import forks, suite
from tests.mutation.forks import Outcome, Voice
from tests.mutation.mutants import ROOT, Mutant
from tests.mutation.trial import Trial, try_tests

COLLECT_SECONDS = 90.0
"""For the import of the program and of the tests."""


class ChangedSource(importlib.machinery.SourceFileLoader):
    """Loads a module as the mutant has it; nothing of it is kept on disk."""

    def __init__(self, name: str, mutant: Mutant) -> None:
        super().__init__(name, str(ROOT / mutant.path))
        self._mutant = mutant

    def get_code(self, fullname: str) -> CodeType:
        """The mutant's code."""
        return compile(self._mutant.changed, self.path, "exec", dont_inherit=True)


class FindChanged(importlib.abc.MetaPathFinder):
    """Finds the module that the mutant changes, and no other."""

    def __init__(self, mutant: Mutant) -> None:
        parts = PurePath(mutant.path).with_suffix("").parts
        self._package = parts[-1] == "__init__"
        self._name = ".".join(parts[:-1] if self._package else parts)
        self._mutant = mutant

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """The changed module's, or None."""
        if fullname != self._name:
            return None
        loader = ChangedSource(fullname, self._mutant)
        return importlib.machinery.ModuleSpec(
            fullname, loader, origin=loader.path, is_package=self._package
        )


class TryOnce:
    """A plugin of pytest that runs a trial's tests of those that it has collected."""

    def __init__(self, trial: Trial, voice: Voice) -> None:
        self._trial, self._voice = trial, voice
        self.said = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run them; a module that can't be imported any more is found by that."""
        if session.testsfailed:
            self._voice.ends(Outcome("failed", "import"))
        else:
            try_tests(self._trial, session.items, self._voice)
        self.said = True
        return True


def run(trials: Iterable[Trial], jobs: int, ended: Callable[[Trial, Outcome], None]) -> None:
    """Try every mutant in a process that imports it."""
    forks.run(trials, jobs, _try, ended)


def _try(trial: Trial, voice: Voice) -> None:
    voice.begins("import", COLLECT_SECONDS)
    sys.meta_path.insert(0, FindChanged(trial.mutant))
    suite.use_few_examples()
    files = sorted({suite.file_of(name) for name, _ in trial.tests})
    if not files:
        voice.ends(Outcome(None, note="no test gets here"))
        return
    plugin = TryOnce(trial, voice)
    pytest.main(suite.arguments(files, "-s"), plugins=[suite.FewExamples(), plugin])
    if not plugin.said:
        voice.ends(Outcome("failed", "import"))

"""Which tests a mutant needs, in the order which finds it soonest."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from tests.mutation.forks import Outcome
from tests.mutation.measure import Measured
from tests.mutation.mutants import Mutant
from tests.mutation.suite import file_of, room_of
from tests.mutation.trial import Trial

LIKELY = 8
"""So many of the tests that have found most in a file come first, if they are no slow ones."""


class Plan:
    """What each mutant is tried by. It learns from what was found."""

    def __init__(self, measured: Measured, budget: float) -> None:
        """`budget` is how many seconds of tests a mutant is worth."""
        self._measured, self._budget = measured, budget
        self._finders: dict[str, Counter[str]] = defaultdict(Counter)

    def trials(self, mutants: Iterable[Mutant], *, afresh: bool) -> Iterator[Trial]:
        """One trial for each; made when it is asked for, so that it knows the most."""
        for mutant in mutants:
            yield Trial(mutant, self._tests(mutant), afresh)

    def learn(self, trial: Trial, outcome: Outcome) -> None:
        """A test that has found one mutant of a file is likely to find the next."""
        if outcome.by:
            self._finders[trial.mutant.path][outcome.by] += 1

    def must_be_imported(self, mutant: Mutant) -> bool:
        """Whether what is changed is run when modules are imported."""
        place = mutant.place
        return place.function is None or (
            not place.in_lambda and self._measured.at_import(mutant.path, place.function)
        )

    def _tests(self, mutant: Mutant) -> tuple[tuple[str, float], ...]:
        """Those which are likely to find it, those which run the lines, and the others; each the
        cheapest first, and all up to the budget.

        The others are those that run any line of the file: what a line has made may be kept, and
        used by tests which do not run that line again. For lines that are run at import there are
        the tests of the file's room as well, and those that stand beside one of the others: what
        is made at import, a table say, is read by tests that run no line of the file.
        """
        path, seconds = mutant.path, self._measured.seconds
        direct: set[str] = set()
        if mutant.place.function is not None:
            direct = self._measured.tests_of(path, mutant.place.lines)
        others = self._measured.tests_of(path, (1, mutant.source.count("\n") + 1))
        if mutant.place.function is None:
            beside = {file_of(test) for test in others}
            others |= {test for test in seconds
                       if room_of(test) == room_of(path) or file_of(test) in beside}  # fmt: skip
        wanted = direct | others
        found_most = (test for test, _ in self._finders[path].most_common() if test in wanted)
        likely = [test for test in found_most if seconds[test] <= self._budget / 20][:LIKELY]
        in_order = dict.fromkeys(
            [*likely, *sorted(direct, key=seconds.__getitem__),
             *sorted(others, key=seconds.__getitem__)]
        )  # fmt: skip
        out: list[tuple[str, float]] = []
        sum_of_seconds = 0.0
        for test in in_order:
            if out and sum_of_seconds + seconds[test] > self._budget:
                continue
            sum_of_seconds += seconds[test]
            out.append((test, seconds[test]))
        return tuple(out)

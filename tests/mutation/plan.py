"""Which tests a mutant needs, in the order which finds it soonest."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from tests.mutation.forks import Outcome
from tests.mutation.measure import Measured
from tests.mutation.mutants import Mutant
from tests.mutation.suite import room_of
from tests.mutation.trial import Trial

LIKELY = 8
"""So many of the tests that have found most in a file come first."""


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
        """The cheapest first, after those which are likely to find it; up to the budget."""
        wanted = self._wanted(mutant)
        likely = [t for t, _ in self._finders[mutant.path].most_common() if t in wanted][:LIKELY]
        seconds = self._measured.seconds
        cheap = sorted(wanted.difference(likely), key=lambda test: seconds[test])
        out: list[tuple[str, float]] = []
        sum_of_seconds = 0.0
        for test in (*likely, *cheap):
            sum_of_seconds += seconds[test]
            if sum_of_seconds > self._budget and out:
                break
            out.append((test, seconds[test]))
        return tuple(out)

    def _wanted(self, mutant: Mutant) -> set[str]:
        """The tests that run the changed lines.

        For a line that is run at import those that run any line of the file, and those of its room.
        """
        path = mutant.path
        if mutant.place.function is not None:
            return self._measured.tests_of(path, mutant.place.lines)
        whole = self._measured.tests_of(path, (1, mutant.source.count("\n") + 1))
        return whole | {t for t in self._measured.seconds if room_of(t) == room_of(path)}

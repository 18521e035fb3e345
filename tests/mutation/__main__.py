"""`python -m tests.mutation`: change the program a little, many times, and run its tests."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePath

import click
import pytest

from tests.mutation import afresh, suite
from tests.mutation.forks import Outcome
from tests.mutation.known import KnownError, KnownList, read_known
from tests.mutation.measure import Measured, MeasureFailed, measured
from tests.mutation.mutants import ROOT, Mutant, all_mutants, sample, subjects
from tests.mutation.plan import Plan
from tests.mutation.report import Report, Tried
from tests.mutation.running import NOT_HERE, TryWhileRunning
from tests.mutation.trial import Trial

RESULT = ROOT / "build" / "mutation" / "result.json"


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 96})
@click.argument("files", nargs=-1)
@click.option("--seed", default=1, show_default=True, help="Chooses the sample.")
@click.option("--sample", "size", default=400, show_default=True, type=click.IntRange(min=0),
              help="How many mutants are tried; 0 for all.")  # fmt: skip
@click.option("--jobs", default=os.cpu_count() or 1, show_default=True,
              type=click.IntRange(min=1), help="How many are tried at a time.")  # fmt: skip
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True),
              help="Begin no other mutant after so long.")  # fmt: skip
@click.option("--budget", default=150.0, show_default=True, type=click.FloatRange(min=0),
              help="Seconds of tests that a mutant is worth.")  # fmt: skip
@click.option("--known", "known_ones", is_flag=True,
              help="Try the known survivors alone: are they survivors still?")  # fmt: skip
@click.option("--again", is_flag=True,
              help="Try those alone that survived in the last run, as --json has it.")
@click.option("--json", "result", default=RESULT, type=click.Path(path_type=Path, dir_okay=False),
              help="Where the result is written.  [default: build/mutation/result.json]")
def main(files: tuple[str, ...], seed: int, size: int, jobs: int, minutes: float | None,
         budget: float, known_ones: bool, again: bool, result: Path) -> None:  # fmt: skip
    """Try a sample of the mutants of FILES; of all that is looked at, where none is named.

    FILES are files or directories, such as hpcore/log or hpcore/run/gate.py. The exit code is 1
    where fewer than 97 % are found of those that are not known to be equivalent.
    """
    began = time.monotonic()
    suite.at_home()
    try:
        paths, known = _paths(files), read_known()
        mutants = all_mutants(paths)
        if known_ones or again:
            chosen = [m for m in mutants if known.of(m)] if known_ones else mutants
            chosen = _survivors_in(result, chosen) if again else chosen
        else:
            chosen = sample(mutants, seed, size)
        run = _Run(Plan(tests := measured(jobs), budget), known, jobs, minutes, len(chosen))
    except (KnownError, MeasureFailed, click.UsageError) as error:
        print(f"mutation: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    try:
        run.all_of(chosen, tests)
    except KeyboardInterrupt:
        print("interrupted; what was tried until now:")
    made = {path: sum(m.path == path for m in mutants) for path in paths}
    report = Report(seed, made, run.tried, known.without_mutant(mutants, paths),
                    time.monotonic() - began)  # fmt: skip
    print("", *report.lines(), sep="\n")
    result.parent.mkdir(parents=True, exist_ok=True)
    result.write_text(json.dumps(report.as_json(), indent=1) + "\n")
    raise SystemExit(0 if report.passed else 1)


def _survivors_in(result: Path, mutants: Iterable[Mutant]) -> list[Mutant]:
    """Those of `mutants` that survived in a run whose result was kept."""
    try:
        kept = json.loads(result.read_bytes())["survivors"]
    except (OSError, ValueError) as error:
        raise click.UsageError(f"{result} has no survivors to try again: {error}") from None
    names = {(one["file"], one["operator"], one["before"], one["after"]) for one in kept}
    return [m for m in mutants if (m.path, m.operator, m.before, m.after) in names]


def _paths(names: Sequence[str]) -> list[str]:
    everything = subjects()
    if not names:
        return everything
    out: set[str] = set()
    for name in names:
        wanted = PurePath(name)
        found = {p for p in everything if wanted == PurePath(p) or wanted in PurePath(p).parents}
        if not found:
            raise click.UsageError(f"nothing in {name} is changed; there is {everything[0]}, ...")
        out |= found
    return sorted(out)


class _Run:
    """The mutants that were tried until now, and what is left of the time."""

    def __init__(
        self, plan: Plan, known: KnownList, jobs: int, minutes: float | None, count: int
    ) -> None:
        self.tried: list[Tried] = []
        self._plan, self._known, self._jobs, self._count = plan, known, jobs, count
        self._until = time.monotonic() + 60 * minutes if minutes else float("inf")
        self._again: list[Mutant] = []

    def all_of(self, mutants: Sequence[Mutant], tests: Measured) -> None:
        """Try them: those first that can be changed while the program runs.

        That is done in a child, because this process must not import hpcore.
        """
        imported = [m for m in mutants if self._plan.must_be_imported(m)]
        running = [m for m in mutants if not self._plan.must_be_imported(m)]
        files = sorted({suite.file_of(name) for name in tests.seconds})
        if running:
            self._while_running(running, files)
        afresh.run(self._trials(imported, afresh=True), self._jobs, self._imported_ended)
        afresh.run(self._trials(self._again, afresh=True), self._jobs, self._imported_ended)

    def _trials(self, mutants: Iterable[Mutant], *, afresh: bool) -> Iterator[Trial]:
        for trial in self._plan.trials(mutants, afresh=afresh):
            if time.monotonic() > self._until:
                return
            yield trial

    def _while_running(self, mutants: list[Mutant], files: list[str]) -> None:
        """Have a child try them, and take what it tells line by line."""
        ours, theirs = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.close(ours)
                self._host(mutants, files, theirs)
            finally:
                os._exit(0)
        os.close(theirs)
        with open(ours) as told:  # noqa: PTH123
            for line in told:
                n, how, by, note = json.loads(line)
                self._running_ended(mutants[n], Outcome(how, by, note))
        os.waitpid(pid, 0)

    def _host(self, mutants: list[Mutant], files: list[str], pipe: int) -> None:
        numbers = {id(mutant): n for n, mutant in enumerate(mutants)}

        def ended(trial: Trial, outcome: Outcome) -> None:
            self._plan.learn(trial, outcome)
            told = [numbers[id(trial.mutant)], outcome.how, outcome.by, outcome.note]
            os.write(pipe, json.dumps(told).encode() + b"\n")

        suite.use_few_examples()
        plugin = TryWhileRunning(self._trials(mutants, afresh=False), self._jobs, ended)
        pytest.main(suite.arguments(files, "-s"), plugins=[suite.FewExamples(), plugin])

    def _running_ended(self, mutant: Mutant, outcome: Outcome) -> None:
        """A lambda may have been called at import; a survivor in one is tried once more."""
        if outcome.note == NOT_HERE or (mutant.place.in_lambda and not outcome.found):
            self._again.append(mutant)
        else:
            self._take(mutant, outcome)

    def _imported_ended(self, trial: Trial, outcome: Outcome) -> None:
        self._plan.learn(trial, outcome)
        self._take(trial.mutant, outcome)

    def _take(self, mutant: Mutant, outcome: Outcome) -> None:
        self.tried.append(Tried(mutant, outcome, self._known.of(mutant)))
        if not outcome.found:
            print(f"{mutant.path}:{mutant.line}: {mutant.operator}: survives\n{mutant.diff}")
        if len(self.tried) % 50 == 0:
            left = sum(not tried.outcome.found for tried in self.tried)
            print(f"... {len(self.tried)} of {self._count} tried, {left} survive", flush=True)


if __name__ == "__main__":
    main()

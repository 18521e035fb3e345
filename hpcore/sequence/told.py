"""A finding as a log, which `hpcore replay` explains."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hpcore.check.evidence import write_log
from hpcore.check.result import Counterexample
from hpcore.check.tabulated.start import Start
from hpcore.model.revision import Revision
from hpcore.model.states import initial
from hpcore.model.stimuli import Note, Stimulus
from hpcore.sequence.values import Finding, Question
from hpcore.sequence.words import headline


def stimuli_of(finding: Finding) -> Iterator[Stimulus]:
    """All that reaches the core, with a note where a step begins, as a run's log has it."""
    for happening in finding.way:
        if happening.begins is not None:
            yield Note(f"step {happening.begins.number}: {happening.begins.text}")
        elif happening.stimulus is None:
            yield Note(happening.says)
        if happening.stimulus is not None:
            yield happening.stimulus


def log_of(
    path: Path,
    finding: Finding,
    question: Question,
    rules: str,
    *,
    overwrite: bool = False,
    protocol: Revision | None = None,
) -> int:
    """Write the way to `finding` as a log; returns the number of events. Raises LogError."""
    found = Counterexample(
        finding.broken or str(finding.kind), finding.slot or 0, finding.why,
        tuple(stimuli_of(finding)), Start(initial(question.scenario.machine)),
    )  # fmt: skip
    return write_log(
        path, found, question.rules, rules, overwrite=overwrite,
        properties=question.properties, last_words=f"{headline(finding)}. The search ends here",
        protocol=protocol,
    )  # fmt: skip

"""A finding as people read it."""

from __future__ import annotations

from collections.abc import Iterator

from hpcore.check.world.words import say
from hpcore.scenario.values import Line
from hpcore.sequence.values import Finding, FindingKind, Happening


def headline(finding: Finding) -> str:
    """What is wrong, and where, in a line."""
    where = "at the end" if finding.line is None else step_of(finding.line)
    match finding.kind:
        case FindingKind.BROKEN:
            whose = "" if finding.slot is None else f" for vCPU {finding.slot}"
            return f"{where}: {finding.broken} is broken{whose}: {finding.why}"
        case FindingKind.EXPECT:
            return f"{where} need not come true: {finding.why}"
        case FindingKind.NEVER:
            return f"{where}: {finding.why}"
    return f"{where} can fail: {finding.why}"


def step_of(line: Line) -> str:
    """A step by its number and words, and where it stands."""
    at = "" if line.at is None else f" (line {line.at})"
    return f"step {line.number}, `{line.text}`{at},".removesuffix(",")


def way_of(finding: Finding) -> Iterator[str]:
    """The way there, one happening after the other."""
    for happening in finding.way:
        yield _said(happening)


def _said(happening: Happening) -> str:
    said = say(happening.stimulus) if happening.stimulus is not None else happening.says
    if happening.fault:
        said += " (a fault)"
    if happening.begins is None:
        return said
    step = f"step {happening.begins.number}: {happening.begins.text}"
    return step if happening.stimulus is None else f"{step}: {said}"

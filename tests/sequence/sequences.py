"""Sequences that the tests take, and questions about them."""

from __future__ import annotations

from typing import Any

from hpcore.scenario import Scenario, parse
from hpcore.sequence import Answer, Question, check


def scenario(steps: str, machine: str = "cpus: 1, maxcpus: 2", guest: str = "") -> Scenario:
    """A scenario from its steps, as a YAML list in one line or several."""
    return parse(f"machine: {{{machine}}}\nguest: {{{guest}}}\nsteps: {steps}\n", "mine")


def asked(
    steps: str, machine: str = "cpus: 1, maxcpus: 2", guest: str = "", **options: Any
) -> Answer:
    """What a check of these steps finds."""
    return check(Question.of(scenario(steps, machine, guest), **options))


def whys(answer: Answer) -> list[tuple[str, int, str]]:
    """Kind, step and reason of each finding."""
    return [(str(f.kind), f.line.number if f.line else 0, f.why) for f in answer.findings]


PLUG = "{plug: {id: a, core-id: 1}}"
PLUG_ON = "{plug: {id: a, core-id: 1}, waits: false}"
UNPLUG_ON = "{unplug: a, waits: false}"

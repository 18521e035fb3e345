"""What was done on a machine, as the steps of a scenario that does the same again.

A step that failed is written with the `fails` that it failed with, so that the scenario runs
through. One that nobody waited for to its end is written so.
"""

from __future__ import annotations

import attrs

from hpcore.scenario import values as sc
from hpcore.scenario.play import StepResult

_CHANGES_NOTHING = (sc.ExpectStep, sc.SettleStep, sc.WaitStep)
_LEFT_OUT = (*_CHANGES_NOTHING, sc.ShellStep, sc.RebootedStep)
"""Steps without meaning where their end was not waited for: a line that was cut short is no
line that anybody typed, and the others do nothing but wait."""


def retold(
    line: sc.Line, results: list[StepResult], interrupted: sc.Line | None = None
) -> tuple[sc.Line, ...]:
    """`line` as it went: `results` are those of the steps in it that came to their end.

    `interrupted` is the step in it that did not. A `repeat` that did not come to its end is
    written out step by step.
    """
    if interrupted is None and all(result.error is None for result in results):
        return (line,)
    done = [one for result in results if (one := _done(result)) is not None]
    if interrupted is not None and (begun := _begun(interrupted)) is not None:
        done.append(begun)
    return tuple(done)


def _done(result: StepResult) -> sc.Line | None:
    line = result.line
    if result.error is None:
        return line
    if result.failure is not None and isinstance(line.step, _CHANGES_NOTHING):
        return None  # it did not come true, and nothing came of it
    return attrs.evolve(line, fails=None if result.failure is None else _piece(result.failure))


def _piece(message: str) -> str:
    """So much of a message as it has again next time: behind that it may quote the guest."""
    return message.partition("\n")[0].partition("; ")[0]


def _begun(line: sc.Line) -> sc.Line | None:
    if isinstance(line.step, _LEFT_OUT):
        return None
    waits = line.waits and not isinstance(line.step, sc.MAY_NOT_WAIT)
    return attrs.evolve(line, fails=None, waits=waits)

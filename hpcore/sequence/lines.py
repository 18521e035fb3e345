"""The lines of a scenario as a search takes them: repeats written out, and none that it can't."""

from __future__ import annotations

from collections.abc import Iterator

from hpcore.guest.played.hostile import Call
from hpcore.scenario import values as sc
from hpcore.sequence.values import MOST_LINES, SequenceRefused


def lines_of(scenario: sc.Scenario) -> tuple[sc.Line, ...]:
    """Every step in its order. Raises SequenceRefused for what cannot be checked."""
    taken = sc.steps_taken(scenario.steps)
    if taken > MOST_LINES:
        raise SequenceRefused(
            f"{scenario.name}: with every repeat these are {taken:,} steps; {MOST_LINES:,} can be "
            "checked. Once round is as good as many: lower times"
        )
    lines = tuple(_written_out(scenario.steps))
    for line in lines:
        if (why := _unfit(line)) is not None:
            where = f"step {line.number}" if line.at is None else f"line {line.at}"
            raise SequenceRefused(f"{scenario.name}, {where}, `{line.text}`: {why}")
    return lines


def _written_out(lines: tuple[sc.Line, ...]) -> Iterator[sc.Line]:
    for line in lines:
        if isinstance(line.step, sc.RepeatStep):
            for _ in range(line.step.times):
                yield from _written_out(line.step.steps)
        else:
            yield line


def _unfit(line: sc.Line) -> str | None:
    match line.step:
        case sc.CallStep(call=Call.WRITE):
            return (
                "a check knows no registers; say what the guest does by ost, eject, cpu_on, cpu_off"
            )
        case sc.ScaleStep(undo=True) if line.fails is not None:
            return "a check does not follow what undo takes back; write the plugs and unplugs out"
    return None

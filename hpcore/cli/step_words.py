"""How steps went, in words for people and in fields for programs."""

from __future__ import annotations

from pathlib import Path

from hpcore.cli.output import Output
from hpcore.run.scale_plan import Scaled
from hpcore.scenario.play import StepResult
from hpcore.scenario.runner import Outcome
from hpcore.scenario.values import Line


def say_step(out: Output, result: StepResult) -> None:
    """A line for people on a step that has ended."""
    line, well = result.line, result.error is None
    how = ": refused, as it should be" if line.fails and well else ""
    if result.scaled is not None and well and not line.fails:
        how = f": {result.scaled}"
    mark = "ok  " if well else "FAIL"
    out.say(
        f"{mark} {line.number:>3}  {result.seconds:7.2f} s  {line.text}{how}",
        style=None if well else "bold red",
    )


def say_kept(out: Output, log: Path, *, kept: bool) -> None:
    """Say how a machine is had again that goes on; nothing of one that does not."""
    if kept:
        out.say(f"the machine goes on: `hpcore attach {log}`, or `hpcore attach {log} --end`")


def fields_of(outcome: Outcome) -> dict[str, object]:
    """What the closing object says of a machine that was left."""
    failed = next((r for r in outcome.results if r.error is not None), None)
    return {
        "events": outcome.events,
        "kept": outcome.kept,
        "slots": outcome.slots,
        "steps": len(outcome.results),
        "failed": None if failed is None else {"step": failed.line.text, "error": failed.error},
        "error": None if failed is None else failed.error,
        "scaled": [_scaled(r.line, r.scaled) for r in outcome.results if r.scaled is not None],
        "latencies_ms": {
            k: [round(s * 1000, 2) for s in v] for k, v in outcome.latencies.named.items()
        },
    }


def _scaled(line: Line, scaled: Scaled) -> dict[str, object]:
    return {
        "step": line.number,
        "to": scaled.to,
        "enabled": scaled.enabled,
        "plugged": scaled.plugged,
        "unplugged": scaled.unplugged,
        "accepted": [str(change) for change in scaled.pending],
        "failed": {str(change): why for change, why in scaled.failed},
        "not_begun": [str(change) for change in scaled.not_begun],
        "taken_back": [str(change) for change in scaled.undone],
        "not_taken_back": {str(change): why for change, why in scaled.not_undone},
    }

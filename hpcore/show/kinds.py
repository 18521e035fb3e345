"""What kind of thing an event is, for who picks some out of a log."""

from __future__ import annotations

from hpcore.model import events as ev
from hpcore.triage.diff import is_guests

KINDS = ("commands", "steps", "guest", "refusals", "failures", "notes")
"""The names of the kinds; an event has the last of these that it fits."""

_COMMANDS = (
    ev.ColdBootBegun, ev.ColdBootDone, ev.PlugAccepted, ev.PlugCompleted, ev.UnplugAccepted,
    ev.UnplugRepeated, ev.UnplugCompleted, ev.TakenByForce,
)  # fmt: skip
_FAILURES = (
    ev.StepFailed, ev.MachineStepFailed, ev.PlugFailed, ev.UnplugFailed, ev.MachineLost,
    ev.EjectUnconfirmed,
)  # fmt: skip
_REFUSALS = (ev.Refused, ev.EjectRefused, ev.CpuOnDenied)
_GUESTS = (ev.ScanBegun, ev.ScanFinished)


def kind_of(event: ev.Event) -> str:
    """The kind of `event`, one of KINDS."""
    if isinstance(event, ev.Noted):
        return "notes"
    if isinstance(event, _FAILURES):
        return "failures"
    if isinstance(event, _REFUSALS):
        return "refusals"
    if isinstance(event, _GUESTS) or is_guests(event):
        return "guest"
    return "commands" if isinstance(event, _COMMANDS) else "steps"

"""Why a run cannot go on."""

from __future__ import annotations

from hpcore.errors import HpcoreError
from hpcore.model.events import Event, Refused
from hpcore.model.properties import Violation


class RunError(HpcoreError):
    """A run cannot go on. The text says why."""


class CommandRefused(RunError):
    """A command was refused; `event` has the guard's name."""

    def __init__(self, event: Refused) -> None:
        super().__init__(event.message)
        self.event = event


class ProtocolBroken(RunError):
    """A promise of the protocol does not hold. The machine was stopped.

    By hpcore's own rules that is a fault of hpcore itself; by others, what they were run for.
    """

    def __init__(self, violation: Violation, event: Event) -> None:
        super().__init__(
            f"invariant {violation.invariant} is broken for vCPU {violation.slot} by {event}: "
            f"{violation.says} By hpcore's own rules this is a fault of hpcore; the log shows it"
        )
        self.violation = violation

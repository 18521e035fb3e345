"""What the monitor reports, as the core's stimuli. Numbers pass as they are: the core judges."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from hpcore.model.stimuli import (
    CpuOffSeen,
    CpuOnCalled,
    EjectCalled,
    GuestCall,
    InsertAcked,
    OstReported,
    RemoveAcked,
    ScanEnded,
    ScanStarted,
)
from hpcore_tcg import protocol
from hpcore_tcg.protocol import Event, Frame

log = structlog.get_logger(__name__)

_STIMULUS: dict[int, Callable[[Frame], GuestCall]] = {
    Event.CPU_ON: lambda f: CpuOnCalled(
        f["slot"], f["caller"], f["entry"], f["context"], verdict=bool(f["granted"])
    ),
    Event.CPU_OFF: lambda f: CpuOffSeen(f["slot"]),
    Event.SCAN_STARTED: lambda f: ScanStarted(),
    Event.SCAN_ENDED: lambda f: ScanEnded(),
    Event.INSERT_ACKED: lambda f: InsertAcked(f["slot"]),
    Event.REMOVE_ACKED: lambda f: RemoveAcked(f["slot"]),
    Event.OST: lambda f: OstReported(f["slot"], f["source"], f["status"]),
    Event.EJECT: lambda f: EjectCalled(f["slot"]),
}


class Interpreter:
    """Turns frames into stimuli, and counts those that are none."""

    def __init__(self) -> None:
        self.strays = 0

    def stimulus(self, frame: Frame) -> GuestCall | None:
        """The stimulus that `frame` is, or None for one that only a diagnostic is due for.

        Those are records that no AML of ours writes: the guest has scribbled in the page.
        It can do so all day, so the 1st, 2nd, 4th, 8th ... of them is told.
        """
        make = _STIMULUS.get(frame.kind)
        if make is not None:
            return make(frame)
        self.strays += 1
        if self.strays & (self.strays - 1) == 0:
            log.warning(
                "the guest wrote nonsense into the hotplug page", total=self.strays, **frame.fields
            )
        return None


def loss(frame: Frame) -> str | None:
    """Why the machine is lost, if `frame` says that it is."""
    if frame.kind == Event.HELLO and frame["version"] != protocol.VERSION:
        return (
            f"the EL3 monitor speaks version {frame['version']} of the link, not "
            f"{protocol.VERSION}"
        )
    if frame.kind == Event.GARBLED:
        return "the link is damaged: the EL3 monitor could not read a request"
    if frame.kind == Event.FAULT:
        return (
            f"the EL3 monitor took an exception at {frame['elr']:#x} (ESR_EL3 "
            f"{frame['esr']:#x}); this is a bug in it"
        )
    return None

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


def stimulus_of(frame: Frame) -> GuestCall | None:
    """The stimulus that `frame` is, or None for one that only a diagnostic is due for.

    Those are records that no AML of ours writes: the guest has scribbled in the page. It
    can do so all day, so they are told at debug level.
    """
    make = _STIMULUS.get(frame.kind)
    if make is None:
        log.debug("the guest wrote nonsense into the hotplug page", **frame.fields)
        return None
    return make(frame)

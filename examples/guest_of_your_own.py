"""Check the protocol against a guest of your own.

    python examples/guest_of_your_own.py
    hpcore check --slots 3 --guest examples/guest_of_your_own.py:Deaf

This guest takes a device check and answers it, but never looks at an eject request: a
kernel in early boot, or one that lost the event. With it a `device_del` never ends by the
guest's hand; what ends it is the deadline, or force.
"""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

import hpcore
from hpcore.model.acpi import OstSource, OstStatus

st = hpcore.stimuli


@frozen
class Deaf:
    """Registers what is plugged, and ignores every eject request."""

    name: str = "deaf"
    reads_registered: bool = True
    leaves_out: frozenset[str] = frozenset({"the_guest_ejects", "cpu_on_is_denied"})

    def calls(
        self, index: int, slot: hpcore.Slot, shared: hpcore.Shared
    ) -> Iterator[hpcore.Stimulus]:
        """What it may do about one vCPU: take the device check, answer it, start the vCPU."""
        if not shared.guest_runs:
            return
        if shared.scanning and slot.insert:
            yield st.InsertAcked(index)
        if slot.enabled and not (slot.cold or slot.insert or slot.registered):
            yield st.OstReported(index, OstSource.DEVICE_CHECK, OstStatus.SUCCESS)
        if slot.registered and not slot.powered:
            yield st.CpuOnCalled(index)

    def machine_calls(self, shared: hpcore.Shared) -> Iterator[hpcore.Stimulus]:
        """What it may do about no single vCPU: read the event bits when it is told to."""
        if not shared.guest_runs:
            return
        if shared.scanning:
            yield st.ScanEnded()
        elif shared.ged:
            yield st.ScanStarted()


the_guest_ejects = hpcore.sometimes(
    "a_guest_ejects", "A guest gives a vCPU back.",
    lambda event: isinstance(event, hpcore.events.EjectAccepted),
)  # fmt: skip


def main() -> None:
    """Prove hpcore's own properties with this guest, then ask whether it ever ejects."""
    environment = hpcore.Environment(
        slots=3, faults=0, reset=False, migration=False, guest=Deaf()
    )
    result = hpcore.prove(environment)
    print(f"with a deaf guest: {'proven' if result.proven else 'broken'}, {result.states} states")
    asked = hpcore.prove(environment, properties=(*hpcore.PROPERTIES, the_guest_ejects))
    print(f"it never happens: {', '.join(asked.missing) or 'nothing'}")


if __name__ == "__main__":
    main()

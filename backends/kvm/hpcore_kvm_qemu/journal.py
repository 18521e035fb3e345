"""What hpcore has done, in the policy page, for an hpcore that comes back.

The log has a machine's state, and how many reports have led to it: `heard`. The page has the
interposer's last messages. Between the two stands the journal, in hpcore's own part of the page:

- of each message that was done: how many reports there had been by then, and the guest's
  cursor in the registers, which is in no state of the model;
- of each vCPU, and of the machine: which step was done last, and behind which message.

So who comes back knows behind which message the log's state is, which messages are still to be
taken in, and where between them a step was done whose end no log has. A word is written before
what it says is done: at a death in between, it is done by who comes back.
"""

from __future__ import annotations

from attrs import frozen

from hpcore.model.effects import MachineStep, Step
from hpcore.platform.hotplug_device import Cursor
from hpcore.qemu.errors import QemuError
from hpcore_kvm_qemu import wire
from hpcore_kvm_qemu.again import Again
from hpcore_kvm_qemu.page import PolicyPage

MACHINE = wire.VCPUS
"""The machine's own place among the steps, behind those of all vCPUs."""

STEPS: tuple[Step | MachineStep, ...] = (*Step, *MachineStep)
_STEP_BITS = 8
_POWER = 1 << 8

LOST = (
    "the guest has said more than the {} messages that the policy page remembers, so it is not "
    "known any more what it did. The machine runs on as it is, and no vCPU is granted; it can "
    "only be ended, by `kill {}`"
)


@frozen
class Beginning:
    """Where who comes back begins: behind message `number`, at the guest's `cursor`.

    `reports` and `resets` had been heard by then. The first `logged` reports of what follows are
    in the log.
    """

    number: int
    reports: int
    resets: int
    cursor: Cursor
    logged: int


FIRST = Beginning(0, 0, 0, Cursor(), 0)
"""Of a machine that is made."""


class Journal:
    """The journal of one machine, as this hpcore writes it on."""

    def __init__(self, page: PolicyPage, begins: Beginning = FIRST) -> None:
        self._page = page
        self.number = begins.number
        """Messages that were heard."""
        self.reports = begins.reports
        """What these had to report."""

    def next(self) -> None:
        """The next message is heard."""
        self.number += 1

    def done(self, resets: int, cursor: Cursor) -> None:
        """The message is done."""
        rest = cursor.command | (_POWER if cursor.power else 0)
        self._page.write_note(wire.Note(
            self.number, self.reports, resets, cursor.selector, cursor.source, rest
        ))  # fmt: skip

    def step(self, step: Step | MachineStep, slot: int = MACHINE) -> None:
        """`step` is done now, behind the message that was heard last."""
        self._page.write_did(slot, self.number << _STEP_BITS | STEPS.index(step) + 1)


def did(page: PolicyPage, step: Step | MachineStep, slot: int = MACHINE) -> int | None:
    """The message behind which `step` was done; None where another one was done last."""
    number, which = divmod(page.did(slot), 1 << _STEP_BITS)
    return number if which == STEPS.index(step) + 1 else None


def beginning(again: Again, logged: int, pid: int) -> Beginning:
    """Where to begin, with a log that has `logged` reports.

    Raises QemuError where the page does not remember enough.
    """
    page, told = again.page, again.told
    last = min(told, again.asked - 1) if again.asked else told
    for number in range(last, max(told - wire.TOLD, 0), -1):
        found = page.note(number)
        if found is not None and found.reports <= logged:
            if any(missing not in again.missed for missing in range(number + 1, told + 1)):
                break
            cursor = Cursor(
                found.selector, found.rest & _POWER - 1, found.source, bool(found.rest & _POWER)
            )
            return Beginning(
                number, found.reports, found.resets, cursor, logged - found.reports
            )
    raise QemuError(LOST.format(wire.TOLD, pid))

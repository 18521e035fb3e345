"""What a scenario asks of a guest, whether Linux runs or is played."""

from __future__ import annotations

from typing import Protocol

from attrs import frozen


@frozen
class Masks:
    """The guest's sets of CPUs, as /sys/devices/system/cpu gives them.

    `enabled` is None on kernels before 6.11, which have no such file.
    """

    possible: frozenset[int]
    present: frozenset[int]
    enabled: frozenset[int] | None
    online: frozenset[int]
    offline: frozenset[int]


class Guest(Protocol):
    """A guest in the hands of a scenario. Every method raises GuestError with the guest's
    own reason where it can't or won't."""

    @property
    def times_ready(self) -> int:
        """How often it was found to have booted, or to have started its shell anew.

        Where the number has grown since a reset, the guest is there again.
        """

    async def wait_ready(self, within: float, since: int | None = None) -> None:
        """Wait up to `within` seconds until the guest has booted.

        `since` is what `times_ready` was before the reset whose boot is meant, in case that
        another task meets the guest's shell first.
        """

    async def masks(self) -> Masks:
        """The guest's own view of its CPUs."""

    async def online(self, cpu: int) -> None:
        """Bring `cpu` up."""

    async def offline(self, cpu: int) -> None:
        """Take `cpu` down."""

    async def run(self, line: str) -> str | None:
        """Run a shell line and return what it printed; it must exit 0.

        None where the guest is played and there is no shell: the line counts as run.
        """

    async def reboot(self, within: float) -> None:
        """Have the guest reset the machine, and wait until it has booted again."""

    async def begin_reboot(self) -> None:
        """Have the guest reset the machine; returns once it has been told to."""

    async def power_off(self) -> None:
        """Have the guest power the machine off; returns once it has been told to."""

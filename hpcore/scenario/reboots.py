"""The guest's own resets, as a scenario's steps know of them.

A reset may come while another step runs, or between two. So resets are counted, and a step
that waited for one, or made one itself, knows of all up to its end.
"""

from __future__ import annotations

from hpcore.model import events as ev
from hpcore.model.effects import MachineStep
from hpcore.model.machines import Phase
from hpcore.model.states import State
from hpcore.run.errors import RunError
from hpcore.run.machine import LiveMachine


class Reboots:
    """Counts the resets of `machine` that its guest made, or its kernel's panic."""

    def __init__(self, machine: LiveMachine) -> None:
        self._m = machine
        self._seen = self._known = 0
        self._ready_before = 0
        machine.subscribe(self._follow)

    def all_known(self) -> None:
        """Whatever happened until now is no news."""
        self._known = self._seen

    async def another(self) -> None:
        """Wait for a reset that is news, and until the guest has booted after it.

        Raises RunError where none comes, GuestError where the guest does not boot.
        """
        await self._m.until(lambda _s: self._seen > self._known, "the guest's own reset")
        await self._m.until(lambda s: s.shared.phase is Phase.RUNNING, "the restart")
        if self._times_ready() == self._ready_before:  # else a step has met its shell since
            await self._m.guest_ready()
        self.all_known()

    def _follow(self, event: ev.Event, state: State) -> None:
        if isinstance(event, ev.MachineWasReset):
            self._ready_before = self._times_ready()
            if state.shared.step is not MachineStep.RESET:  # which the user asked for
                self._seen += 1

    def _times_ready(self) -> int:
        try:
            return self._m.guest.times_ready
        except RunError:  # it has no guest, and nothing to be ready
            return 0

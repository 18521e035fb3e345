"""Watching a machine's console, and giving the machine up where its guest is of no use."""

from __future__ import annotations

from collections.abc import Callable

from hpcore.guest.panics import advice
from hpcore.guest.watch import WatchedConsole
from hpcore.model import events as ev
from hpcore.model import stimuli
from hpcore.model.effects import MachineStep
from hpcore.model.machines import Phase
from hpcore.model.states import State
from hpcore.run.controller import Controller

PANICS = 2
"""Boots in a row that panic before the machine is given up. One may be what is tried out."""

RESETS = 5
"""Times that a guest resets itself, its shell never there, before the machine is given up."""

LAST_WORDS_SECONDS = 1.0
"""For the end of what the guest printed, once the machine has ended."""

Printed = Callable[[bytes], None]
"""Told what the guest prints, as it prints it. It must not block."""


class ConsoleWatch:
    """The console of a machine, from when there is one; told every event of the machine.

    A machine whose guest is played has no console, and nothing is watched then.
    """

    def __init__(self, controller: Controller, printed: Printed) -> None:
        self.console: WatchedConsole | None = None
        self.shell_awaited = False
        """Whether someone counts on the guest's shell, so that resets without one are in vain."""
        self._c, self._printed = controller, printed

    def follow(self, event: ev.Event, state: State) -> None:
        """Take note of an event of this machine's, and of the state after it."""
        match event:
            case ev.MachineStepDone(step=MachineStep.CREATE_VCPUS) | ev.Restored():
                self.begin()
            case ev.MachineWasReset() if self.console is not None:
                # a reset that the user asked for is still under way as a step
                by_guest = state.shared.step is not MachineStep.RESET
                self._was_reset(self.console, by_guest)

    def attached(self, printed_before: bytes) -> None:
        """The machine was taken up again. What had been printed is told, and no panic in it."""
        if printed_before:
            self._printed(printed_before)
        if self._c.state.shared.phase is not Phase.DEFINED:
            self.begin()

    def begin(self) -> None:
        """Watch the console, if there is one by now, and none is watched."""
        if self.console is None and (console := self._c.session.console) is not None:
            self.console = WatchedConsole(console, self._printed, self._panicked, self._c.fail)

    async def ended(self) -> None:
        """Wait until all that the guest printed has been read, once the machine has ended."""
        if self.console is not None:
            await self.console.ended(LAST_WORDS_SECONDS)

    def _was_reset(self, console: WatchedConsole, by_guest: bool) -> None:
        console.panics.reset(by_guest=by_guest)
        if self.shell_awaited and (times := console.panics.resets) >= RESETS:
            self._give_up(f"the guest reset itself {times} times, and its shell was never there")

    def _panicked(self, words: str) -> None:
        assert self.console is not None, "it has just said so"
        self._c.post(stimuli.Note(f"the guest panicked: {words}"))
        if (times := self.console.panics.in_a_row) >= PANICS:
            more = advice(words)
            self._give_up(f"the guest panicked in {times} boots in a row: {words}{more}")

    def _give_up(self, why: str) -> None:
        assert self.console is not None, "that is where it was seen"
        self.console.give_up(why)
        self._c.give_up(why)

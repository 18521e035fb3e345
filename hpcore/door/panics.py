"""Panics of the guest: each is named, and a guest that panics at every boot is ended.

It would reboot unseen for ever otherwise.
"""

from __future__ import annotations

import time

import structlog

from hpcore.guest.panics import Panics, advice
from hpcore.model import events as ev
from hpcore.model.effects import MachineStep
from hpcore.model.states import State
from hpcore.run.console import PANICS
from hpcore.run.machine import LiveMachine

BOOT_SECONDS = 300.0
"""A panic is one at boot where the guest has run for less. Under TCG a boot takes a minute."""

_log = structlog.get_logger(__name__)


class PanicWatch:
    """Told what the guest prints, and every event of its machine."""

    def __init__(self, machine: LiveMachine) -> None:
        self._machine = machine
        self._panics = Panics()
        self._began = time.monotonic()
        self._early = False  # whether this boot's panic came soon after its start
        self._in_vain = 0

    def printed(self, data: bytes) -> None:
        """Take what the guest has printed."""
        if not self._panics.feed(data):
            return
        words = self._panics.words
        assert words is not None, "they have just been read"
        _log.error("the guest panicked", words=words)
        self._machine.note(f"the guest panicked: {words}")
        self._early = time.monotonic() - self._began < BOOT_SECONDS

    def follow(self, event: ev.Event, state: State) -> None:
        """Take the next event: a watcher of the machine."""
        match event:
            case ev.MachineWasReset():
                by_guest = state.shared.step is not MachineStep.RESET
                self._was_reset(by_guest=by_guest)
            case ev.MachineStepDone(step=MachineStep.START | MachineStep.RESTART):
                self._began = time.monotonic()

    def _was_reset(self, *, by_guest: bool) -> None:
        """A guest that panics and then resets itself does so for want of a boot."""
        words = self._panics.words
        self._in_vain = self._in_vain + 1 if by_guest and words and self._early else 0
        self._panics.reset(by_guest=by_guest)
        self._early = False
        if words and self._in_vain >= PANICS:
            self._machine.give_up(
                f"the guest panicked in {PANICS} boots in a row: {words}{advice(words)}"
            )

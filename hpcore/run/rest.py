"""Whether a machine has come to rest, and whether it takes a command on the whole of it."""

from __future__ import annotations

from hpcore.guest.played import PlayedGuest
from hpcore.guest.protocol import Guest
from hpcore.model.effects import MachineStep
from hpcore.model.machines import Phase
from hpcore.model.states import Owed, State
from hpcore.run.controller import Controller


def at_rest(controller: Controller, guest: Guest | None) -> bool:
    """Whether a machine with this guest, or none, is at rest: see `LiveMachine.at_rest`."""
    shared, slots = controller.state.shared, controller.state.slots
    if shared.paused:
        return controller.heard_all and shared.step is None
    if not controller.quiet or shared.step is not None:
        return False
    played = guest if isinstance(guest, PlayedGuest) else None
    owed = any(s.command is not Owed.NONE or s.unconfirmed for s in slots)
    if any(s.step for s in slots) or (owed and not (played and played.may_never_answer)):
        return False
    if not shared.guest_runs:
        return True
    if played:  # a hostile one may not end its scan
        return played.at_rest and not shared.ged
    return not shared.ged and not shared.scanning


_OF_THEMSELVES = (
    MachineStep.RESET, MachineStep.RESTART, MachineStep.PAUSE, MachineStep.RESUME,
    MachineStep.CREATE_VCPUS, MachineStep.INIT_GIC, MachineStep.START,
)  # fmt: skip
"""The steps that end soon; a command on the whole machine waits for that."""


def takes_commands(state: State) -> bool:
    """Whether a command on the whole machine has not to wait for what will soon have ended."""
    shared = state.shared
    boots = shared.booting and shared.phase is not Phase.DEFINED
    restarts = shared.phase is Phase.RESETTING and not shared.paused
    return not (boots or restarts or shared.step in _OF_THEMSELVES)

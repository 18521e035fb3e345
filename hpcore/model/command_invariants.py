"""What must hold of commands, and of what is owed because of them: no word is lost.

The numbers are those of the list of orders that must hold.
"""

from __future__ import annotations

from hpcore.model import events as ev
from hpcore.model.effects import MachineStep
from hpcore.model.machine_invariants import MACHINE_STEPS
from hpcore.model.machines import Phase, SlotState
from hpcore.model.properties import Change, Property, always
from hpcore.model.states import Owed, Shared, Slot


def _owed_by_someone(index: int, slot: Slot, shared: Shared) -> bool:
    if shared.ended:
        return slot.command is Owed.NONE and slot.step is None
    if shared.phase is Phase.OFF:
        return not slot.waits_for_guest
    if slot.lifecycle is SlotState.EJECTING and slot.step is None and not slot.stalled:
        return shared.migrating and slot.command is Owed.UNPLUG
    being_reset = shared.phase is Phase.RESETTING
    match slot.command:
        case Owed.NONE:
            return slot.step is None or slot.lifecycle in (
                SlotState.EJECTING, SlotState.ENABLED, SlotState.ONLINE,
            )  # fmt: skip
        case Owed.UNPLUG:
            return slot.step is not None or slot.insert or slot.requested or being_reset
        case Owed.PLUG:
            built = slot.enabled and shared.phase is Phase.READY
            waits = being_reset or _before_plugs(shared)
            return slot.step is not None or slot.unconfirmed or built or waits
        case _:
            return slot.step is not None
    return True


def _before_plugs(shared: Shared) -> bool:
    """Whether a plug waits for the machine's boot, or for the end that overtook it."""
    starts = shared.step in (MachineStep.START, MachineStep.POWER_DOWN)
    return shared.phase in (Phase.DEFINED, Phase.CREATED) or (
        shared.phase is Phase.READY and starts
    )


def _one_at_a_time(c: Change) -> bool:
    match c.event:
        case ev.StepBegun():
            return c.before.step is None
        case ev.StepDone(step=step) | ev.StepFailed(step=step):
            return c.before.step is step
        case ev.MachineStepBegun(step=MachineStep.POWER_DOWN):
            return True  # the user can always end the machine
        case ev.MachineStepBegun(step=MachineStep.RESTART):
            return c.shared_before.step in (None, MachineStep.RESTART)
        case ev.MachineStepBegun():
            return c.shared_before.step is None
        case ev.MachineStepDone(step=whole) | ev.MachineStepFailed(step=whole):
            return c.shared_before.step is whole
    return True


def _accepted_while_up(c: Change) -> bool:
    match c.event:
        case ev.PlugAccepted():
            return c.shared.phase not in _OVER and not c.shared.migrating
        case ev.UnplugAccepted() | ev.UnplugRepeated():
            # What was plugged before the boot can be taken back before the boot.
            up = c.shared.phase in (Phase.RUNNING, Phase.RESETTING, Phase.DEFINED)
            return up and not c.shared.migrating
        case ev.MachineStepBegun(
            step=MachineStep.PAUSE | MachineStep.MIGRATE | MachineStep.SAVE
        ):
            return c.shared_before.phase is Phase.RUNNING
        case ev.MachineStepBegun(step=MachineStep.RESUME):
            return c.shared_before.phase is Phase.RUNNING or _reset_in_a_pause(c.shared_before)
        case ev.MachineStepBegun(step=MachineStep.RESET):
            return c.shared_before.phase in (Phase.RUNNING, Phase.OFF) or _reset_in_a_pause(
                c.shared_before
            )
    return True


_OVER = (Phase.OFF, Phase.ENDED, Phase.FAILED)


def _reset_in_a_pause(shared: Shared) -> bool:
    return shared.phase is Phase.RESETTING and shared.paused


def _ends_undisturbed(c: Change) -> bool:
    match c.event:
        case ev.PlugAccepted() | ev.UnplugAccepted() | ev.UnplugRepeated():
            return not c.shared_before.ending
        case ev.MachineStepBegun(step=step):
            return step is MachineStep.POWER_DOWN or not c.shared_before.ending
    return True


_ACCEPTED = (ev.PlugAccepted, ev.UnplugAccepted, ev.ColdBootBegun, ev.EjectAccepted)


_ENDED = (
    ev.PlugCompleted, ev.PlugFailed, ev.UnplugCompleted, ev.UnplugFailed, ev.ColdBootDone,
    ev.MachinePoweredOff, ev.MachineLost,
)  # fmt: skip


_GIVEN = (ev.PlugAccepted, ev.UnplugAccepted, ev.UnplugRepeated, ev.MachineStepBegun)


def _command_ends_once(c: Change) -> bool:
    was, now = c.before.command, c.after.command
    if isinstance(c.event, ev.UnplugRepeated):
        return was is now is Owed.UNPLUG
    if isinstance(c.event, _ACCEPTED):
        escalates = isinstance(c.event, ev.UnplugAccepted) and c.event.forced
        if isinstance(c.event, ev.EjectAccepted):
            return now is (was if was is not Owed.NONE else Owed.UNPLUG)
        return was is Owed.NONE or (was is Owed.UNPLUG and escalates)
    if now is Owed.NONE and was is not Owed.NONE:
        return isinstance(c.event, _ENDED)
    return True


COMMAND_INVARIANTS: tuple[Property, ...] = (
    always(
        "no_command_lost",
        "An accepted command is always waited for by someone, and has ended when the machine has.",
        _owed_by_someone,
        at_rest=True,
        number=13,
    ),
    always(
        "commands_while_up",
        "A command is accepted while the machine runs, a reset and what follows it also in a "
        "pause and when it is off; a plug before the boot, too, and one about a vCPU while it is "
        "reset, but not while it migrates.",
        on_event=_accepted_while_up,
        of=_GIVEN,
        number=13,
    ),
    always(
        "ends_undisturbed",
        "While the user ends the machine, no command is accepted and nothing of it is begun.",
        on_event=_ends_undisturbed,
        of=_GIVEN,
        number=13,
        since=(0, 5),
    ),
    always(
        "command_ends_once",
        "A command is accepted when none is owed, and ends with its own completion or error.",
        on_event=_command_ends_once,
        number=13,
    ),
    always(
        "no_notification_lost",
        "An event bit that is set has the GED raised, or a scan under way that will see it.",
        lambda i, s, m: not (s.insert or s.remove) or m.ged or m.scanning,
        at_rest=True,
        number=13,
    ),
    always(
        "removal_not_shadowed",
        "A slot never has both event bits set: the guest would take the insertion alone.",
        lambda i, s, m: not (s.insert and s.remove),
        number=13,
    ),
    always(
        "one_step_at_a_time",
        "One effect is under way for a slot, and one for the machine, and an outcome is that "
        "effect's.",
        on_event=_one_at_a_time,
        of=(ev.StepBegun, ev.StepDone, ev.StepFailed, *MACHINE_STEPS),
        number=13,
    ),
)  # fmt: skip

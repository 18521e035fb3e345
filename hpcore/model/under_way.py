"""What has been begun in a state and has no outcome yet: what who takes it over begins again."""

from __future__ import annotations

from hpcore.model.effects import Effect, RaiseGed, Reassert, RunMachineStep, RunStep
from hpcore.model.machines import SlotState
from hpcore.model.states import Slot, State


def under_way(state: State) -> tuple[Effect, ...]:
    """The effects that may not have been carried out, by all that a log with this state says.

    For a `Reassert` or a `RaiseGed` no log has an outcome, and both may be done twice. So they
    are here wherever they could be missing.
    """
    shared = state.shared
    effects: list[Effect] = []
    if shared.step is not None:
        effects.append(RunMachineStep(shared.step, state.enabled))
    for index, slot in enumerate(state.slots):
        if slot.step is not None:
            effects.append(RunStep(slot.step, index))
        elif shared.guest_runs and _may_be_withdrawn(slot):
            effects.append(Reassert(index))
    if shared.guest_runs and (shared.ged or any(s.insert or s.remove for s in state.slots)):
        effects.append(RaiseGed())
    return tuple(effects)


def _may_be_withdrawn(slot: Slot) -> bool:
    """Whether the guest may have ejected the vCPU, which was refused, and not been told.

    One that is on is not ejected; one that was asked for may be ejected at any moment.
    """
    stays = slot.enabled and not slot.cold and slot.lifecycle is not SlotState.EJECTING
    return stays and not slot.powered and not slot.requested

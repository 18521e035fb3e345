"""How far an accepted command has come, read in the events alone: values without a clock.

`hpcore.run.commands` adds the time and the waiting; the checker of sequences asks the same
of every state that it comes to.
"""

from __future__ import annotations

from typing import NamedTuple

import attrs
from attrs import frozen

from hpcore.model import events as ev
from hpcore.model import stimuli
from hpcore.model.acpi import OstSource, check_refusal, refuses
from hpcore.model.effects import MachineStep
from hpcore.model.machines import Phase
from hpcore.model.states import Shared


class End(NamedTuple):
    """What a command came to: `why` it failed, or None where it did not."""

    why: str | None = None


@frozen
class PlugCourse:
    """A `device_add` on `slot`: whether the guest was notified, and knows the vCPU.

    `overtaken` says why the guest will not register the vCPU any more.
    """

    slot: int
    notified: bool = False
    registered: bool = False
    failure: ev.PlugFailed | None = None
    overtaken: str | None = None

    def after(self, event: ev.Event) -> PlugCourse:
        """How far it has come once `event`, about this slot or no slot, has happened."""
        match event:
            case ev.PlugCompleted():
                return attrs.evolve(self, notified=True)
            case ev.PlugFailed():
                return attrs.evolve(self, failure=event)
            case ev.Registered():
                return attrs.evolve(self, registered=True)
            case ev.MachineStepBegun(
                step=MachineStep.START | MachineStep.RESTART, enabled=enabled
            ) if self.slot in enabled:
                return attrs.evolve(self, registered=True)
            case ev.OstReceived(source=OstSource.DEVICE_CHECK, status=status) if refuses(status):
                why = f"vCPU {self.slot} is plugged, but {check_refusal(status)}"
                return attrs.evolve(self, overtaken=why)
            case ev.EjectAccepted() | ev.TakenByForce():
                why = f"vCPU {self.slot} was unplugged before the guest had registered it"
                return attrs.evolve(self, overtaken=why)
        return self

    def has_ended(self, shared: Shared) -> bool:
        """Whether nothing more comes of the plug itself, before the user's next word."""
        return self.failure is not None or self.notified or shared.waits_for_user

    def guest_has_answered(self, shared: Shared) -> bool:
        """Whether the guest knows the vCPU, will not, or can't say so in a pause."""
        return self.registered or self.overtaken is not None or shared.waits_for_user

    def end(self, shared: Shared) -> End | None:
        """What a user who waits for the guest is told, None where that is to come."""
        if self.failure is not None:
            return End(self.failure.error)
        if not self.notified:
            return End() if shared.waits_for_user else None
        if not self.guest_has_answered(shared):
            return None
        return End(None if self.registered else self.overtaken)

    @property
    def over(self) -> bool:
        """Whether no event can say more of it."""
        settled = self.registered or self.overtaken is not None
        return self.failure is not None or (self.notified and settled)


@frozen
class UnplugCourse:
    """A `device_del` on `slot`: whether the vCPU is parked, or why it stays."""

    slot: int
    ejected: bool = False
    failure: ev.UnplugFailed | None = None

    def after(self, event: ev.Event) -> UnplugCourse:
        """How far it has come once `event`, about this slot or no slot, has happened."""
        match event:
            case ev.UnplugCompleted():
                return attrs.evolve(self, ejected=True)
            case ev.UnplugFailed():
                return attrs.evolve(self, failure=event)
        return self

    def has_ended(self, shared: Shared) -> bool:
        """Whether nothing more comes of it, before the user's next word."""
        return self.over or shared.waits_for_user

    def end(self, shared: Shared) -> End | None:
        """What a user who waits is told, None where that is to come."""
        if not self.has_ended(shared):
            return None
        return End(None if self.failure is None else self.failure.error)

    @property
    def over(self) -> bool:
        """Whether no event can say more of it."""
        return self.ejected or self.failure is not None


@frozen
class MachineCourse:
    """A command on the whole machine; `last` is the step that it ends with.

    `already`: the machine was as the command wants it, and there was nothing to do.
    """

    last: MachineStep
    already: bool = False
    ended_with: ev.MachineStepDone | ev.MachineStepFailed | None = None

    def after(self, event: ev.Event) -> MachineCourse:
        """How far it has come once `event` has happened."""
        match event:
            case ev.MachineStepDone(step=self.last) | ev.MachineStepFailed(step=self.last):
                return attrs.evolve(self, ended_with=event)
        return self

    def has_ended(self, shared: Shared) -> bool:
        """Whether it is done or failed; of a reset in a pause, whether it waits for its end."""
        reset = shared.phase is Phase.RESETTING and shared.paused and shared.step is None
        return self.over or (reset and self.last is MachineStep.RESTART)

    def end(self, shared: Shared) -> End | None:
        """What a user who waits is told, None where that is to come."""
        if not self.has_ended(shared):
            return None
        failed = isinstance(self.ended_with, ev.MachineStepFailed)
        return End(self.ended_with.error if failed else None)  # type: ignore[union-attr]

    @property
    def over(self) -> bool:
        """Whether no event can say more of it."""
        return self.already or self.ended_with is not None


Course = PlugCourse | UnplugCourse | MachineCourse

OnTheMachine = (
    stimuli.Boot | stimuli.Reset | stimuli.Pause | stimuli.Resume | stimuli.Migrate | stimuli.Save
)
"""The commands on the whole machine that leave it there."""

LAST_STEP: dict[type[OnTheMachine], MachineStep] = {
    stimuli.Boot: MachineStep.START,
    stimuli.Reset: MachineStep.RESTART,
    stimuli.Pause: MachineStep.PAUSE,
    stimuli.Resume: MachineStep.RESUME,
    stimuli.Migrate: MachineStep.MIGRATE,
    stimuli.Save: MachineStep.SAVE,
}
"""The step that a command on the whole machine ends with."""


def course_of(
    command: stimuli.DeviceAdd | stimuli.DeviceDel | OnTheMachine,
    events: tuple[ev.Event, ...],
    shared: Shared,
) -> Course:
    """The course of a command that was accepted with `events`; `shared` is the part after them."""
    for event in events:
        match event:
            case ev.PlugAccepted(slot=slot):
                return PlugCourse(slot)
            case ev.UnplugAccepted(slot=slot) | ev.UnplugRepeated(slot=slot):
                return UnplugCourse(slot)
    assert not isinstance(command, stimuli.DeviceAdd | stimuli.DeviceDel), "it is answered so"
    last = LAST_STEP[type(command)]
    return MachineCourse(last, already=not events and shared.step is not last)

"""Commands that a machine has accepted, and the ends that they come to.

A command is answered twice: at once, accepted or refused, and later, when what was accepted
has been done or has failed. What stands here is the time between: a `Plug`, an `Unplug` or
a `MachineCommand` is what one gets for an accepted command, and `Ends` reads in the events
how far each has come.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum

from attrs import define, field, frozen

from hpcore.model import events as ev
from hpcore.model import stimuli
from hpcore.model.acpi import OstSource, check_refusal, refuses
from hpcore.model.effects import MachineStep
from hpcore.model.machines import Phase
from hpcore.model.states import State
from hpcore.run.controller import Controller, RunError

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

_WAITING_FOR = {
    MachineStep.START: "the machine's start",
    MachineStep.RESTART: "the restart",
    MachineStep.PAUSE: "the pause",
    MachineStep.RESUME: "the resumption",
    MachineStep.MIGRATE: "the migration's end",
    MachineStep.SAVE: "the save's end",
}


class CommandFailed(RunError):
    """A command was accepted, and has failed; `event` says which and why."""

    def __init__(self, event: ev.PlugFailed | ev.UnplugFailed | ev.MachineStepFailed) -> None:
        super().__init__(event.error)
        self.event = event


class NeverRegistered(RunError):
    """A vCPU is plugged, and the guest does not know it, or will not. The text says why."""


class PlugStage(StrEnum):
    """How far a plug has come."""

    ACCEPTED = "accepted"
    NOTIFIED = "notified"  # the vCPU is enabled, and the guest has been told
    REGISTERED = "registered"  # the guest has said that it knows the vCPU, or booted with it
    FAILED = "failed"


@frozen
class Asked:
    """When a command was asked for, whose decision it was, and how long to wait for its end."""

    controller: Controller
    seconds: float
    at: float = field(factory=time.monotonic)

    @property
    def ago(self) -> float:
        """The seconds since."""
        return time.monotonic() - self.at

    async def until(self, holds: Callable[[State], bool], waiting_for: str) -> None:
        """Wait until the state is as `holds` wants it. Raises RunError, as the controller does."""
        await self.controller.until(holds, self.seconds, waiting_for)


@define(eq=False)
class Plug:
    """An accepted `device_add`: the vCPU that is being plugged, and how far that has come.

    `notified_after` and `registered_after` are the seconds from the command to the stage,
    or None where it has not come to that. `failure` is the event that ended it otherwise.
    """

    _asked: Asked
    slot: int
    id: str
    notified_after: float | None = None
    registered_after: float | None = None
    failure: ev.PlugFailed | None = None
    _overtaken: str | None = None
    """Why the guest will not register the vCPU any more."""

    @property
    def stage(self) -> PlugStage:
        """How far it has come."""
        if self.failure is not None:
            return PlugStage.FAILED
        if self.notified_after is None:
            return PlugStage.ACCEPTED
        return PlugStage.NOTIFIED if self.registered_after is None else PlugStage.REGISTERED

    async def ended(self) -> bool:
        """Wait until the vCPU is enabled and the guest has been notified: the plug's end.

        Returns whether it is: a plug that is given in a pause goes on after it, one that is
        given before the boot with the boot. Raises CommandFailed where it failed, RunError
        where the machine ended first.
        """
        await self._asked.until(
            lambda s: self.stage is not PlugStage.ACCEPTED or s.shared.waits_for_user,
            "the plug's end",
        )
        if self.failure is not None:
            raise CommandFailed(self.failure)
        return self.stage is not PlugStage.ACCEPTED

    async def registered(self) -> bool:
        """Wait until the guest knows the vCPU: it has said so, or was reset and boots with it.

        Returns whether it does: a guest that is paused can't say so, and may once it runs
        again. Raises NeverRegistered where the guest answers that it can't register the
        vCPU, or loses it before, and whatever `ended` raises.
        """
        if not await self.ended():
            return False
        await self._asked.until(
            lambda s: self.registered_after is not None
            or self._overtaken is not None
            or s.shared.waits_for_user,
            f"the guest's word that it has registered vCPU {self.slot}",
        )
        if self.registered_after is None and self._overtaken is not None:
            raise NeverRegistered(self._overtaken)
        return self.registered_after is not None

    def follow(self, event: ev.Event) -> None:
        """Take note of an event of this machine's, about this slot or no slot."""
        match event:
            case ev.PlugCompleted():
                self.notified_after = self._asked.ago
            case ev.PlugFailed():
                self.failure = event
            case ev.Registered():
                self.registered_after = self._asked.ago
            case ev.MachineStepBegun(
                step=MachineStep.START | MachineStep.RESTART, enabled=enabled
            ):
                if self.slot in enabled:
                    self.registered_after = self._asked.ago
            case ev.OstReceived(source=OstSource.DEVICE_CHECK, status=status) if refuses(status):
                self._overtaken = f"vCPU {self.slot} is plugged, but {check_refusal(status)}"
            case ev.EjectAccepted() | ev.TakenByForce():
                self._overtaken = (
                    f"vCPU {self.slot} was unplugged before the guest had registered it"
                )

    @property
    def over(self) -> bool:
        """Whether no event can say more of it."""
        settled = self.registered_after is not None or self._overtaken is not None
        return self.failure is not None or (self.notified_after is not None and settled)


@define(eq=False)
class Unplug:
    """An accepted `device_del`: the vCPU that is asked back, or taken, and what came of it.

    `ejected_after` is the seconds from the command to the vCPU's being parked. `failure` is
    the event that ended it otherwise; where that is `still_asked`, the guest may yet eject.
    """

    _asked: Asked
    slot: int
    id: str
    ejected_after: float | None = None
    failure: ev.UnplugFailed | None = None

    async def ended(self) -> bool:
        """Wait until the vCPU is parked.

        Returns whether it is: a guest that is paused can't give it back before it runs
        again. Raises CommandFailed where the vCPU stays, RunError where the machine ended.
        """
        await self._asked.until(lambda s: self.over or s.shared.waits_for_user, "the unplug's end")
        if self.failure is not None:
            raise CommandFailed(self.failure)
        return self.ejected_after is not None

    def follow(self, event: ev.Event) -> None:
        """Take note of an event of this machine's, about this slot or no slot."""
        match event:
            case ev.UnplugCompleted():
                self.ejected_after = self._asked.ago
            case ev.UnplugFailed():
                self.failure = event

    @property
    def over(self) -> bool:
        """Whether no event can say more of it."""
        return self.ejected_after is not None or self.failure is not None


@define(eq=False)
class MachineCommand:
    """An accepted command on the whole machine; `last` is the step that it ends with.

    `already`: the machine was as the command wants it, and there was nothing to do.
    """

    _asked: Asked
    last: MachineStep
    already: bool = False
    end: ev.MachineStepDone | ev.MachineStepFailed | None = None

    async def ended(self) -> None:
        """Wait until it is done; a reset in a pause, until it waits for the end of the pause.

        Raises CommandFailed where it failed and the machine is as before, RunError where the
        machine has ended.
        """
        await self._asked.until(self._done_in, _WAITING_FOR[self.last])
        if isinstance(self.end, ev.MachineStepFailed):
            if self._asked.controller.state.shared.ended:
                raise RunError(self._asked.controller.why_ended())
            raise CommandFailed(self.end)

    def follow(self, event: ev.Event) -> None:
        """Take note of an event of this machine's, about this slot or no slot."""
        match event:
            case ev.MachineStepDone(step=step) | ev.MachineStepFailed(step=step):
                if step is self.last:
                    self.end = event

    def _done_in(self, state: State) -> bool:
        shared = state.shared
        reset = shared.phase is Phase.RESETTING and shared.paused and shared.step is None
        return self.over or (reset and self.last is MachineStep.RESTART)

    @property
    def over(self) -> bool:
        """Whether no event can say more of it."""
        return self.already or self.end is not None


Accepted = Plug | Unplug | MachineCommand


def begun_by(
    asked: Asked,
    command: stimuli.DeviceAdd | stimuli.DeviceDel | OnTheMachine,
    events: tuple[ev.Event, ...],
) -> Accepted:
    """What stands for the command that was answered with `events`."""
    for event in events:
        match event:
            case ev.PlugAccepted(slot=slot, id=id_):
                return Plug(asked, slot, id_)
            case ev.UnplugAccepted(slot=slot, id=id_) | ev.UnplugRepeated(slot=slot, id=id_):
                return Unplug(asked, slot, id_)
    assert not isinstance(command, stimuli.DeviceAdd | stimuli.DeviceDel), "it is answered so"
    last = LAST_STEP[type(command)]
    done = not events and asked.controller.state.shared.step is not last
    return MachineCommand(asked, last, already=done)


@define
class Ends:
    """The accepted commands that have not ended, told every event in order."""

    _open: list[Accepted] = field(factory=list)

    def add(self, accepted: Accepted) -> None:
        """Follow `accepted` from here on, until it has ended."""
        self._open.append(accepted)

    def follow(self, event: ev.Event) -> None:
        """Let what is open know of `event`."""
        slot = ev.slot_of(event)
        for accepted in self._open:
            own = None if isinstance(accepted, MachineCommand) else accepted.slot
            if slot is None or slot == own:
                accepted.follow(event)
        self._open = [accepted for accepted in self._open if not accepted.over]

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
from hpcore.model.effects import MachineStep
from hpcore.model.states import State
from hpcore.run.controller import Controller
from hpcore.run.courses import (
    MachineCourse,
    OnTheMachine,
    PlugCourse,
    UnplugCourse,
    course_of,
)
from hpcore.run.errors import RunError

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
    or None where it has not come to that.
    """

    _asked: Asked
    slot: int
    id: str
    notified_after: float | None = None
    registered_after: float | None = None
    _course: PlugCourse = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._course = PlugCourse(self.slot)

    @property
    def failure(self) -> ev.PlugFailed | None:
        """The event that ended it, where it failed."""
        return self._course.failure

    @property
    def stage(self) -> PlugStage:
        """How far it has come."""
        if self.failure is not None:
            return PlugStage.FAILED
        if not self._course.notified:
            return PlugStage.ACCEPTED
        return PlugStage.REGISTERED if self._course.registered else PlugStage.NOTIFIED

    async def ended(self) -> bool:
        """Wait until the vCPU is enabled and the guest has been notified: the plug's end.

        Returns whether it is: a plug that is given in a pause goes on after it, one that is
        given before the boot with the boot. Raises CommandFailed where it failed, RunError
        where the machine ended first.
        """
        await self._asked.until(lambda s: self._course.has_ended(s.shared), "the plug's end")
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
            lambda s: self._course.guest_has_answered(s.shared),
            f"the guest's word that it has registered vCPU {self.slot}",
        )
        if not self._course.registered and self._course.overtaken is not None:
            raise NeverRegistered(self._course.overtaken)
        return self._course.registered

    def follow(self, event: ev.Event) -> None:
        """Take note of an event of this machine's, about this slot or no slot."""
        before, self._course = self._course, self._course.after(event)
        if isinstance(event, ev.PlugCompleted):
            self.notified_after = self._asked.ago
        if self._course.registered and not before.registered:
            self.registered_after = self._asked.ago

    @property
    def over(self) -> bool:
        """Whether no event can say more of it."""
        return self._course.over


@define(eq=False)
class Unplug:
    """An accepted `device_del`: the vCPU that is asked back, or taken, and what came of it.

    `ejected_after` is the seconds from the command to the vCPU's being parked.
    """

    _asked: Asked
    slot: int
    id: str
    ejected_after: float | None = None
    _course: UnplugCourse = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._course = UnplugCourse(self.slot)

    @property
    def failure(self) -> ev.UnplugFailed | None:
        """The event that ended it otherwise; where it is `still_asked`, the guest may yet eject."""
        return self._course.failure

    async def ended(self) -> bool:
        """Wait until the vCPU is parked.

        Returns whether it is: a guest that is paused can't give it back before it runs
        again. Raises CommandFailed where the vCPU stays, RunError where the machine ended.
        """
        await self._asked.until(lambda s: self._course.has_ended(s.shared), "the unplug's end")
        if self.failure is not None:
            raise CommandFailed(self.failure)
        return self._course.ejected

    def follow(self, event: ev.Event) -> None:
        """Take note of an event of this machine's, about this slot or no slot."""
        self._course = self._course.after(event)
        if isinstance(event, ev.UnplugCompleted):
            self.ejected_after = self._asked.ago

    @property
    def over(self) -> bool:
        """Whether no event can say more of it."""
        return self._course.over


@define(eq=False)
class MachineCommand:
    """An accepted command on the whole machine; `last` is the step that it ends with.

    `already`: the machine was as the command wants it, and there was nothing to do.
    """

    _asked: Asked
    last: MachineStep
    already: bool = False
    _course: MachineCourse = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._course = MachineCourse(self.last, self.already)

    @property
    def end(self) -> ev.MachineStepDone | ev.MachineStepFailed | None:
        """The event that ended it, once it has."""
        return self._course.ended_with

    async def ended(self) -> None:
        """Wait until it is done; a reset in a pause, until it waits for the end of the pause.

        Raises CommandFailed where it failed and the machine is as before, RunError where the
        machine has ended.
        """
        await self._asked.until(
            lambda s: self._course.has_ended(s.shared), _WAITING_FOR[self.last]
        )
        if isinstance(self.end, ev.MachineStepFailed):
            if self._asked.controller.state.shared.ended:
                raise RunError(self._asked.controller.why_ended())
            raise CommandFailed(self.end)

    def follow(self, event: ev.Event) -> None:
        """Take note of an event of this machine's, about this slot or no slot."""
        self._course = self._course.after(event)

    @property
    def over(self) -> bool:
        """Whether no event can say more of it."""
        return self._course.over


Accepted = Plug | Unplug | MachineCommand


def begun_by(
    asked: Asked,
    command: stimuli.DeviceAdd | stimuli.DeviceDel | OnTheMachine,
    events: tuple[ev.Event, ...],
) -> Accepted:
    """What stands for the command that was answered with `events`."""
    course = course_of(command, events, asked.controller.state.shared)
    match course, command:
        case PlugCourse(slot=slot), stimuli.DeviceAdd(id=id_):
            return Plug(asked, slot, id_)
        case UnplugCourse(slot=slot), stimuli.DeviceDel(id=id_):
            return Unplug(asked, slot, id_)
        case MachineCourse(last=last, already=already), _:
            return MachineCommand(asked, last, already)
    raise AssertionError(f"{command} was answered with {events}")


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

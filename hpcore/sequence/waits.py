"""What a step of a scenario waits for once it was begun, asked of a state: no clock, no tasks.

The same as `hpcore.scenario.play` waits for. A wait is told every event, and says of a state
what the step came to, or None while it goes on.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import attrs
from attrs import frozen

from hpcore.model import events as ev
from hpcore.model.states import State
from hpcore.run.courses import End, MachineCourse, PlugCourse, UnplugCourse
from hpcore.run.guest import not_known
from hpcore.run.scale_plan import Change, count, idle, next_change
from hpcore.sequence.guests import Kernel, SequenceGuest


class Situation(NamedTuple):
    """A machine, what its guest remembers, and who that guest is."""

    state: State
    kernel: Kernel
    guest: SequenceGuest


class Wait(Protocol):
    """What a step waits for."""

    def after(self, event: ev.Event) -> Wait:
        """The same, once `event` has happened."""

    def end(self, now: Situation) -> End | None:
        """What the step has come to, None while it waits."""


@frozen(cache_hash=True)
class PlugWait:
    """Until the guest knows the vCPU, and shows that it does."""

    course: PlugCourse

    def after(self, event: ev.Event) -> PlugWait:
        """See `Wait`."""
        if ev.slot_of(event) not in (None, self.course.slot):
            return self
        course = self.course.after(event)
        return self if course is self.course else attrs.evolve(self, course=course)

    def end(self, now: Situation) -> End | None:
        """See `Wait`."""
        end = self.course.end(now.state.shared)
        if end is None or end.why is not None or not self.course.registered:
            return end
        if now.kernel.booting is not None:
            return None  # it can't be asked yet
        return End(not_known(self.course.slot, now.guest.masks(now.state, now.kernel)))


@frozen(cache_hash=True)
class UnplugWait:
    """Until the vCPU is parked."""

    course: UnplugCourse

    def after(self, event: ev.Event) -> UnplugWait:
        """See `Wait`."""
        if ev.slot_of(event) not in (None, self.course.slot):
            return self
        course = self.course.after(event)
        return self if course is self.course else attrs.evolve(self, course=course)

    def end(self, now: Situation) -> End | None:
        """See `Wait`."""
        return self.course.end(now.state.shared)


@frozen(cache_hash=True)
class MachineWait:
    """Until a command on the whole machine is done, and with `boots` until its guest has booted."""

    course: MachineCourse
    boots: bool = False

    def after(self, event: ev.Event) -> MachineWait:
        """See `Wait`."""
        if ev.slot_of(event) is not None:
            return self
        course = self.course.after(event)
        return self if course is self.course else attrs.evolve(self, course=course)

    def end(self, now: Situation) -> End | None:
        """See `Wait`."""
        end = self.course.end(now.state.shared)
        if end is None or end.why is not None or not self.boots or now.state.shared.paused:
            return end
        return None if now.kernel.booting is not None else end


@frozen
class PowerWait:
    """Until there is word that a vCPU is on, or off."""

    cpu: int
    on: bool

    def after(self, event: ev.Event) -> PowerWait:
        """See `Wait`."""
        return self

    def end(self, now: Situation) -> End | None:
        """See `Wait`."""
        return End() if now.state.slots[self.cpu].powered is self.on else None


@frozen
class HaltWait:
    """Until the machine has ended, or is off."""

    def after(self, event: ev.Event) -> HaltWait:
        """See `Wait`."""
        return self

    def end(self, now: Situation) -> End | None:
        """See `Wait`."""
        return End() if now.state.shared.halted else None


@frozen(cache_hash=True)
class ScaleWait:
    """Until a target count is reached; it gives the commands that are missing for it."""

    to: int
    waits: bool
    courses: tuple[tuple[Change, PlugCourse | UnplugCourse], ...] = ()
    refused: str | None = None

    def after(self, event: ev.Event) -> ScaleWait:
        """See `Wait`."""
        slot = ev.slot_of(event)
        told = tuple(
            (change, course.after(event)) if slot in (None, course.slot) else (change, course)
            for change, course in self.courses
        )
        return self if told == self.courses else attrs.evolve(self, courses=told)

    def next(self, state: State) -> Change | None:
        """The command that is to be given next, if any can be now."""
        if count(state) == self.to or self._failure() is not None:
            return None
        return next_change(state, self.to)

    def end(self, now: Situation) -> End | None:
        """See `Wait`."""
        state = now.state
        if (why := self._failure()) is not None:
            return End(f"scale to {self.to}: {why}")
        over = all(course.over for _, course in self.courses)
        if not over and self.waits and not state.shared.waits_for_user:
            return None
        if count(state) != self.to:
            return None
        over = over and all(map(idle, state.slots))
        return End() if over or not self.waits or state.shared.waits_for_user else None

    def _failure(self) -> str | None:
        if self.refused is not None:
            return self.refused
        for change, course in self.courses:
            if course.failure is not None:
                return f"{change} failed: {course.failure.error}"
            if isinstance(course, PlugCourse) and course.overtaken and not course.registered:
                return f"{change} failed: {course.overtaken}"
        return None

"""A target count: as many vCPUs as asked for are enabled, whatever there were before.

What is missing is plugged into the lowest free slots, what is too much is taken from the
highest plugged ones. The commands are given one after the other, plugs from the lowest slot
up and unplugs from the highest down, and their ends are awaited together: the work on
several slots is under way at once.

What is owed counts as done. So a target that is asked for while another is under way is
reached from wherever the machine comes to, and the one before gives way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol, overload

from attrs import define, field

from hpcore.guest.errors import GuestError
from hpcore.model.plain import plain_props
from hpcore.model.states import State
from hpcore.model.stimuli import DeviceAdd, DeviceDel
from hpcore.run.commands import Plug, Unplug
from hpcore.run.errors import CommandRefused, RunError
from hpcore.run.scale_plan import (
    Change,
    Scaled,
    count,
    idle,
    next_change,
    not_to_be_had,
    plan,
    will_be_enabled,
)

WAITING_FOR = "the end of what other commands do with the slots"


class ScaleRefused(RunError):
    """A target count that this machine cannot have, or not now. Nothing was done."""


class ScaleFailed(RunError):
    """A target count was not reached; `scaled` says what was done, and what was not."""

    def __init__(self, scaled: Scaled) -> None:
        super().__init__(str(scaled))
        self.scaled = scaled


class Scalable(Protocol):
    """What is needed of a live machine."""

    @property
    def state(self) -> State:
        """The model's state."""

    @overload
    async def begin(self, command: DeviceAdd) -> Plug: ...
    @overload
    async def begin(self, command: DeviceDel) -> Unplug: ...

    async def until(self, holds: Callable[[State], bool], waiting_for: str) -> None:
        """Wait until the state is as `holds` wants it."""

    async def unknown_to_guest(self, cpus: Iterable[int]) -> dict[int, str]:
        """Those of `cpus` that the guest said it knows, and does not."""

    def note(self, text: str) -> None:
        """Write words into the log."""

    def why_ended(self) -> str:
        """Why the machine has ended."""


@define(eq=False)
class _Begun:
    """A change that was accepted, and what it came to; neither while it is awaited."""

    change: Change
    accepted: Plug | Unplug
    done: bool = False
    error: str | None = None

    async def ended(self) -> None:
        """Wait for the end, and take note of it; in a pause there may be none."""
        try:
            if isinstance(self.accepted, Plug):
                self.done = await self.accepted.registered()
            else:
                self.done = await self.accepted.ended()
        except RunError as error:
            self.error = str(error)

    @property
    def failure(self) -> str | None:
        """Why it failed, where it is known to have, awaited or not."""
        if self.error is None and self.accepted.failure is not None:
            return self.accepted.failure.error
        return self.error


class _Stopped(Exception):
    """The target will not be reached. The text says why."""


@define(eq=False)
class _Scaling:
    """One target on its way."""

    _m: Scalable
    to: int
    overtaken_by: int | None = None
    """Another target that was asked for since."""
    _planned: tuple[Change, ...] = ()
    _begun: list[_Begun] = field(factory=list)
    _refused: list[tuple[Change, str]] = field(factory=list)

    async def run(self, *, undo: bool, waits: bool) -> Scaled:
        """Reach the target. Raises ScaleFailed where that is not possible."""
        self._planned = plan(self._m.state, self.to)
        why = None
        try:
            await self._reach(waits)
        except (_Stopped, RunError) as stopped:
            why = str(stopped)
            await self._ends(self._begun)
        taken_back = []
        if why is not None and undo and self.overtaken_by is None:
            taken_back = await self._take_back()
        scaled = self._said(why, taken_back)
        self._m.note(str(scaled) if why is not None else f"scale to {self.to}: {scaled}")
        if why is not None:
            raise ScaleFailed(scaled)
        return scaled

    async def _reach(self, waits: bool) -> None:
        while True:
            await self._begin()
            if not waits:
                return
            await self._ends(self._begun)
            self._check()
            await self._m.until(self._at_rest, WAITING_FOR)
            self._check()
            all_done = all(begun.done for begun in self._begun)
            state = self._m.state
            if count(state) == self.to and (all_done or state.shared.waits_for_user):
                return

    async def _begin(self) -> None:
        """Give every command that is missing, and return when all are accepted."""
        while count(self._m.state) != self.to:
            self._check()
            change = next_change(self._m.state, self.to)
            if change is None:
                await self._m.until(self._can_go_on, WAITING_FOR)
                continue
            try:
                self._begun.append(await self._accepted(change))
            except CommandRefused as refusal:
                if next_change(self._m.state, self.to) != change:
                    continue  # another command was quicker; look again
                self._refused.append((change, str(refusal)))
                raise _Stopped(f"{change} failed: {refusal}") from refusal

    async def _accepted(self, change: Change) -> _Begun:
        if not change.plugs:
            return _Begun(change, await self._m.begin(DeviceDel(change.id)))
        props = self._m.state.config.topology.props(change.slot)
        return _Begun(change, await self._m.begin(DeviceAdd(change.id, plain_props(props.items()))))

    async def _ends(self, several: list[_Begun]) -> None:
        """Wait for the end of those of `several` that have not ended."""
        waiting = [b for b in several if not b.done and b.error is None]

        def over(state: State) -> bool:
            return state.shared.waits_for_user or all(begun.accepted.over for begun in waiting)

        try:  # one that waits for all: a machine of 512 vCPUs would wake each for every event
            await self._m.until(over, "the end of what was begun")
        except RunError as error:
            for begun in waiting:
                if not begun.accepted.over:
                    begun.error = str(error)
        await asyncio.gather(*(begun.ended() for begun in waiting if begun.error is None))
        await self._look_at_guest([b for b in waiting if b.done and b.change.plugs])

    async def _look_at_guest(self, plugged: list[_Begun]) -> None:
        """Take note where the guest does not know what it said that it has registered."""
        if not plugged:
            return
        try:
            unknown = await self._m.unknown_to_guest(begun.change.slot for begun in plugged)
        except (RunError, GuestError):
            return  # it can't be asked, so that its word stands
        for begun in plugged:
            begun.error = unknown.get(begun.change.slot)
            begun.done = begun.error is None

    def _check(self) -> None:
        """Raise _Stopped where there is a reason to begin nothing more."""
        if self.overtaken_by is not None:
            raise _Stopped(f"another target, {self.overtaken_by}, was asked for meanwhile")
        for begun in self._begun:
            if (error := begun.failure) is not None:
                raise _Stopped(f"{begun.change} failed: {error}")

    def _stops(self) -> bool:
        return self.overtaken_by is not None or any(b.failure is not None for b in self._begun)

    def _can_go_on(self, state: State) -> bool:
        """Whether something can be begun, or need not be any more."""
        ready = count(state) == self.to or next_change(state, self.to) is not None
        return ready or self._stops()

    def _at_rest(self, state: State) -> bool:
        """Whether nothing that counts as done is owed, or will be as long as this goes on."""
        if count(state) != self.to or state.shared.waits_for_user or self._stops():
            return True
        return all(map(idle, state.slots))

    # ------------------------------------------------------------------- failure

    async def _take_back(self) -> list[tuple[Change, str | None]]:
        """Undo what was done, the last first; each with why it could not be undone, if so."""
        taken: list[tuple[Change, str | None]] = []
        undoing: list[_Begun] = []
        for begun in reversed(self._begun):
            change = begun.change
            if not self._stands(begun):
                continue
            if not begun.done and begun.error is None:
                taken.append((change, f"{change} has not ended"))
                continue
            try:
                undoing.append(await self._accepted(change.reverse))
            except RunError as error:
                taken.append((change, str(error)))
        await self._ends(undoing)
        for begun in undoing:
            unfinished = None if begun.done else f"{begun.change} has not ended"
            taken.append((begun.change.reverse, begun.error or unfinished))
        return taken

    def _stands(self, begun: _Begun) -> bool:
        """Whether a change is there to be undone; a plug may have failed and left a vCPU."""
        slot = self._m.state.slots[begun.change.slot]
        if begun.change.plugs:
            return slot.id == begun.change.id and will_be_enabled(slot)
        return begun.error is None

    def _said(self, why: str | None, taken_back: list[tuple[Change, str | None]]) -> Scaled:
        state = self._m.state
        failed = [(b.change, b.error) for b in self._begun if b.error is not None]
        touched = {b.change.slot for b in self._begun} | {c.slot for c, _ in self._refused}
        return Scaled(
            to=self.to,
            enabled=len(state.enabled),
            done=tuple(b.change for b in self._begun if b.done),
            pending=tuple(b.change for b in self._begun if not b.done and b.error is None),
            why=why,
            failed=(*failed, *self._refused),
            not_begun=() if why is None else tuple(
                change for change in self._planned if change.slot not in touched
            ),
            undone=tuple(change for change, error in taken_back if error is None),
            not_undone=tuple((change, error) for change, error in taken_back if error is not None),
        )  # fmt: skip


class Scaler:
    """Takes target counts for one machine; the last one asked for counts."""

    def __init__(self, machine: Scalable) -> None:
        self._m = machine
        self._under_way: list[_Scaling] = []

    async def scale(self, to: int, *, undo: bool, waits: bool) -> Scaled:
        """Reach the target `to`. See `LiveMachine.scale`."""
        self._refuse(to)
        for other in self._under_way:
            if other.to != to:
                other.overtaken_by = to
        scaling = _Scaling(self._m, to)
        self._under_way.append(scaling)
        try:
            return await scaling.run(undo=undo, waits=waits)
        finally:
            self._under_way.remove(scaling)

    def _refuse(self, to: int) -> None:
        state = self._m.state
        if state.shared.halted:
            raise RunError(self._m.why_ended())
        if (why := not_to_be_had(state, to)) is not None:
            raise ScaleRefused(why)

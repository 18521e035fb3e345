"""Target counts on a machine of the test's own, which accepts, refuses and ends as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, cast

import attrs
import pytest

from hpcore.guest.errors import GuestError
from hpcore.model import events as ev
from hpcore.model import stimuli as st
from hpcore.model.config import MachineConfig
from hpcore.model.machines import Phase, SlotState
from hpcore.model.states import Owed, Slot, State, initial
from hpcore.run import Change, CommandRefused, RunError, Scaled, ScaleFailed
from hpcore.run.commands import Asked, Plug, Unplug
from hpcore.run.scale import Scaler

PARKED = Slot(cold=False)
PLUG1, PLUG2, PLUG3 = (Change(n, f"cpu{n}", True) for n in (1, 2, 3))


def there(n: int) -> Slot:
    return attrs.evolve(PARKED, id=f"cpu{n}", lifecycle=SlotState.ENABLED, enabled=True)


def running(*plugged: int, paused: bool = False) -> State:
    new = initial(MachineConfig.of(cpus=1, maxcpus=4))
    slots = [attrs.evolve(there(0), cold=True), *(there(n) if n in plugged else PARKED
                                                  for n in (1, 2, 3))]  # fmt: skip
    shared = attrs.evolve(new.shared, phase=Phase.RUNNING, paused=paused)
    return attrs.evolve(new, slots=tuple(slots), shared=shared)


class Told:
    """A machine that ends what it accepts at once, but for what it was told.

    `refuses`, `fails` and `keeps_waiting` have ids: of commands that are refused, that are
    accepted and fail, and that never end.
    """

    def __init__(self, state: State, **told: Iterable[str]) -> None:
        self.state, self.notes = state, list[str]()
        self.refuses, self.fails, self.keeps_waiting = (
            set(told.get(name, ())) for name in ("refuses", "fails", "keeps_waiting")
        )
        self.unknown: dict[int, str] | Exception = {}
        self.asked_about: list[list[int]] = []

    async def begin(self, command: st.DeviceAdd | st.DeviceDel) -> Plug | Unplug:
        id_, asked = command.id, Asked(cast(Any, self), 1.0)
        if id_ in self.refuses:
            kind = type(command).__name__
            raise CommandRefused(ev.Refused(kind, "not_migrating", f"not now, {id_}", None))
        index = int(id_[3])
        made: Plug | Unplug
        if isinstance(command, st.DeviceAdd):
            made, end = Plug(asked, index, id_), there(index)
            done: tuple[ev.Event, ...] = ev.PlugCompleted(index, id_), ev.Registered(index)
            under_way, failed = Owed.PLUG, (ev.PlugFailed(index, id_, "no place"),)
        else:
            made, end = Unplug(asked, index, id_), PARKED
            done = (ev.UnplugCompleted(index, id_),)
            under_way, failed = Owed.UNPLUG, (ev.UnplugFailed(index, id_, "busy"),)  # type: ignore[assignment]
        before = self.state.slots[index]
        if id_ in self.keeps_waiting:
            after = attrs.evolve(before, id=id_, command=under_way)
        else:
            after = before if id_ in self.fails else end
            for event in failed if id_ in self.fails else done:
                made.follow(event)
        self.state = self.state.with_slot(index, after)
        return made

    async def until(self, holds: Any, *waiting: object) -> None:
        if not holds(self.state):
            raise RunError(f"nobody comes for {waiting[-1]}")

    async def unknown_to_guest(self, cpus: Iterable[int]) -> dict[int, str]:
        self.asked_about.append(list(cpus))
        if isinstance(self.unknown, Exception):
            raise self.unknown
        return self.unknown

    def note(self, text: str) -> None:
        self.notes.append(text)

    def why_ended(self) -> str:
        return "it has ended"


def scale(machine: Told, to: int, *, undo: bool = False, waits: bool = True) -> Scaled:
    """What was reached, or was not."""
    scaler = Scaler(cast(Any, machine))
    try:
        scaled = asyncio.run(scaler.scale(to, undo=undo, waits=waits))
    except ScaleFailed as failed:
        assert str(failed) == str(failed.scaled) == machine.notes[-1]
        return failed.scaled
    assert machine.notes[-1] == f"scale to {to}: {scaled}"
    return scaled


def test_what_is_reached_is_said_once_and_the_guest_is_asked_about_all_at_once() -> None:
    machine = Told(running())
    assert scale(machine, 4) == Scaled(4, 4, done=(PLUG1, PLUG2, PLUG3))
    assert machine.asked_about == [[1, 2, 3]]
    assert scale(machine, 2) == Scaled(2, 2, done=(PLUG3.reverse, PLUG2.reverse))
    assert machine.asked_about == [[1, 2, 3]], "of unplugs it is not asked"
    assert len(machine.notes) == 2


def test_a_refusal_in_the_middle_takes_back_what_was_done_the_last_first() -> None:
    scaled = scale(Told(running(), refuses=["cpu3"]), 4, undo=True)
    assert scaled == Scaled(
        4, 1, done=(PLUG1, PLUG2), why="plug cpu3 failed: not now, cpu3",
        failed=((PLUG3, "not now, cpu3"),), undone=(PLUG2, PLUG1),
    )  # fmt: skip


def test_a_refusal_in_the_middle_leaves_what_was_done_where_nobody_asks_for_it_back() -> None:
    scaled = scale(Told(running(), refuses=["cpu2"]), 4)
    assert scaled == Scaled(
        4, 2, done=(PLUG1,), why="plug cpu2 failed: not now, cpu2",
        failed=((PLUG2, "not now, cpu2"),), not_begun=(PLUG3,),
    )  # fmt: skip


def test_what_fails_is_said_and_only_what_stands_is_taken_back() -> None:
    scaled = scale(Told(running(), fails=["cpu2"]), 4, undo=True)
    assert scaled.failed == ((PLUG2, "no place"),)
    assert scaled.undone + tuple(change for change, _ in scaled.not_undone) == (PLUG1,)
    assert (scaled.why, scaled.enabled) == ("plug cpu2 failed: no place", 1)
    assert scaled.not_begun == (PLUG3,)


def test_an_unplug_that_fails_stays_and_the_others_are_plugged_again() -> None:
    scaled = scale(Told(running(1, 2, 3), fails=["cpu2"]), 1, undo=True)
    assert scaled.failed == ((PLUG2.reverse, "busy"),)
    assert scaled.undone == (PLUG3.reverse,)
    assert (scaled.not_begun, scaled.enabled) == ((PLUG1.reverse,), 4)


def test_in_a_pause_what_has_not_ended_cannot_be_taken_back() -> None:
    machine = Told(running(paused=True), keeps_waiting=["cpu1"], refuses=["cpu2"])
    scaled = scale(machine, 3, undo=True)
    assert scaled.not_undone == ((PLUG1, "plug cpu1 has not ended"),)
    assert scaled.pending == (PLUG1,)
    assert (scaled.done, scaled.undone, scaled.enabled) == ((), (), 1)


def test_in_a_pause_what_takes_a_change_back_may_not_have_ended() -> None:
    machine = Told(running(paused=True), refuses=["cpu2"])
    begin = machine.begin

    async def unplugs_wait(command: st.DeviceAdd | st.DeviceDel) -> Plug | Unplug:
        if isinstance(command, st.DeviceDel):
            machine.keeps_waiting.add(command.id)
        return await begin(command)

    machine.begin = unplugs_wait  # type: ignore[method-assign]
    scaled = scale(machine, 3, undo=True)
    assert scaled.done == (PLUG1,)
    assert scaled.not_undone == ((PLUG1, "unplug cpu1 has not ended"),)


def test_what_is_refused_to_be_taken_back_is_said_with_the_reason() -> None:
    machine = Told(running(), refuses=["cpu3"])
    begin = machine.begin

    async def unplugs_are_refused(command: st.DeviceAdd | st.DeviceDel) -> Plug | Unplug:
        if command == st.DeviceDel("cpu1"):
            machine.refuses.add(command.id)
        return await begin(command)

    machine.begin = unplugs_are_refused  # type: ignore[method-assign]
    scaled = scale(machine, 4, undo=True)
    assert scaled.not_undone == ((PLUG1, "not now, cpu1"),)
    assert scaled.undone == (PLUG2,)


def test_a_vcpu_that_the_guest_does_not_know_has_failed_and_is_taken_back() -> None:
    machine = Told(running())
    machine.unknown = {2: "the guest has no place"}
    scaled = scale(machine, 3, undo=True)
    assert (scaled.why, scaled.failed) == (
        "plug cpu2 failed: the guest has no place", ((PLUG2, "the guest has no place"),),
    )  # fmt: skip
    assert (scaled.done, scaled.undone) == ((PLUG1,), (PLUG2, PLUG1))


@pytest.mark.parametrize("error", [RunError("it is gone"), GuestError("it has no shell")])
def test_a_guest_that_cannot_be_asked_is_taken_at_its_word(error: Exception) -> None:
    machine = Told(running())
    machine.unknown = error
    assert scale(machine, 3) == Scaled(3, 3, done=(PLUG1, PLUG2))


def test_without_waiting_nothing_is_asked_and_what_is_accepted_is_pending() -> None:
    machine = Told(running(), keeps_waiting=["cpu1", "cpu2"])
    assert scale(machine, 3, waits=False) == Scaled(3, 1, pending=(PLUG1, PLUG2))
    assert machine.asked_about == []


def test_what_never_ends_has_failed_for_that_reason() -> None:
    machine = Told(running(), keeps_waiting=["cpu2"])
    scaled = scale(machine, 3)
    why = "nobody comes for the end of what was begun"
    assert (scaled.done, scaled.failed) == ((PLUG1,), ((PLUG2, why),))
    assert scaled.why == f"plug cpu2 failed: {why}"


def test_what_others_have_begun_and_never_end_is_said_to_be_waited_for() -> None:
    machine = Told(running(1))
    machine.state = machine.state.with_slot(2, attrs.evolve(PARKED, id="x", command=Owed.PLUG))
    scaled = scale(machine, 3)
    assert scaled.why == "nobody comes for the end of what other commands do with the slots"
    assert (scaled.done, scaled.failed) == ((), ())

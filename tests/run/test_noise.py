"""A guest that calls without end: what changes nothing is counted, and all else is as ever."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from hpcore.guest.played import PlayedGuest
from hpcore.guest.played.hostile import Call, Move
from hpcore.log import Entry, Header, LogWriter, Record, Sync, read
from hpcore.log.fold import COUNTED
from hpcore.model import events as ev
from hpcore.model import stimuli as st
from hpcore.model.decide import decide
from hpcore.run import Controller, LiveMachine, Patience
from hpcore.run import noise as room
from hpcore.run.deadlines import Deadlines, GuestWait
from hpcore.run.noise import AS_THEY_COME, KINDS_APART, Noise, changes_nothing
from hpcore.triage.replay import replay
from tests.run.live import on_played
from tests.run.test_controller import CONFIG, CORE2, SOON, asked_back, booted, play, plugged
from tests.support.logs import ListLog
from tests.support.paper import Behaviour
from tests.support.waits import until
from tests.support.world import World

FLOOD = 2000

Script = Callable[[Controller], Awaitable[None]]


def logged(path: Path, script: Script, sync: Sync = Sync.OS) -> list[Record]:
    """What is in the log of a booted machine on paper once `script` was played."""

    async def whole(c: Controller) -> None:
        await booted(c)
        await script(c)

    with LogWriter.create(path, Header(CONFIG, "paper"), sync=sync) as log:
        play(Behaviour(), whole, log)
    found = replay(path)
    assert found.ok, (found.wrong, found.otherwise, found.damage)
    return list(read(path)[1])


def of(records: list[Record], *kinds: type) -> list[Record]:
    return [record for record in records if isinstance(record.event, kinds)]


async def heard(c: Controller) -> None:
    """Until all that was posted has been decided."""
    await until(lambda: c.heard_all, "what was posted is decided")


def test_calls_that_change_nothing_are_counted_once_there_are_many(tmp_path: Path) -> None:
    async def script(c: Controller) -> None:
        for _ in range(FLOOD):
            c.post(st.EjectCalled(1))
        await heard(c)

    refused = of(logged(tmp_path / "log", script), ev.EjectRefused)
    assert sum(record.counted for record in refused) == FLOOD
    seconds = 2 + refused[-1].t - refused[0].t
    assert AS_THEY_COME < len(refused) <= seconds * (AS_THEY_COME + 1)
    assert len(refused) < FLOOD / 4
    assert all(record.answers == st.EjectCalled(1) for record in refused)


def test_what_is_counted_stands_before_whatever_changes_the_state_next(tmp_path: Path) -> None:
    async def script(c: Controller) -> None:
        for _ in range(2 * AS_THEY_COME):
            c.post(st.CpuOnCalled(3, caller=0))
        c.post(st.CpuOnCalled(1, caller=0))
        for _ in range(2 * AS_THEY_COME):
            c.post(st.CpuOnCalled(3, caller=0))
        await heard(c)

    calls = of(logged(tmp_path / "log", script), ev.CpuOnDenied, ev.CpuOnGranted)
    at = next(n for n, record in enumerate(calls) if isinstance(record.event, ev.CpuOnGranted))
    assert sum(record.counted for record in calls[:at]) == 2 * AS_THEY_COME
    assert sum(record.counted for record in calls[at + 1 :]) == 2 * AS_THEY_COME


def test_what_is_counted_is_written_when_the_second_is_over(tmp_path: Path) -> None:
    path = tmp_path / "log"

    def all_written() -> bool:
        refused = of(list(read(path)[1]), ev.Refused)
        return sum(record.counted for record in refused) == 2 * AS_THEY_COME

    async def script(c: Controller) -> None:
        for _ in range(2 * AS_THEY_COME):
            c.post(st.RemoveAcked(1))
        await until(all_written, "all of them are in the log")

    logged(path, script)


def test_kinds_are_told_apart_by_the_call_the_answer_and_the_vcpus(tmp_path: Path) -> None:
    async def script(c: Controller) -> None:
        for _ in range(AS_THEY_COME):
            c.post(st.ScanEnded())
        for _ in range(7):
            c.post(st.RemoveAcked(1))
            c.post(st.RemoveAcked(2))
            c.post(st.InsertAcked(2))
            c.post(st.CpuOnCalled(2, caller=1))
        await heard(c)

    counted = [r for r in logged(tmp_path / "log", script) if r.counted > 1]
    assert [(r.answers, r.counted) for r in counted] == [
        (st.RemoveAcked(1), 7), (st.RemoveAcked(2), 7), (st.InsertAcked(2), 7),
        (st.CpuOnCalled(2, caller=1), 7),
    ]  # fmt: skip


def test_a_guest_that_names_any_vcpu_makes_few_kinds() -> None:
    noise, state = Noise(), World().boot().state
    for n in range(5000):
        call = st.OstReported(n, n, n) if n % 2 else st.CpuOnCalled(n % 4, caller=n % 97)
        decision = decide(state, call)
        if changes_nothing(state, call, decision):
            noise.takes(Entry(decision.events, 0.0, call), len(state.slots))
    lines = noise.taken(0.5)
    assert len(lines) <= KINDS_APART + 4
    assert sum(line.counted for line in lines) > 4000
    assert not noise.taken(0.6)


def test_only_a_guests_calls_are_counted(tmp_path: Path) -> None:
    async def script(c: Controller) -> None:
        for _ in range(3 * AS_THEY_COME):
            c.post(st.DeviceDel("nobody"))
            c.post(st.Note("said"))
        await heard(c)

    records = logged(tmp_path / "log", script)
    assert len(of(records, ev.Refused)) == len(of(records, ev.Noted)) == 3 * AS_THEY_COME
    assert all(record.counted == 1 for record in records)


def test_what_changes_the_state_is_never_counted(tmp_path: Path) -> None:
    async def script(c: Controller) -> None:
        for _ in range(FLOOD // 2):
            c.post(st.CpuOnCalled(1, caller=0))
            c.post(st.CpuOffSeen(1))
        await heard(c)

    calls = of(logged(tmp_path / "log", script), ev.CpuOnGranted, ev.CpuWentOff)
    assert len(calls) == FLOOD
    assert all(record.counted == 1 for record in calls)


def test_each_call_that_is_counted_is_answered() -> None:
    async def script(c: Controller) -> None:
        await booted(c)
        for _ in range(FLOOD):
            c.post(st.CpuOnCalled(3, caller=0))
        await heard(c)
        await until(lambda: c.quiet, "the answers")

    _, accelerator = play(Behaviour(), script, ListLog())
    answers = [e for e in accelerator.sessions[0].executed if type(e).__name__ == "AnswerCpuOn"]
    assert len(answers) == FLOOD


def test_a_guests_word_on_an_eject_counts_for_its_deadline_though_it_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    restarted: list[object] = []

    async def script(c: Controller) -> None:
        await plugged(c)
        await asked_back(c)
        monkeypatch.setattr(Deadlines, "restart", lambda _self, wait: restarted.append(wait))
        for _ in range(3 * AS_THEY_COME):
            c.post(st.OstReported(2, 3, 0x84))
        await heard(c)

    play(Behaviour(guest="silent"), script, ListLog(), Patience(guest=60.0))
    assert restarted == [GuestWait(2)] * 3 * AS_THEY_COME


def test_who_watches_is_told_what_is_in_the_log_and_no_more(tmp_path: Path) -> None:
    told: list[ev.Event] = []

    async def script(c: Controller) -> None:
        c.watchers.append(lambda event, _state: told.append(event))
        for _ in range(FLOOD):
            c.post(st.EjectCalled(1))
        await heard(c)

    records = logged(tmp_path / "log", script)
    assert told == [record.event for record in records[-len(told) :]]


def test_a_user_is_answered_soon_while_a_guest_calls_without_end(tmp_path: Path) -> None:
    """Both kinds of calls: those that are counted, and those that are written each."""
    took: list[float] = []

    async def script(c: Controller) -> None:
        async def flood() -> None:
            while True:
                for _ in range(20):
                    c.post(st.EjectCalled(1))
                    c.post(st.CpuOnCalled(1, caller=0))
                    c.post(st.CpuOffSeen(1))
                await asyncio.sleep(0)

        flooding = asyncio.create_task(flood())
        for _ in range(3):
            began = time.monotonic()
            await c.submit(CORE2)
            await c.until(lambda s: s.slots[2].registered, SOON, "the plug")
            await c.submit(st.DeviceDel("core2", force=True))
            await c.until(lambda s: s.slots[2].id is None, SOON, "the end")
            took.append(time.monotonic() - began)
        flooding.cancel()
        await heard(c)

    logged(tmp_path / "log", script, Sync.DURABLE)
    assert sorted(took)[1] < 5


def test_a_played_guest_that_calls_over_and_over_costs_lines_by_the_second(
    tmp_path: Path,
) -> None:
    """By its registers and by PSCI, as on any accelerator that plays its guest."""
    calls = 600

    async def script(machine: LiveMachine) -> None:
        guest = machine.guest
        assert isinstance(guest, PlayedGuest)
        for _ in range(calls // 2):
            await guest.make(Move(Call.EJECT, (1,)))
            await guest.make(Move(Call.CPU_ON, (0, 3)))
        await machine.plug("core3", core_id=3)
        await machine.unplug("core3")

    on_played(script, tmp_path / "log")
    assert replay(tmp_path / "log").ok
    answers = of(list(read(tmp_path / "log")[1]), ev.EjectRefused, ev.CpuOnDenied)
    at_boot = 2  # Linux tries all vCPUs that it finds
    assert sum(record.counted for record in answers) == calls + at_boot
    seconds = 2 + answers[-1].t - answers[0].t
    assert len(answers) <= seconds * (AS_THEY_COME + 2) + 40


def test_what_is_at_hand_is_logged_in_one_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    real = os.fdatasync

    def fdatasync(fd: int) -> None:
        synced.append(fd)
        real(fd)

    async def script(c: Controller) -> None:
        monkeypatch.setattr(os, "fdatasync", fdatasync)
        for _ in range(100):
            c.post(st.CpuOnCalled(1, caller=0))
            c.post(st.CpuOffSeen(1))
        await heard(c)
        monkeypatch.undo()

    logged(tmp_path / "log", script, Sync.DURABLE)
    assert len(synced) == -(-200 // 32)


def test_a_counted_line_that_changes_the_state_is_wrong(tmp_path: Path) -> None:
    world = World().boot()
    path = tmp_path / "log"
    with LogWriter.create(path, Header(world.config, "x"), sync=Sync.OS) as log:
        first = World()
        for stimulus in world.log:
            decision = decide(first.state, stimulus)  # type: ignore[arg-type]
            log.append(decision.events, 0.0, stimulus)
            first.state = decision.state
        call = st.CpuOnCalled(1, caller=0)
        log.append_all([Entry(decide(first.state, call).events, 1.0, call, counted=5)])
    found = replay(path)
    assert found.wrong is not None
    assert found.wrong.violation.invariant == COUNTED


def test_the_limits_are_what_the_documentation_says() -> None:
    assert (room.AS_THEY_COME, room.KINDS_APART, room.SECOND) == (50, 10, 1.0)

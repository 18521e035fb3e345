"""The session of who attaches, with a QEMU that is played: what QEMU tells in between."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from hpcore_tcg.kept import KeptTcgSession
from hpcore_tcg.kept_link import BARRIERS, KeptLink, Missed, usual_tag
from hpcore_tcg.kept_machine import KeptMachine
from hpcore_tcg.mirror import SlotMirror
from hpcore_tcg.protocol import REPLY, Event, Op, Status, encode

from hpcore.model.effects import MachineStep, RunStep, Step
from hpcore.model.stimuli import DeviceAdd, MachineDone, Pause, PowerOffSeen, Stimulus
from tests.support.waits import until
from tests.support.world import World


class OffAtOnce:
    """The QMP of a guest that powers off as soon as it runs, before QEMU has answered `cont`."""

    def __init__(self, session: KeptTcgSession, monitor: socket.socket) -> None:
        self._session, self._monitor = session, monitor

    async def execute(self, command: str) -> None:
        assert command == "cont"
        self._monitor.sendall(encode(Event.SYSTEM_OFF))
        self._session._told().shut_down("guest-shutdown")
        for _ in range(5):  # what was told is done
            await asyncio.sleep(0)


def test_a_guest_that_powers_off_as_it_is_let_go_on_is_off_and_nobody_waits_for_it() -> None:
    async def run() -> None:
        reports: list[Stimulus] = []
        state = World().boot().state
        session = KeptTcgSession(state.config, reports.append, Path("/nowhere"), boots=True)
        session._attaches(state)
        ours, theirs = socket.socketpair()
        link = KeptLink(
            *await asyncio.open_unix_connection(sock=ours),
            session._event, lambda _why: None, Missed(0, b""),
        )  # fmt: skip
        found = SimpleNamespace(
            status="running", qmp=OffAtOnce(session, theirs), link=link,
            migration=SimpleNamespace(interrupt=lambda _why: None),
        )  # fmt: skip
        session._found = session._machine = cast("KeptMachine", found)
        async with asyncio.timeout(10):
            await session.take_up()
            await session.taken_up()
            await until(lambda: bool(reports), "the power-off is reported")
        assert reports == [PowerOffSeen()]
        await link.close()
        theirs.close()

    asyncio.run(run())


def test_what_was_sent_before_a_pause_is_done_by_the_answer_that_comes_after_it() -> None:
    async def run() -> None:
        world = World().boot()
        world.feed(DeviceAdd("a", (("core-id", 2),)))
        world.feed(Pause())
        world.feed(MachineDone(MachineStep.PAUSE))
        assert world.state.slots[2].step is Step.REALIZE
        assert world.state.shared.paused
        session = KeptTcgSession(
            world.state.config, lambda _s: None, Path("/nowhere"), boots=True
        )
        session._attaches(world.state)
        session._mirror = SlotMirror.of(world.state)
        ours, theirs = socket.socketpair()
        link = KeptLink(
            *await asyncio.open_unix_connection(sock=ours),
            session._event, lambda _why: None, Missed(0, b""),
        )  # fmt: skip
        found = SimpleNamespace(status="paused", link=link)
        session._found = session._machine = cast("KeptMachine", found)
        async with asyncio.timeout(10):
            step = asyncio.create_task(session.execute(RunStep(Step.REALIZE, 2)))
            await session.take_up()
            await session.taken_up()
            assert not step.done()
            # The machine goes on: the monitor obeys what it has, then what has just come.
            for tag in (usual_tag(Op.REALIZE, 2), BARRIERS[0]):
                theirs.sendall(encode(REPLY, tag=tag, status=Status.OK, value=0))
            await step
            await link.caught_up.wait()
        assert theirs.recv(100) == encode(Op.QUERY, tag=BARRIERS[0], slot=0, arg=0)
        assert link.taken_up.repeated == 0
        await link.close()
        theirs.close()

    asyncio.run(run())


def test_what_comes_before_a_restart_is_not_done_again_under_a_guest_that_may_run() -> None:
    async def run() -> None:
        done: list[str] = []

        async def before() -> None:
            done.append("before")

        async def reset() -> None:
            done.append("reset")

        world = World().boot()
        for begun, expected in ((True, ["before"]), (False, ["reset", "before"])):
            session = KeptTcgSession(
                world.state.config, lambda _s: None, Path("/nowhere"), boots=True,
                before_start=before,
            )  # fmt: skip
            session._restarts = True
            found = SimpleNamespace(started_anew=lambda begun=begun: begun)
            session._found = cast("KeptMachine", found)
            session._reset = reset  # type: ignore[method-assign]
            await session._before()  # of the RESTART that the killed one was in
            await session._before()  # of the next
            assert done == expected
            done.clear()

    asyncio.run(run())


def test_a_restart_has_begun_where_an_init_was_answered_since_the_last_hello() -> None:
    hello = encode(Event.HELLO, epoch=2, version=1)
    other = encode(REPLY, tag=usual_tag(Op.QUERY, 0), status=Status.OK, value=0)
    init = encode(REPLY, tag=usual_tag(Op.INIT, 0), status=Status.OK, value=4)
    machine = object.__new__(KeptMachine)
    for missed, begun in (
        (b"", False), (other, False), (init, True), (hello + init + other, True),
        (init + hello, False), (init[1:], False),
    ):  # fmt: skip
        machine._missed = Missed(0, missed)
        assert machine.started_anew() is begun, missed

"""A machine under somebody else's VM: its controller over the QEMU that the caller has become."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import structlog

from hpcore.door.asked import Asked
from hpcore.door.console import ConsoleCopy
from hpcore.door.front import BeforeStart, Prepared
from hpcore.door.fronts import Opened
from hpcore.door.keeping import STAYS, KeptPrepared, Stays
from hpcore.door.log import VmLog
from hpcore.door.moving.moves import Moves
from hpcore.door.moving.taking import Inherited
from hpcore.door.panics import PanicWatch
from hpcore.door.renewal import Renewal
from hpcore.errors import HpcoreError
from hpcore.model import events as ev
from hpcore.model import stimuli
from hpcore.model.decide import decide
from hpcore.model.fold import steps
from hpcore.model.machines import Phase
from hpcore.model.plain import plain_props
from hpcore.model.states import State, initial
from hpcore.qemu.migration import ENDLESS
from hpcore.qemu.qmp import Qmp
from hpcore.qemu.running import RunningQemu
from hpcore.run.accelerator import KeptSession, Report, Session
from hpcore.run.controller import Controller
from hpcore.run.deadlines import Patience
from hpcore.run.errors import RunError
from hpcore.run.kept_controller import KeptController
from hpcore.run.machine import LiveMachine

LAST_WORDS_SECONDS = 2.0
"""For clients to be told what QEMU said before it ended."""

_log = structlog.get_logger(__name__)


def device_adds(asked: Asked) -> tuple[stimuli.DeviceAdd, ...]:
    """The vCPUs of the command line, as commands. Raises HpcoreError where one is refused."""
    adds = tuple(
        stimuli.DeviceAdd(vcpu.id, plain_props(vcpu.props.items()), vcpu.driver)
        for vcpu in asked.vcpus
    )
    state = initial(asked.config)
    for add in adds:
        events = decide(state, add).events
        for event in events:
            if isinstance(event, ev.Refused):
                raise HpcoreError(f"-device {add.driver},id={add.id}: {event.message}")
        for folded in steps(state, events):
            state = folded.after
    return adds


@asynccontextmanager
async def attached(
    asked: Asked,
    prepared: Prepared,
    qemu: RunningQemu,
    qmp: Path,
    log: VmLog,
    renewal: Renewal | None = None,
) -> AsyncIterator[Moves | Stays]:
    """The machine, with the vCPUs of the command line, and nothing run yet.

    With a `renewal`, it starts anew with what the renewal has put into its memory. On leaving,
    QEMU has ended, unless what was prepared is kept.
    """

    def before(report: Report) -> BeforeStart | None:
        return None if renewal is None else partial(renewal.renew, report)

    state, moves = initial(asked.config), Moves(asked, log)
    controller: Controller
    if isinstance(prepared, KeptPrepared):

        async def open_kept(report: Report) -> KeptSession:
            return prepared.attach(qemu, qmp, report, before(report))

        controller = KeptController(state, lambda: log, open_kept)
        drives: Moves | Stays = Stays(LiveMachine(controller, shell=False), STAYS)
    else:

        async def open_session(report: Report) -> Session:
            return prepared.attach(qemu, qmp, report, before(report))

        patience = Patience(carry=ENDLESS)  # its client waits for that, and can cancel it
        controller = Controller(state, lambda: log, open_session, patience, saver=moves.save)
        moves.of(controller, LiveMachine(controller, shell=False))
        drives = moves
    async with controller:
        for add in device_adds(asked):
            await controller.submit(add)
        yield drives


async def lived(
    asked: Asked,
    moves: Moves | Stays,
    qemu: RunningQemu,
    qmp: Path,
    monitors: Opened,
    console: ConsoleCopy | None,
    inherited: tuple[int, ...] | None = None,
    *,
    again: bool = False,
) -> None:
    """Boot the machine when its user says so, and serve its monitors until QEMU has ended.

    One that was taken up `again` has been booted. A kept one whose log takes no more is left.

    `qmp` is the door's own monitor. `console` has what the guest prints. A QEMU that its user
    started without -no-shutdown ends when the guest has powered the machine off. A machine that
    is to come from elsewhere may come by what is `inherited`; it is not booted.
    """
    machine = moves.machine
    resumed, off = asyncio.Event(), asyncio.Event()

    def heard(name: str, _data: Mapping[str, object]) -> None:
        if name == "RESUME":
            resumed.set()

    def follow(event: ev.Event, _state: State) -> None:
        if isinstance(event, ev.MachinePoweredOff):
            off.set()

    real = await Qmp.connect(qemu, qmp, heard)
    kept = None if inherited is None else Inherited(inherited[:-1], inherited[-1])
    vcpus = moves.commands(real, monitors.qmp.tell, qemu, kept)
    panics = PanicWatch(machine)
    unwatch = [
        machine.subscribe(follow), machine.subscribe(panics.follow),
        vcpus.watch(monitors.qmp.tell),
    ]  # fmt: skip
    if console is not None:
        console.hear(panics.printed)
    no_use = asyncio.create_task(_end_of_no_use(machine, qemu))
    tasks = [no_use]
    if asked.incoming is None and not again:
        tasks.append(asyncio.create_task(_boot(machine, resumed, paused=asked.paused)))
    if not asked.stays:
        if machine.state.shared.phase is Phase.OFF:  # while no door was there
            off.set()
        tasks.append(asyncio.create_task(_quit(off, real)))
    try:
        await moves.begin()
        serving = monitors.serve(moves.answers(vcpus), vcpus.human, lambda: not qemu.running)
        served = asyncio.create_task(until_gone(qemu, serving, monitors))
        tasks.append(served)
        await asyncio.wait({served, no_use}, return_when=asyncio.FIRST_COMPLETED)
        if not machine.is_kept or not qemu.running:
            await served
            machine.end_when_left()
    finally:
        await moves.close()
        for stop in unwatch:
            stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await real.close()


async def until_gone(
    qemu: RunningQemu, serving: Coroutine[None, None, None], monitors: Opened
) -> None:
    """Serve until QEMU has ended, and its clients have been told what it said last."""
    task = asyncio.ensure_future(serving)
    try:
        await qemu.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                await monitors.qmp.left()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _boot(machine: LiveMachine, resumed: asyncio.Event, *, paused: bool) -> None:
    """Boot at once, or when a monitor of QEMU's own, for people, has let it go on."""
    if paused:
        await resumed.wait()
    if machine.state.shared.phase is Phase.DEFINED and machine.state.shared.step is None:
        try:
            await machine.start()
        except RunError as error:  # the machine has ended then, and QEMU does
            _log.error("the machine does not start", why=str(error))


async def _end_of_no_use(machine: LiveMachine, qemu: RunningQemu) -> None:
    """End a QEMU whose machine hpcore has lost, or can log no more: nobody controls it.

    A machine that is kept can be taken up again, once its log takes more.
    """
    await machine.over()
    if machine.is_kept:
        _log.error("the door closes, and its VM goes on", why=machine.why_ended())
        return
    _log.error("QEMU is ended, for its machine is of no use", why=machine.why_ended())
    await qemu.close()


async def _quit(off: asyncio.Event, real: Qmp) -> None:
    await off.wait()
    with suppress(HpcoreError):  # it may be gone before it has answered
        await real.execute("quit")

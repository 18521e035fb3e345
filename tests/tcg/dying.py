"""An hpcore that is killed at a chosen moment of a move, or while it attaches after such a death.

    python -m tests.tcg.dying PLACE HEARD move|attach stopped|live AT

A moment is before and after each word to a QEMU, each mark of who may have the machine, each start
and each end of a QEMU. At the moment AT, a number or what it is, it kills itself by `kill -9`. Its
output is a line of JSON: what the moment was, or, where there is none, how many there were.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import attrs
from hpcore_tcg.kept import KeptTcgSession

from hpcore.model.effects import MachineStep, RunMachineStep
from hpcore.model.machines import GiccState, Phase, SlotState
from hpcore.model.states import State, initial
from hpcore.qemu.kept import KeptQemu
from hpcore.qemu.kept_directory import QemuDirectory
from hpcore.qemu.qmp import Qmp
from hpcore.run.accelerator import EffectError, Kept
from tests.tcg.rig import config

SLOTS = 3


def state(*, moving: bool) -> State:
    """What the log of a machine says all of whose vCPUs are there, and which runs; `moving` says
    that a MIGRATE of it is under way."""
    found = initial(config(2, SLOTS))
    for i in range(SLOTS):
        found = found.with_slot(i, attrs.evolve(
            found.slots[i], lifecycle=SlotState.ENABLED, gicc=GiccState.WIRED, thread=True,
            space=True, enabled=True, created=True,
        ))  # fmt: skip
    step = MachineStep.MIGRATE if moving else None
    shared = attrs.evolve(
        found.shared, phase=Phase.RUNNING, gic_inits=1, step=step, migrating=moving
    )
    return attrs.evolve(found, shared=shared)


async def taken_up(place: Path, heard: int, *, moving: bool) -> tuple[KeptTcgSession, str | None]:
    """The session of who attaches, and why the move that was under way has failed, if it has."""
    session = await KeptTcgSession.attach(
        Kept(place, state(moving=moving), heard), lambda _stimulus: None
    )
    why = None
    move = asyncio.create_task(session.execute(RunMachineStep(MachineStep.MIGRATE)))
    if not moving:
        move.cancel()
    await session.take_up()
    try:
        await move
    except EffectError as error:
        why = str(error)
    except asyncio.CancelledError:
        why = "there was none"
    await session.taken_up()
    return session, why


class Moments:
    """Counts them, and dies at one."""

    def __init__(self, at: str) -> None:
        """`at` is which one by its number, or what it is."""
        self.at, self.count = at, 0

    def passes(self, what: str) -> None:
        """Here is one."""
        self.count += 1
        if self.at in (str(self.count), what):
            say(what)
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        """From here on they are counted."""
        self._around(Qmp, "execute", lambda qmp, *_: str(qmp._process.directory.name))
        self._around(KeptQemu, "close", lambda qemu: str(qemu.directory.name))
        for name in ("expect", "give_up", "remove"):
            self._around(QemuDirectory, name, lambda one: str(one.path.name))
        self._around(KeptQemu, "start", lambda _argv, directory, *_: str(directory.name))

    def _around(self, cls: type, name: str, whose: Callable[..., str]) -> None:
        real = getattr(cls, name)

        def of(args: tuple[Any, ...]) -> str:
            command = f"{args[1]} " if name == "execute" else ""
            return f"{name} {command}of {whose(*args)}"

        if asyncio.iscoroutinefunction(real):

            async def slow(*args: Any, **kwargs: Any) -> object:
                self.passes(f"before {of(args)}")
                try:
                    return await real(*args, **kwargs)
                finally:
                    self.passes(f"after {of(args)}")

            setattr(cls, name, slow)
            return

        def quick(*args: Any, **kwargs: Any) -> object:
            self.passes(f"before {of(args)}")
            try:
                return real(*args, **kwargs)
            finally:
                self.passes(f"after {of(args)}")

        setattr(cls, name, quick)


def say(what: object) -> None:
    print(json.dumps(what), flush=True)


async def main(place: Path, heard: int, at: str, how: str, way: str) -> None:
    patch("hpcore_tcg.kept.live_on", lambda _version: way == "live").start()
    moments = Moments(at)
    if how == "attach":
        moments.watch()
    session, _ = await taken_up(place, heard, moving=how == "attach")
    if how == "move":
        moments.watch()
        await session.execute(RunMachineStep(MachineStep.MIGRATE))
    say(moments.count)
    await session.leave()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[5], *sys.argv[3:5]))

"""A hostile guest at a real rate: on QEMU with TCG, what its noise costs, and how long others wait.

    python -m bench.noise_tcg [--seconds 120] [--guest calls|prints] [--keep]

The guest calls CPU_ON of a parked vCPU without end, or prints without end. Beside it a user plugs
a vCPU and takes it back by force, once a second: its steps go through the same monitor, the same
link and the same log. The guest takes no notice of either.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import statistics
import tempfile
import time
from pathlib import Path

from hpcore.log import read
from hpcore.model import events as ev
from hpcore.model import stimuli as st
from hpcore.model.config import MachineConfig
from hpcore.model.states import State
from hpcore.qemu.kept_machine import CONSOLE_KEPT
from hpcore.run.discovery import find
from hpcore.run.machine import LiveMachine
from hpcore.run.open import open_machine
from hpcore.triage.replay import replay
from tests.support.noisy import calls, guest, prints

CONFIG = MachineConfig.of(cpus=1, maxcpus=4)
PARKED, PLUGGED = 2, 1
MIB = 1 << 20


class Plugs:
    """A plug and an unplug by force, once a second, and how long the steps of each took."""

    def __init__(self, machine: LiveMachine) -> None:
        self.seconds: list[float] = []
        self._machine, self._news = machine, asyncio.Event()
        machine.subscribe(self._follow)

    def _follow(self, event: ev.Event, _state: State) -> None:
        if isinstance(event, ev.PlugCompleted | ev.UnplugCompleted):
            self._news.set()

    async def once(self) -> None:
        """Both."""
        for command in (
            st.DeviceAdd("core", (("core-id", PLUGGED),)), st.DeviceDel("core", force=True),
        ):  # fmt: skip
            self._news.clear()
            began = time.monotonic()
            await self._machine.begin(command)
            await asyncio.wait_for(self._news.wait(), 120)
            self.seconds.append(time.monotonic() - began)


async def run(given: argparse.Namespace, directory: Path) -> None:
    """Play it, and print the figures."""
    log = directory / "run.jsonl"
    images = guest(directory, prints() if given.guest == "prints" else calls(PARKED))
    async with open_machine(
        find("tcg"), CONFIG, images, log=log, keep=given.keep
    ) as machine:
        machine.end_when_left()
        await machine.start()
        plugs, began = Plugs(machine), time.monotonic()
        cpu, size = _cpu(), log.stat().st_size
        while time.monotonic() - began < given.seconds:
            await plugs.once()
            await asyncio.sleep(1)
        seconds, grown = time.monotonic() - began, log.stat().st_size - size
        cpu = _cpu() - cpu
        if given.keep:
            _say_kept(machine)
    counted = sum(line.count(b'"counted"') for line in log.open("rb"))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{given.guest} for {seconds:.0f} s; hpcore took {cpu:.0f} s of CPU, {memory:.0f} MB")
    print(f"  calls heard: {_heard(log)}, in {counted} lines that count and others")
    print(f"  the log grew by {grown / MIB:.2f} MiB, {grown / MIB * 60 / seconds:.2f} a minute")
    ms = [1000 * each for each in plugs.seconds]
    print(
        f"  {len(ms)} plugs and unplugs, ms: median {statistics.median(ms):.0f}, "
        f"longest {max(ms):.0f}"
    )
    print(f"  the log replays: {replay(log).ok}")


def _say_kept(machine: LiveMachine) -> None:
    place = machine._c.session.place  # type: ignore[attr-defined]
    for name in ("link.log", CONSOLE_KEPT):
        found = (place / name).stat()
        print(f"  {name}: {found.st_size / MIB:.2f} MiB, on the disk {found.st_blocks / 2048:.2f}")


def _heard(log: Path) -> int:
    with read(log)[1] as records:
        return sum(r.counted for r in records if isinstance(r.answers, st.CpuOnCalled))


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--guest", choices=("calls", "prints"), default="calls")
    parser.add_argument("--keep", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(run(given, Path(directory)))


if __name__ == "__main__":
    main()

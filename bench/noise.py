"""A hostile guest that calls without end: what its log costs, and how long others wait.

    python -m bench.noise [--seconds 600] [--calls nothing|power|both] [--place DIR]

The machine is in this process, and its guest calls as fast as the controller can decide: faster
than any real one. `nothing` are calls that change nothing, of all kinds and any vCPU; `power` is
CPU_ON and CPU_OFF of one vCPU, each of which changes the state and is logged, in segments as the
front door keeps them. Meanwhile a user plugs a vCPU and takes it back, once a second.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import statistics
import tempfile
import time
from pathlib import Path
from random import Random

from hpcore.door.settings import ROTATION
from hpcore.log import Header, LogWriter, read
from hpcore.log.segments import numbers, segment_path
from hpcore.model import stimuli as st
from hpcore.model.config import MachineConfig
from hpcore.model.effects import Effect, MachineStep, RunMachineStep, RunStep, Step
from hpcore.model.machines import Phase
from hpcore.model.states import initial
from hpcore.model.topology import mp_affinity
from hpcore.run import Controller
from hpcore.run.accelerator import Console
from hpcore.triage.replay import replay

CONFIG = MachineConfig.of(cpus=2, maxcpus=8)
AT_ONCE = 50
"""Calls between two turns of the event loop: what a session hands over of one read."""


class InProcess:
    """A session that does every effect at once."""

    console: Console | None = None
    played = None
    process_id: int | None = None

    async def execute(self, effect: Effect) -> int | None:
        """Done."""
        if isinstance(effect, RunStep) and effect.step is Step.BIND:
            return mp_affinity(effect.slot)
        if isinstance(effect, RunMachineStep) and effect.step is MachineStep.POWER_DOWN:
            await asyncio.sleep(0)
        return None

    async def close(self) -> None:
        """Nothing is left."""


def nothing(random: Random) -> st.Stimulus:
    """A call that changes nothing while vCPUs 5 to 7 are parked."""
    cpu = random.randrange(5, 12)
    return random.choice((
        st.EjectCalled(cpu), st.CpuOnCalled(cpu, random.randrange(2), verdict=False),
        st.OstReported(cpu, 3, random.randrange(1 << 32)), st.InsertAcked(cpu), st.RemoveAcked(cpu),
        st.ScanEnded(), st.CpuOffSeen(cpu),
    ))  # fmt: skip


async def flood(controller: Controller, kind: str, made: list[int]) -> None:
    """Call without end."""
    random, on = Random(1), False
    while True:
        for _ in range(AT_ONCE):
            if kind == "power" or (kind == "both" and random.random() < 0.5):
                on = not on
                controller.post(st.CpuOnCalled(1, 0, verdict=True) if on else st.CpuOffSeen(1))
            else:
                controller.post(nothing(random))
            made[0] += 1
        await asyncio.sleep(0)


async def live(path: Path, seconds: float, kind: str) -> tuple[int, list[float]]:
    """A machine under that guest; its calls, and how long each plug and unplug took."""
    session, took, made = InProcess(), list[float](), [0]
    log = LogWriter.create(path, Header(CONFIG, "bench"), rotation=ROTATION)

    async def opened(_report: object) -> InProcess:
        return session

    with log:
        controller = Controller(initial(CONFIG), lambda: log, opened)
        async with controller:
            await controller.submit(st.Boot())
            await controller.until(lambda s: s.shared.phase is Phase.RUNNING, 60, "boot")
            flooding = asyncio.create_task(flood(controller, kind, made))
            end = time.monotonic() + seconds
            while (began := time.monotonic()) < end and controller.failure is None:
                await controller.submit(st.DeviceAdd("core4", (("core-id", 4),)))
                await controller.until(lambda s: s.slots[4].insert, 60, "the device check")
                for call in (st.ScanStarted(), st.InsertAcked(4), st.OstReported(4, 1, 0)):
                    controller.post(call)
                await controller.until(lambda s: s.slots[4].registered, 60, "the plug")
                await controller.submit(st.DeviceDel("core4", force=True))
                await controller.until(lambda s: s.slots[4].id is None, 60, "the end")
                took.append(time.monotonic() - began)
                await asyncio.sleep(max(0.0, 1 - took[-1]))
            flooding.cancel()
            await asyncio.gather(flooding, return_exceptions=True)
    if controller.failure is not None:
        raise controller.failure
    return made[0], took


def measure(place: Path, seconds: float, kind: str) -> str:
    """A line of the table."""
    path = place / f"{kind}.jsonl"
    busy = time.process_time()
    calls, took = asyncio.run(live(path, seconds, kind))
    busy = time.process_time() - busy
    there = numbers(str(path))
    size = sum(Path(segment_path(str(path), n)).stat().st_size for n in there)
    _, records = read(path)
    told, lines = 0, 0
    for record in records:
        told, lines = told + (record.batch is None) * record.counted, lines + 1
    found = replay(path)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    verdict = "replays" if found.ok else f"WRONG: {found.wrong or found.damage}"
    return (
        f"{kind:8} {seconds:6.0f} s {calls:12,} calls {calls / seconds:9,.0f}/s "
        f"({calls / busy:,.0f} a second of CPU) "
        f"{lines:10,} lines {told:12,} decisions {len(there):3} files {size / 1e6:7.1f} MB "
        f"memory {memory:5.0f} MB; plug and unplug: median {statistics.median(took):.2f} s, "
        f"longest {max(took):.2f} s of {len(took)}; {verdict}"
    )


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--calls", choices=("nothing", "power", "both"), default=None)
    parser.add_argument("--place", type=Path, default=None, help="directory of the log")
    options = parser.parse_args()
    for kind in ("nothing", "power", "both") if options.calls is None else (options.calls,):
        with tempfile.TemporaryDirectory(dir=options.place) as place:
            print(measure(Path(place), options.seconds, kind), flush=True)


if __name__ == "__main__":
    main()

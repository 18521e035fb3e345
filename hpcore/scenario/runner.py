"""One scenario on one accelerator, from log file to verdict."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

import attrs
from attrs import field, frozen, mutable

from hpcore.guest.kernel import load_kernel
from hpcore.guest.played import KINDS
from hpcore.guest.shell import Shell
from hpcore.log import Header, LogWriter, Sync
from hpcore.model.config import cap
from hpcore.model.machines import Phase
from hpcore.model.states import State, initial
from hpcore.run.accelerator import AcceleratorError, GuestImages, GuestScript
from hpcore.run.controller import Controller, ProtocolBroken
from hpcore.run.discovery import Found
from hpcore.scenario.play import Latencies, Player, StepResult, TellStep
from hpcore.scenario.values import Line, PlugStep, RepeatStep, Scenario


@frozen
class Job:
    """What to run, on what, and where to keep what happened.

    `guest` is a script where the accelerator plays its guest; the scenario says which kind.
    """

    scenario: Scenario
    found: Found
    guest: GuestImages | GuestScript
    log: Path
    overwrite: bool = False
    sync: Sync = Sync.DURABLE
    console: Path | None = None


@mutable
class Outcome:
    """How it went. `error` is set where the machine, not a step, went wrong."""

    ok: bool
    events: int
    slots: list[dict[str, object]]
    results: list[StepResult] = field(factory=list)
    latencies: Latencies = field(factory=Latencies)
    capped: str | None = None
    error: str | None = None


async def run_job(job: Job, progress: TellStep = lambda _line, _result: None) -> Outcome:
    """Run `job`; the machine is gone and the log closed on return, whatever happened.

    Raises AcceleratorError where the machine cannot run here, LogError where the log cannot
    be started, and ProtocolBroken for a fault of hpcore.
    """
    accelerator = job.found.accelerator
    assert accelerator is not None, "find() gives only what can be used"
    capabilities = job.found.capabilities
    config = cap(job.scenario.machine, capabilities.no_hotplug)
    if config.possible > capabilities.max_vcpus:
        raise AcceleratorError(
            f"the machine has {config.possible} possible vCPUs; '{job.found.name}' can run "
            f"{capabilities.max_vcpus} here. Lower maxcpus"
        )
    if config.no_hotplug is not None and (plug := _plug(job.scenario.steps)) is not None:
        raise AcceleratorError(
            f"line {plug.number} of the scenario {job.scenario.name} plugs a vCPU, and "
            f"'{job.found.name}' has no hotplug here: {config.no_hotplug}"
        )
    guest = _guest(job)
    versions = {**capabilities.versions}
    kernel = _kernel_version(guest)
    if kernel is not None:
        versions["kernel"] = kernel
    header = Header(
        machine=config,
        accelerator=job.found.name,
        versions=versions,
        modelled=capabilities.modelled,
        differs=capabilities.differs,
    )
    with contextlib.ExitStack() as stack:
        keep: Callable[[bytes], None] = _nothing
        if job.console is not None:
            file = stack.enter_context(job.console.open("wb", buffering=0))
            keep = _writer(file)
        logs: list[LogWriter] = []

        def open_log() -> LogWriter:
            log = LogWriter.create(job.log, header, sync=job.sync, overwrite=job.overwrite)
            logs.append(stack.enter_context(log))
            return log

        controller = Controller(
            initial(config), open_log, lambda report: accelerator.open(config, guest, report)
        )
        async with controller as c:
            player = Player(c, lambda console: Shell(console, keep), progress)
            ok = await player.play(job.scenario.steps)
        failure = controller.failure
        if isinstance(failure, ProtocolBroken):
            raise failure
        wrong = failure is not None or controller.state.shared.phase is Phase.FAILED
        return Outcome(
            ok=ok and not wrong,
            events=logs[0].next_seq - 1,
            slots=_slots(controller.state),
            results=player.results,
            latencies=player.latencies,
            capped=config.no_hotplug,
            error=controller.why_ended() if wrong else None,
        )


def _plug(steps: tuple[Line, ...]) -> Line | None:
    """The first of `steps` that is to plug a vCPU and succeed."""
    for line in steps:
        if isinstance(line.step, PlugStep) and line.fails is None:
            return line
        if isinstance(line.step, RepeatStep) and (found := _plug(line.step.steps)) is not None:
            return found
    return None


def _guest(job: Job) -> GuestImages | GuestScript:
    append = " ".join(x for x in (job.scenario.append, job.guest.append) if x)
    if isinstance(job.guest, GuestScript):
        return GuestScript(job.scenario.kind, append)
    if job.scenario.kind != KINDS[0]:
        raise AcceleratorError(
            f"the scenario {job.scenario.name} asks for a guest of the kind "
            f"'{job.scenario.kind}', which is played, and '{job.found.name}' boots a real one: "
            "leave guest: kind out, or take an accelerator that plays its guest (`hpcore accel`)"
        )
    return attrs.evolve(job.guest, append=append)


def _kernel_version(guest: GuestImages | GuestScript) -> str | None:
    if isinstance(guest, GuestScript):
        return f"{guest.kind} (played)"
    return load_kernel(guest.kernel).version


def _writer(file: IO[bytes]) -> Callable[[bytes], None]:
    def write(data: bytes) -> None:
        file.write(data)

    return write


def _nothing(_data: bytes) -> None:
    pass


def _slots(state: State) -> list[dict[str, object]]:
    return [
        {"index": i, "id": s.id, "state": str(s.lifecycle), "enabled": s.enabled, "cold": s.cold}
        for i, s in enumerate(state.slots)
    ]

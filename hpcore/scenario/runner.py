"""One scenario on one accelerator, from log file to verdict."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

import attrs
from attrs import field, frozen, mutable

from hpcore.guest.played import KINDS
from hpcore.guest.played.answers import said
from hpcore.log import Rotation, Sync
from hpcore.model.machines import Phase
from hpcore.model.revision import HPCORE, Revision
from hpcore.run.accelerator import AcceleratorError, GuestImages, GuestScript
from hpcore.run.console import Printed
from hpcore.run.discovery import Found
from hpcore.run.errors import RunError
from hpcore.run.machine import LiveMachine
from hpcore.run.open import fit, open_machine
from hpcore.scenario.fits import need_carrying, need_hotplug, need_shell
from hpcore.scenario.play import Latencies, Player, StepResult, TellStep
from hpcore.scenario.values import Scenario


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
    rotation: Rotation | None = None
    keep: bool = False
    """Whether the machine goes on afterwards, also if hpcore is killed."""
    protocol: Revision = HPCORE


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
    kept: bool = False
    """Whether the machine goes on."""


async def run_job(job: Job, progress: TellStep = lambda _line, _result: None) -> Outcome:
    """Run `job`; the machine is gone and the log closed on return, whatever happened.

    Raises AcceleratorError where the machine cannot run here, LogError where the log cannot
    be started, and ProtocolBroken for a fault of hpcore.
    """
    config = fit(job.found, job.scenario.machine)
    need_hotplug(job.scenario, config, job.found)
    need_shell(job.scenario, job.guest)
    need_carrying(job.scenario, job.found)
    async with open_job(job) as machine:
        player = Player(machine, progress)
        ok = await player.play(job.scenario.steps)
    return outcome(machine, player, ok=ok)


@asynccontextmanager
async def open_job(job: Job, printed: Printed | None = None) -> AsyncIterator[LiveMachine]:
    """The machine of `job`, ready for its steps; on leaving it is gone, and the log closed.

    `printed` is told what the guest prints, beside the job's `console`. Raises as `run_job`.
    """
    guest = _guest(job)
    with contextlib.ExitStack() as stack:
        told = [] if printed is None else [printed]
        if job.console is not None:
            file = stack.enter_context(job.console.open("wb", buffering=0))
            told.append(_writer(file, job.console))

        def tell(data: bytes) -> None:
            for each in told:
                each(data)

        async with open_machine(
            job.found, job.scenario.machine, guest,
            log=job.log, overwrite=job.overwrite, sync=job.sync, printed=tell,
            rotation=job.rotation, keep=job.keep, protocol=job.protocol,
        ) as machine:  # fmt: skip
            yield machine


def outcome(machine: LiveMachine, player: Player, *, ok: bool) -> Outcome:
    """How it went with a machine that is gone, on which `player` has played; `ok`, as it says."""
    wrong = machine.failure is not None or machine.state.shared.phase is Phase.FAILED
    return Outcome(
        ok=ok and not wrong,
        events=machine.last_seq,
        slots=_slots(machine),
        results=player.results,
        latencies=player.latencies,
        capped=machine.config.no_hotplug,
        error=machine.why_ended() if wrong else None,
        kept=machine.is_kept,
    )


def arguments(job: Job) -> str:
    """The kernel arguments that the scenario asks for, and those that the user does."""
    return " ".join(x for x in (job.scenario.append, job.guest.append) if x)


def _guest(job: Job) -> GuestImages | GuestScript:
    append = arguments(job)
    scenario = job.scenario
    if isinstance(job.guest, GuestScript):
        return GuestScript(scenario.kind, append, scenario.answers)
    if scenario.kind != KINDS[0] or scenario.answers:
        one, key = f"of the kind '{scenario.kind}'", "kind"
        if scenario.kind == KINDS[0]:
            one, key = f"whose answers are chosen ({said(scenario.answers)})", "answers"
        raise AcceleratorError(
            f"the scenario {scenario.name} asks for a guest {one}, which is played, and "
            f"'{job.found.name}' boots a real one: leave guest: {key} out, or take an "
            "accelerator that plays its guest (`hpcore accel`)"
        )
    return attrs.evolve(job.guest, append=append)


def _writer(file: IO[bytes], path: Path) -> Printed:
    def write(data: bytes) -> None:
        try:
            file.write(data)
        except OSError as error:
            raise RunError(f"{path}: cannot keep the console: {error.strerror}") from error

    return write


def _slots(machine: LiveMachine) -> list[dict[str, object]]:
    return [
        {"index": s.index, "id": s.id, "state": str(s.state), "enabled": s.enabled, "cold": s.cold}
        for s in machine.slots
    ]

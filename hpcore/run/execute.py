"""Having an accelerator do what a log says, without a core that would decide otherwise.

For counterexamples: the checker finds an order that a broken protocol would allow, and the
accelerator is asked for exactly that, effect by effect. A second lock on the same door, the
EL3 monitor's for one, shows itself here by refusing.

What a guest does in the log is not forced on the guest that runs, or is played; its own
CPU_ON is DENIED where an accelerator leaves that to the core. An effect that failed in the
log is left out, since it can't be made to fail here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from os import PathLike

from attrs import frozen

from hpcore.log import Header, LogError, Record, read
from hpcore.model import events as ev
from hpcore.model.effects import AnswerCpuOn, Effect, MachineStep, RunMachineStep, RunStep
from hpcore.model.psci import PsciStatus
from hpcore.model.stimuli import CpuOnCalled, ResetSeen, Stimulus
from hpcore.run.accelerator import AcceleratorError, EffectError, GuestImages, GuestScript, Session
from hpcore.run.admission import need_steps
from hpcore.run.discovery import Found, usable_by

EFFECT_SECONDS = 120.0
"""For one effect; creating a large machine takes the longest."""

MOST_EVENTS = 10_000
"""A counterexample has tens; a longer log is a run's, which a scenario repeats better."""


@frozen
class Executed:
    """How far it went: effects done, and the first that the accelerator refused, if any.

    `header` is the log's.
    """

    header: Header
    done: int
    events: int
    refused: Record | None = None
    words: str | None = None


async def execute_log(
    path: str | PathLike[str],
    found: Found,
    guest: GuestImages | GuestScript | None,
    tell: Callable[[Record], None] = lambda _record: None,
) -> Executed:
    """Have `found` do the effects of the log at `path`, one after the other.

    Stops at the first that is refused. Raises LogError for a log that can't be read, and
    AcceleratorError where the machine can't run or is lost.
    """
    header, iterator = read(path)
    if header.segment is not None:
        iterator.close()
        raise LogError(
            f"{path}: what was before event {header.first} is not kept; what is executed has to "
            "begin with the machine's start"
        )
    with iterator:
        records = [record for record, _ in zip(iterator, range(MOST_EVENTS + 1), strict=False)]
    if len(records) > MOST_EVENTS:
        raise LogError(f"{path}: more than {MOST_EVENTS} events; execute a counterexample")
    accelerator = usable_by(found, header.protocol.rules)
    begun = (r.event.step for r in records if isinstance(r.event, ev.StepBegun))
    need_steps(found, str(path), dict.fromkeys(begun))
    resets = asyncio.Event()
    loop = asyncio.get_running_loop()

    denials: set[asyncio.Task[int | None]] = set()

    def deny(call: CpuOnCalled) -> None:
        effect = AnswerCpuOn(call.slot, call.caller, granted=False, status=PsciStatus.DENIED)
        denials.add(asyncio.ensure_future(session.execute(effect)))

    def report(stimulus: Stimulus) -> None:
        match stimulus:
            case ResetSeen():
                loop.call_soon_threadsafe(resets.set)
            case CpuOnCalled(verdict=None):
                loop.call_soon_threadsafe(deny, stimulus)

    session = await accelerator.open(header.machine, guest, report)
    try:
        return await _execute(session, header, records, resets, tell)
    finally:
        for denial in denials:
            denial.cancel()
        await asyncio.gather(*denials, return_exceptions=True)
        await session.close()


async def _execute(
    session: Session,
    header: Header,
    records: list[Record],
    resets: asyncio.Event,
    tell: Callable[[Record], None],
) -> Executed:
    done, asked_for_reset = 0, False
    pauses = _Pauses()
    for n, event in enumerate(record.event for record in records):
        effects = list(ev.effects_of(event))
        if isinstance(event, ev.MachineWasReset) and not asked_for_reset:
            effects = [RunMachineStep(MachineStep.RESET)]  # the guest did it, in the log
        for at, effect in pauses.due(n, effects):
            record = records[at]
            if isinstance(effect, AnswerCpuOn) or _failed_later(effect, records[at + 1 :]):
                continue
            tell(record)
            try:
                async with asyncio.timeout(EFFECT_SECONDS):
                    await session.execute(effect)
                    done += 1
                    if _is_reset(effect):
                        await resets.wait()
            except EffectError as error:
                return Executed(header, done, len(records), record, str(error))
            except TimeoutError:
                raise AcceleratorError(
                    f"event {record.seq}: {effect} was not done within {EFFECT_SECONDS:g} s"
                ) from None
            asked_for_reset = _is_reset(effect)
            if not asked_for_reset:
                resets.clear()
    return Executed(header, done, len(records))


class _Pauses:
    """Holds back the steps that a log has in a pause: no accelerator does them before its end."""

    def __init__(self) -> None:
        self._paused = False
        self._held: list[tuple[int, Effect]] = []

    def due(self, n: int, effects: list[Effect]) -> list[tuple[int, Effect]]:
        """The effects to be done now, of those of record `n` and of earlier ones, by record."""
        out: list[tuple[int, Effect]] = []
        for effect in effects:
            if self._paused and isinstance(effect, RunStep):
                self._held.append((n, effect))
                continue
            out.append((n, effect))
            if isinstance(effect, RunMachineStep):
                if effect.step is MachineStep.PAUSE:
                    self._paused = True
                elif effect.step is MachineStep.RESUME:
                    out, self._held, self._paused = [*out, *self._held], [], False
        return out


def _is_reset(effect: Effect) -> bool:
    return isinstance(effect, RunMachineStep) and effect.step is MachineStep.RESET


def _failed_later(effect: Effect, later: list[Record]) -> bool:
    """Whether the log's own outcome of `effect` is a failure."""
    for record in later:
        match record.event, effect:
            case ev.StepDone(slot=slot, step=step), RunStep() if (slot, step) == (
                effect.slot, effect.step,
            ):  # fmt: skip
                return False
            case ev.StepFailed(slot=slot, step=step), RunStep() if (slot, step) == (
                effect.slot, effect.step,
            ):  # fmt: skip
                return True
            case ev.MachineStepDone(step=whole), RunMachineStep() if whole is effect.step:
                return False
            case ev.MachineStepFailed(step=whole), RunMachineStep() if whole is effect.step:
                return True
    return False

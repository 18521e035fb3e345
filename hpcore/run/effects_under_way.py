"""The effects that an accelerator is asked for, each a task; their outcomes are posted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import structlog

from hpcore.model import stimuli
from hpcore.model.effects import CARRYING, Effect, RunMachineStep
from hpcore.model.stimuli import Stimulus
from hpcore.run.accelerator import AcceleratorError, EffectError
from hpcore.run.deadlines import MachineWait, Patience, Wait
from hpcore.run.outcomes import done, failed

_log = structlog.get_logger(__name__)

Work = Coroutine[object, object, int | None]


class EffectsUnderWay:
    """The effects under way. `post` takes the outcome of each."""

    def __init__(self, post: Callable[[Stimulus], None]) -> None:
        self._post = post
        self._tasks: set[asyncio.Task[None]] = set()
        self._carrying: tuple[MachineWait, asyncio.Task[None]] | None = None
        self._given_time_up: str | None = None

    @property
    def tasks(self) -> tuple[asyncio.Task[None], ...]:
        """One for each effect under way."""
        return tuple(self._tasks)

    def begin(self, effect: Effect, work: Work) -> None:
        """Have `work` do the effect."""
        task = asyncio.create_task(self._execute(effect, work), name=str(effect))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if isinstance(effect, RunMachineStep) and effect.step in CARRYING:
            self._carrying = MachineWait(effect.step), task

    def give_up_carrying(self, wait: Wait, patience: Patience) -> bool:
        """Whether `wait` was for a migration or a save, which is given up: the machine goes on.

        The session has as long again to have it go on. If it has not by then, it is lost.
        """
        if self._carrying is None or wait != self._carrying[0]:
            return False
        _, task = self._carrying
        self._carrying = None
        if task.done():
            return False
        self._given_time_up = f"it did not end in {patience.of(wait):g} s"
        task.cancel()
        return True

    async def _execute(self, effect: Effect, work: Work) -> None:
        """Have the accelerator do it, and report the outcome.

        The outcome is posted in the same turn of the event loop in which the session's
        `execute` returns, so that a session can order it before what the guest does next.
        """
        try:
            value = await work
        except asyncio.CancelledError:
            if self._given_time_up is None:
                raise
            self._post(failed(effect, self._given_time_up))
            self._given_time_up = None
        except EffectError as error:
            self._post(failed(effect, str(error)))
        except AcceleratorError as error:
            self._post(stimuli.Lost(str(error)))
        except Exception as error:
            _log.exception("effect_raised", effect=str(effect))
            self._post(stimuli.Lost(f"{effect} raised {type(error).__name__}: {error}"))
        else:
            outcome = done(effect, value)
            if outcome is not None:
                self._post(outcome)

"""The loop of a machine that may outlive hpcore: every decision says how far it was heard."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from hpcore.model import stimuli
from hpcore.model.machines import Phase
from hpcore.model.states import State
from hpcore.model.stimuli import Stimulus
from hpcore.model.under_way import under_way
from hpcore.run.accelerator import KeptSession
from hpcore.run.controller import Controller, Log, Saver
from hpcore.run.deadlines import Patience
from hpcore.run.errors import ProtocolBroken, RunError
from hpcore.run.turns import Turn

ATTACHED = "attached: hpcore takes the machine up again"
LEFT = "left: the machine goes on without hpcore"

NOTE_SECONDS = 5.0
"""For the log to take the last note."""


class KeptController(Controller):
    """A machine that goes on when it is left. One that has ended, or is off, is ended then."""

    session: KeptSession

    def __init__(
        self,
        state: State,
        open_log: Callable[[], Log],
        open_session: Callable[[Callable[[Stimulus], None]], Awaitable[KeptSession]],
        patience: Patience | None = None,
        *,
        saver: Saver | None = None,
        since: float | None = None,
        restored_at: float = 0.0,
    ) -> None:
        """`since` is the time of the last event in the log of a machine that is taken up again,
        and `restored_at` in that of one that was saved."""
        super().__init__(
            state, open_log, open_session, patience, saver=saver,
            resumed_at=restored_at if since is None else since,
        )  # fmt: skip
        self.ends = False
        """Whether the machine is to end when it is left."""
        self._attaches = since is not None

    async def __aenter__(self) -> KeptController:
        await super().__aenter__()
        if self._attaches:
            try:
                await self._take_up()
            except BaseException:
                await self.__aexit__()
                raise
        return self

    async def _take_up(self) -> None:
        """Begin again what the log has as under way, and hear what was missed."""
        attached = stimuli.Note(ATTACHED)
        self._follow_state()
        self.post(attached)
        for effect in under_way(self.state):
            self._begin(effect, attached)
        await self.session.take_up()

    async def __aexit__(self, *of_error: object) -> None:
        if self.is_kept:
            with contextlib.suppress(RunError, TimeoutError):
                await asyncio.wait_for(self.submit(stimuli.Note(LEFT)), NOTE_SECONDS)
            await self._stop()
            await self.session.leave()
        else:
            await super().__aexit__(*of_error)

    @property
    def is_kept(self) -> bool:
        """Whether there is a machine that goes on when it is left now."""
        shared = self.state.shared
        there = shared.phase is not Phase.DEFINED and not shared.halted
        return there and not self.ends and not isinstance(self.failure, ProtocolBroken)

    def _do(self, turns: list[Turn]) -> None:
        super()._do(turns)
        entries = (turn.entry for turn in turns if turn.entry is not None and turn.entry.events)
        heard = max((entry.heard for entry in entries if entry.heard is not None), default=None)
        if heard is not None:
            self.session.logged(heard)

    @property
    def _heard(self) -> int:
        return self.session.heard

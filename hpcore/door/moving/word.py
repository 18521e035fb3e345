"""What clients are told of a move: the real QEMU's words, but for its end, which is the door's.

That a migration has ended is told once the door has done its part, because a client takes the
machine for moved from that word on. So it is with `pre-switchover`, at which the door has its part
to send: where the client has not asked to be waited for, it is not told of that. Parameters,
capabilities and `migrate_cancel` are the real QEMU's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

from hpcore.door.qmp.answers import Handler, Passes, QmpError, RealMonitor
from hpcore.door.qmp.vcpu_events import Tell
from hpcore.door.qmp.vcpu_lists import ask
from hpcore.errors import HpcoreError
from hpcore.qemu.migration_words import CANCELLED

ENDS = ("completed", "failed", "cancelled")
"""QEMU's words for a migration that is over."""
AT_SWITCH = "pre-switchover"
"""QEMU's word for a machine that stands still, of which it is yet to send the last."""
EVENTS, WAITS = "events", "pause-before-switchover"
"""Capabilities of QEMU's: it tells events, and waits at AT_SWITCH to be told `migrate-continue`."""
CANNOT_GO_WITH = {
    "multifd": "the machine goes through one connection",
    "mapped-ram": "what hpcore knows of the vCPUs goes in the same file",
    "postcopy-ram": "a machine runs on one side alone",
    "x-colo": "a machine runs on one side alone",
    "background-snapshot": "the machine stands still while it is carried",
}
"""Capabilities of QEMU's, and why the door carries no machine with them."""
NO_POSTCOPY = "hpcore cannot do this: a machine runs on one side alone, so there is no postcopy"


class Word:
    """Of one VM. `real` is a monitor of its QEMU that is hpcore's own."""

    def __init__(self, real: RealMonitor, tell: Tell) -> None:
        self._real, self._tell = real, tell
        self._under_way = False
        self._wanted: set[str] = set()  # of EVENTS and WAITS, what clients have asked for
        self._ours: set[str] = set()  # and what the door has set
        self._at_switch = False  # clients are told so
        self.why: str | None = None
        """Why the last move came to nothing; None where it did not."""
        self._status = ""

    def handlers(self) -> dict[str, Handler]:
        """The commands that are answered here."""
        return {
            "query-migrate": self._query,
            "migrate-continue": self._continue,
            "migrate-start-postcopy": _no_postcopy,
        }

    def passes(self, name: str, data: Mapping[str, object]) -> bool:
        """Whether an event of the real QEMU goes on to the clients."""
        if name != "MIGRATION":
            return True
        if data.get("status") in (*ENDS, AT_SWITCH):
            return False
        return EVENTS in self._wanted or not self._under_way

    @asynccontextmanager
    async def beginning(self, *, waits: bool) -> AsyncIterator[None]:
        """A move begins, and comes to nothing where the block fails. Raises QmpError.

        With `waits` the real QEMU does so before it sends the last, until `stands_still`.
        """
        if self._under_way:
            raise QmpError("There's a migration process in progress")
        self._under_way, self._at_switch, self.why = True, False, None
        self._wanted, self._ours = {EVENTS}, set()
        try:
            await self._prepare({EVENTS, WAITS} if waits else {EVENTS})
            yield
        except BaseException:
            self._under_way = False
            with suppress(HpcoreError):
                await self._give_back()
            raise

    async def stands_still(self) -> None:
        """The door has sent its part of a machine that stands still: have the real QEMU send the
        last, or have the client do so that wants to be waited for. Raises QemuError."""
        if WAITS not in self._wanted:
            await self._real.execute("migrate-continue", {"state": AT_SWITCH})
            return
        self._at_switch = True
        if EVENTS in self._wanted:
            self._tell("MIGRATION", {"status": AT_SWITCH})

    async def ended(self, why: str | None) -> None:
        """The move has ended, or has come to nothing because of `why`."""
        self.why, self._status = why, "failed"
        with suppress(HpcoreError):  # the real QEMU may be gone
            found = await ask(self._real, "query-migrate")
            if why is None:
                self._status = "completed"
            elif CANCELLED in why:
                self._status = "cancelled"
            elif found.get("status") == "failed" and "error-desc" in found:
                self.why = f"{why}: {found['error-desc']}"
            await self._give_back()
        self._under_way = False
        if EVENTS in self._wanted:
            self._tell("MIGRATION", {"status": self._status})

    async def _prepare(self, needed: set[str]) -> None:
        """Have the real QEMU do what the door needs, and know what clients want of that.

        Raises QmpError.
        """
        on = {
            one["capability"] for one in await ask(self._real, "query-migrate-capabilities")
            if one["state"]
        }  # fmt: skip
        for name, why in CANNOT_GO_WITH.items():
            if name in on:
                raise QmpError(f"hpcore cannot migrate with the capability '{name}': {why}")
        parameters = await ask(self._real, "query-migrate-parameters")
        if parameters.get("tls-creds"):
            raise QmpError("hpcore cannot migrate with 'tls-creds': take a tunnel for that")
        self._wanted, self._ours = needed & on, needed - on
        await self._have(self._ours, on=True)

    async def _give_back(self) -> None:
        await self._have(self._ours, on=False)

    async def _have(self, capabilities: set[str], *, on: bool) -> None:
        states = [{"capability": name, "state": on} for name in sorted(capabilities)]
        if states:
            await ask(self._real, "migrate-set-capabilities", {"capabilities": states})

    async def _query(self, arguments: Mapping[str, object]) -> object:
        if arguments:
            return Passes.ON
        found = await ask(self._real, "query-migrate")
        status = found.get("status")
        early = status in ENDS or (status == AT_SWITCH and not self._at_switch)
        if self._under_way and early:
            return {**found, "status": "active"}
        if not self._under_way and self.why is not None:
            return {"status": self._status, "error-desc": self.why}
        return found

    async def _continue(self, _arguments: Mapping[str, object]) -> object:
        """As QEMU refuses it before it waits: while the door sends its part, it seems not to."""
        if self._under_way and not self._at_switch:
            raise QmpError("Migration not in expected state: active")
        return Passes.ON


async def _no_postcopy(_arguments: Mapping[str, object]) -> object:
    raise QmpError(NO_POSTCOPY)

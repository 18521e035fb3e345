"""What clients are told of a move: the real QEMU's words, but for its end, which is the door's.

That a migration has ended is told once the door has done its part, because a client takes the
machine for moved from that word on. Parameters, capabilities, `migrate_cancel` and
`migrate-continue` are the real QEMU's.
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
        self._tells = False  # whether clients are told by events: QEMU's capability `events`
        self.why: str | None = None
        """Why the last move came to nothing; None where it did not."""
        self._status = ""

    def handlers(self) -> dict[str, Handler]:
        """The commands that are answered here."""
        return {"query-migrate": self._query, "migrate-start-postcopy": _no_postcopy}

    def passes(self, name: str, data: Mapping[str, object]) -> bool:
        """Whether an event of the real QEMU goes on to the clients."""
        if name != "MIGRATION":
            return True
        return data.get("status") not in ENDS and (self._tells or not self._under_way)

    @asynccontextmanager
    async def beginning(self) -> AsyncIterator[None]:
        """A move begins, and comes to nothing where the block fails. Raises QmpError."""
        if self._under_way:
            raise QmpError("There's a migration process in progress")
        self._under_way, self._tells, self.why = True, True, None
        try:
            self._tells = await self._prepare()
            yield
        except BaseException:
            self._under_way = False
            if not self._tells:
                with suppress(HpcoreError):
                    await self._have_events(on=False)
            raise

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
            if not self._tells:
                await self._have_events(on=False)
        self._under_way = False
        if self._tells:
            self._tell("MIGRATION", {"status": self._status})

    async def _prepare(self) -> bool:
        """Whether clients are told by events; the door is, from here on. Raises QmpError."""
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
        if "events" not in on:
            await self._have_events(on=True)
        return "events" in on

    async def _have_events(self, *, on: bool) -> None:
        events = [{"capability": "events", "state": on}]
        await ask(self._real, "migrate-set-capabilities", {"capabilities": events})

    async def _query(self, arguments: Mapping[str, object]) -> object:
        if arguments:
            return Passes.ON
        found = await ask(self._real, "query-migrate")
        if self._under_way and found.get("status") in ENDS:
            return {**found, "status": "active"}
        if not self._under_way and self.why is not None:
            return {"status": self._status, "error-desc": self.why}
        return found


async def _no_postcopy(_arguments: Mapping[str, object]) -> object:
    raise QmpError(NO_POSTCOPY)
